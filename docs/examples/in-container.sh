#!/bin/sh
# in-container.sh OPTION... IMAGE COMMAND ARG...: runs an agent in a container of its own, which ends when omkd says so.
#
# The prompt is stdin. The project's directory is there under its own path, and all else is the image's; OPTIONs are
# those of `docker run` (`--user 1000:1000`, `--network none`, `-e API_KEY`). CONTAINER_ENGINE=podman for podman.
#
# Docker's container is a child of its daemon, not of this script: a signal to all below the worker does not reach it. So
# at SIGTERM (the budget, a cancel) this stops it. Whatever a killed run left is removed before the worker's next one: a
# worker has one run at a time, so the name is the worker's.
#
#   omkctl worker add coder --project-dir DIR --grace 15s -- /path/to/in-container.sh IMAGE claude -p
stop_s=5   # well below the worker's grace time
engine=${CONTAINER_ENGINE:-docker}
name=omk.$OMK_SESSION.$OMK_WORKER
given=${OMK_RESULT_FILE%/*}/container   # a directory of its own: the rest of the run's files are not the container's
mkdir -p "$given" && chmod 777 "$given" || exit   # under the run's own directory, which is 0700

remove() { "$engine" rm -f "$name" > /dev/null 2>&1; }

stop() {
  "$engine" stop -t "$stop_s" "$name" > /dev/null 2>&1
  remove
  exit 143
}

remove
trap stop TERM INT HUP
exec 3<&0   # what a shell runs in the background has no stdin otherwise
"$engine" run --rm -i --init --name "$name" -v "$PWD:$PWD" -w "$PWD" -v "$given:/omk" \
  -e OMK_RESULT_FILE=/omk/result.json -e OMK_TASK_ID "$@" <&3 &
wait $!
status=$?
trap '' TERM INT HUP
remove
[ -e "$given/result.json" ] && mv "$given/result.json" "$OMK_RESULT_FILE"
exit "$status"
