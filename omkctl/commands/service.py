"""`omkctl service …`: omkd as a systemd user service."""

from typing import Final

from omkctl.verb import VerbGroup

VERBS: Final = {
    "install": ("service_install:install", "Write the units, enable and start them."),
    "uninstall": ("service_install:uninstall", "Stop the service and remove its units; the session stays."),
    "status": ("service_look:status", "What systemd says of it."),
    "logs": ("service_look:logs", "What it logged, from the journal."),
}
"""Name -> (module:attribute, what `omkctl service --help` says)."""

group = VerbGroup("service", VERBS, help="omkd as a systemd user service: one for each session.")
