"""`omkctl config …`: `omkd.toml`, as it is in force and as it stands in the file."""

from typing import Final

from omkctl.verb import VerbGroup

VERBS: Final = {
    "show": ("config_look:show", "The options in force."),
    "check": ("config_look:check", "Whether the file is good."),
    "path": ("config_look:path", "Where the file is."),
}
"""Name -> (module:attribute, what `omkctl config --help` says)."""

group = VerbGroup("config", VERBS, help="The daemon's configuration, omkd.toml.")
