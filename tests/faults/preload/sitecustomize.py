"""Python runs this before anything else of a program that has this directory in PYTHONPATH: worker hosts of a test.

OMK_FAULTS holds the session's root, the trace's path and the plan, as JSON. Only `omkd.worker` is meant, and the fault
comes once: a host that is started after it works undisturbed.
"""

import json
import os
import sys
from pathlib import Path

if "OMK_FAULTS" in os.environ and "omkd.worker" in sys.orig_argv:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import disk_layer

    setting = json.loads(os.environ["OMK_FAULTS"])
    trace = Path(setting["trace"])
    struck = trace.exists() and b'"struck"' in trace.read_bytes()
    plan = disk_layer.Plan(**setting["plan"]) if setting["plan"] and not struck else None
    descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    disk_layer.install()
    disk_layer.arm(disk_layer.Armed(setting["root"], run=1, trace=descriptor, plan=plan))
