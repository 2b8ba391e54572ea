"""The omkd daemon: event log, queue, mailboxes, escalation log, control API."""
