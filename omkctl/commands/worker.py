"""`omkctl worker …`: the table of what one can do with workers."""

from typing import Final

from omkctl.verb import VerbGroup

VERBS: Final = {
    "add": ("worker_add:add", "Add a worker."),
    "apply": ("worker_apply:command", "Make the workers as a file declares them."),
    "list": ("workers:list_", "The workers."),
    "show": ("worker_show:show", "All that is known of a worker."),
    "log": ("worker_show:log", "What a worker's host says of itself."),
    "update": ("worker_add:update", "Change a worker's settings."),
    "adopt": ("worker_steer:adopt", "Make a foreign worker omkd's own."),
    "pause": ("worker_steer:pause", "Hand nothing more to a worker."),
    "resume": ("worker_steer:resume", "Hand work to it again."),
    "restart": ("worker_steer:restart", "End a worker's host and start a new one."),
    "compact": ("worker_steer:compact", "Put a worker's old lines into its archive."),
    "remove": ("worker_steer:remove", "Take a worker away; its files are kept."),
}
"""Name -> (module:attribute, what `omkctl worker --help` says)."""

group = VerbGroup("worker", VERBS, help="Add, declare, list, show, change, pause, restart and remove workers.")
