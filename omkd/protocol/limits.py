"""Every limit on what crosses a process, with its unit and its reason. Standard library only."""

REQUEST_LINE_BYTES = 1024 * 1024
"""A request line of the control API. Four times a task, so that a batch or an escaped text fits."""

SERVER_LINE_BYTES = 2 * 1024 * 1024
"""A line from the daemon. What would be longer is answered with an error that says so."""

PAGE_BYTES = 1024 * 1024
"""Of the items in one reply, and of the tasks that one call names: one of the largest things alone may have more."""

TASK_BYTES = 256 * 1024
"""A task or an event, encoded. A longer prompt belongs into a file that the task names."""

WORKER_LINE_BYTES = 1024 * 1024
"""A line in a worker's file; the Rust runtime writes far less. What is longer is skipped alone."""

JSON_DEPTH = 128
"""Nesting of arrays and objects (serde_json's own limit)."""

MAX_CONNECTIONS = 256
"""At once. systemd's default soft limit of descriptors is 1024, and hosts and workers' files need theirs."""

MAX_IN_FLIGHT = 64
"""Requests of one connection that wait for something (task.wait, subscriptions)."""

UNREAD_OUTPUT_BYTES = 4 * 1024 * 1024
"""Replies and notifications that a peer has not read; then its requests are not read either."""

WRITE_STALL_SECS = 60
"""A peer that takes nothing for so long while output waits is gone (a stopped terminal, a dead ssh)."""

FIRST_LINE_SECS = 10
"""From connect to the first whole line: a port scanner, or a client that hangs."""

BATCH_REQUESTS = 1000
"""In one JSON-RPC batch."""

NAME_CHARS_SHOWN = 64
"""Of a name or an id that there is none of, in the words of an error."""

PAGE_LIMIT = 1000
"""Items in one reply when the caller asks for more."""

PAGE_DEFAULT = 200
"""Items in one reply when the caller names no limit: a few screens."""

UNIX_PATH_BYTES = 107
"""sun_path without its final NUL (unix(7))."""

WORKER_NAME_CHARS = 64
"""It is a directory's name (255 bytes at most), and a column of every table."""

TASK_ID_CHARS = 64
"""It is a directory's name too, with `.2` behind it, and is typed."""

MAX_QUEUED_TASKS = 100_000
"""Waiting in the daemon, unless omkd.toml says otherwise: what waits is in memory, 1 KB each beside its text."""

MAX_QUEUED_BYTES = 256 * 1024 * 1024
"""Of their texts, likewise: 1,000 of the largest that may be sent."""

KEY_CHARS = 256
"""Of an idempotency key: room for a UUID and a prefix."""

ROLE_CHARS = 64
"""As a worker's name: it stands in its place in `role:R`."""

HEADLINE_CHARS = 200
"""Of a task's first line, where it is shown: WorkerStarted.task."""

RUN_OUTPUT_BYTES = 16 * 1024 * 1024
"""Of stdout and of stderr of a run: of a longer one the first quarter and the last three quarters of this are kept.
A talkative agent writes about 1 MiB an hour; a command caught in a loop writes this in a second."""

MIN_RUN_OUTPUT_BYTES = 64 * 1024
"""The smallest such limit a worker may have: sixteen times a summary."""

RUNS_KEPT = 1000
"""Directories of finished runs a worker keeps, the newest: months of a busy agent, and 1000 entries are listed in a
millisecond. The record of what was done is the event log, which keeps everything."""

HOST_LOG_BYTES = 1024 * 1024
"""From here on `host.log` becomes `host.log.1`: two lines a run, so thousands of runs."""

HOST_LOG_LINES = 1000
"""In one reply of `worker.log`."""

SUMMARY_BYTES = 4096
"""Of a run's stdout that become the summary (the end of it)."""
