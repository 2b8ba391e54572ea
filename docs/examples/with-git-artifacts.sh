#!/bin/sh
# with-git-artifacts.sh COMMAND ARG...: runs an agent in a git work tree, and reports the files that it changed.
#
# No agent gives a list of them that can be relied on. git does, also of what the agent committed itself; a file that
# was changed before and is not committed counts, too. Status and summary stay those of the command. Needs git and jq.
#
#   omkctl worker add coder --project-dir DIR -- /path/to/with-git-artifacts.sh claude -p
top=$(git rev-parse --show-toplevel) || exit
before=$(git rev-parse --quiet --verify HEAD || git hash-object -t tree /dev/null)   # without a commit: nothing
"$@"
status=$?
{ git -C "$top" diff --name-only -z "$before"; git -C "$top" ls-files -z --others --exclude-standard; } |
  jq -Rs '{artifacts: (split("\u0000") | map(select(. != "")) | unique)}' > "$OMK_RESULT_FILE"
exit "$status"
