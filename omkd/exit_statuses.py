"""The exit statuses of `omkd`; 2 is click's, for usage."""

from typing import Final

EXIT_FAILED: Final = 1
EXIT_NO_SESSION: Final = 3
EXIT_HELD: Final = 6
EXIT_TOO_NEW: Final = 7
EXIT_DAMAGE_OR_CONFIG: Final = 78  # EX_CONFIG of sysexits.h
