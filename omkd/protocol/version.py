"""The versions, in one place. Standard library only."""

__version__ = "0.1.0"

PROTOCOL_VERSION = 1
"""Of the control API. A client of another number is refused with exit status 7."""

LOG_FORMAT = 1
"""Of the event log's units. A log of a newer format is not touched."""
