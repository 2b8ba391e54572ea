"""omkctl: the command-line client. Blocking, no trio; of omkd only the stdlib-only modules of `omkd.protocol`."""
