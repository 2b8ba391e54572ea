"""`python -m omkd`: as `omkd`."""

from omkd.cli import main

if __name__ == "__main__":
    main()
