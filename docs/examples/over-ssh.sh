#!/bin/sh
# over-ssh.sh HOST DIR COMMAND ARG...: runs an agent on another machine (Linux), in DIR there.
#
# The prompt is its stdin; arguments arrive as they are, {task}, too. Ending `ssh` does not end what it started, so the
# connection's stdin stays open as a lifeline: when it closes (a budget, a cancel, a dead host, a lost network), the other
# side ends the command and what it started, which it knows by a mark in their environment. A worker has one run at a
# time, so the mark is the worker's, and a new run first ends what an old one may have left.
#
# A connection that cannot be made, or is lost, is 75: omkd tries again later. An exit status of 255 arrives as 254.
#
#   omkctl worker add far --budget 30m -- /path/to/over-ssh.sh build.example /srv/app claude -p
there='
ended() {
  grep -lzxF "$mark" /proc/[0-9]*/environ 2> /dev/null |
    while IFS=/ read -r _ _ pid _; do kill -s "$1" "$pid" 2> /dev/null; done
}
mark=$1; dir=$2; shift 2
ended KILL
cd "$dir" && prompt=$(mktemp) || exit 1
head -n 1 | base64 -d > "$prompt"
exec 3<&0 4< "$prompt" && rm "$prompt"
env "$mark" "$@" <&4 3<&- &
command=$!
{ cat > /dev/null; ended TERM; sleep 5; ended KILL; } <&3 > /dev/null 2>&1 &
lifeline=$!
wait "$command"
status=$?
kill "$lifeline"
ended KILL
[ "$status" = 255 ] && exit 254
exit "$status"
'
quoted() { for each; do printf "'%s' " "$(printf '%s' "$each" | sed "s/'/'\\\\''/g")"; done; }

host=$1
shift
line=$(quoted sh -c "$there" over-ssh "OMK_OVER_SSH=$OMK_SESSION.$OMK_WORKER@$(uname -n)" "$@")
lifeline=${OMK_RESULT_FILE%/*}/lifeline
mkfifo "$lifeline" || exit
ssh -T -o BatchMode=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=4 "$host" "$line" < "$lifeline" &
exec 3<&0 4> "$lifeline"
rm "$lifeline"
(base64 -w 0 <&3; echo) >&4 2> /dev/null
wait $!
status=$?
[ "$status" = 255 ] && exit 75
exit "$status"
