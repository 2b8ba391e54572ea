"""All benchmarks, one after the other, and their figures into docs/performance.md: `make bench`.

python -m tests.bench [--keep-page]
"""

import argparse
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "performance.md"
FIGURES = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)


def printed_by(module: str) -> str:
    """What it printed, shown as it comes. Raises SystemExit."""
    print(f"\n{module}", flush=True)
    lines = []
    with subprocess.Popen([sys.executable, "-m", module], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        raise SystemExit(f"{module} ended with status {process.returncode}; {PAGE.name} stays as it was")
    return "".join(lines)


def machine() -> str:
    day = datetime.now(UTC).date().isoformat()
    load = os.getloadavg()[0]
    return f"{day}, {os.cpu_count()} processors, CPython {platform.python_version()}, load {load:.1f} at the end."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-page", action="store_true", help="docs/performance.md stays as it is")
    given = parser.parse_args()
    modules = [f"tests.bench.{path.stem}" for path in sorted(HERE.glob("bench_*.py"))]
    blocks = [f"`{module}`\n\n```text\n{printed_by(module).rstrip()}\n```\n" for module in modules]
    if not given.keep_page:
        text = "\n".join([f"\n{machine()}\n", *blocks, ""])
        PAGE.write_text(FIGURES.sub(lambda _: text, PAGE.read_text()))


if __name__ == "__main__":
    main()
