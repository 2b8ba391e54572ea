"""`python -m omkctl`."""

from .cli import main

main()
