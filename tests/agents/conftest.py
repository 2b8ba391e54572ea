"""Where the kits are that these tests build on. Without real agents nothing here is collected.

Not collected rather than skipped: `make test` needs no agents of other makers, and a skip says that something is
missing. A file that is named on the command line is collected all the same, and says why it is skipped.
"""

import os
import sys
from pathlib import Path

for other in ("worker", "system", "ctl"):
    sys.path.insert(0, str(Path(__file__).parent.parent / other))

if "OMK_TEST_AGENTS" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
