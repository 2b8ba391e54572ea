#!/bin/sh
# claude-result.sh OPTION...: Claude Code for one task. Denied a tool, it still ends with 0: here that is `partial`.
#
# The prompt is stdin, which `claude -p` reads. Needs jq.
#
#   omkctl worker add coder --project-dir DIR -- /path/to/claude-result.sh --permission-mode acceptEdits
said=$(claude -p --output-format json "$@")
status=$?
result=$(printf '%s' "$said" | jq '(.permission_denials // [] | map(.tool_name) | unique) as $denied | {
  status: (if .is_error then "failed" elif $denied != [] then "partial" else "success" end),
  summary: ((.result // "") + (if $denied != [] then "\n(denied: \($denied | join(", ")))" else "" end))
}') && printf '%s\n' "$result" > "$OMK_RESULT_FILE" || printf '%s\n' "$said"   # no JSON: what it said is the summary
exit "$status"
