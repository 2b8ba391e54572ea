"""The agents' own directory, and the kit of the worker's tests, are where imports are looked for."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "worker"))
