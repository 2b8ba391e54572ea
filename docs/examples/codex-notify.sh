#!/bin/sh
# codex-notify.sh: Codex's `notify`, which gives it a JSON object as its last argument. Says the end of a turn to omkd.
#
#   ~/.codex/config.toml:   notify = ["/path/to/codex-notify.sh"]
#
# Needs jq. Ends with 0, whatever happens: no agent is to fail because omkd does not run.
for json; do :; done
text=$(printf '%s' "$json" | jq -r '"codex, \(.type): \(."last-assistant-message" // "")"')
omkctl publish DisclosureLine value="$text" || :
