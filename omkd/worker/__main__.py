"""`python -m omkd.worker --dir DIR`: as `omk-worker`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
