"""The daemon's tasks: each `run_x` reads facts and brings them where they belong."""
