import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DEADLINE_S = 30


def test_generated_parts_are_those_of_the_code():
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_stale_part_is_found_and_mended_and_the_rest_left_alone(tmp_path: Path):
    for source in DOCS.glob("*.py"):
        shutil.copy(DOCS / source, tmp_path)
    page = tmp_path / "page.md"
    page.write_text("by hand\n<!-- generated: errors -->\nstale\n<!-- /generated -->\nby hand\n")
    run = [sys.executable, tmp_path / "generate.py"]
    refused = subprocess.run([*run, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "run `make docs`" in refused.stderr
    subprocess.run(run, capture_output=True, timeout=60, check=True)
    text = page.read_text()
    assert text.startswith("by hand\n<!-- generated: errors -->\n\n| code |")
    assert text.endswith("\n\n<!-- /generated -->\nby hand\n")
    assert "stale" not in text
    subprocess.run([*run, "--check"], timeout=60, check=True)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_within_the_docs_lead_somewhere():
    for page in DOCS.glob("*.md"):
        for file, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text()):
            target = DOCS / file if file else page
            assert anchor in anchors(target), f"{page.name}: no section #{anchor} in {target.name}"


# --- the worker that docs/files.md shows -------------------------------------------------------------------------

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="the shell worker of docs/files.md needs jq")


@pytest.fixture
def worker_dir(tmp_path: Path) -> Path:
    script = re.search(r"<!-- test: worker.sh -->\n```sh\n(.*?)```", (DOCS / "files.md").read_text(), re.DOTALL)
    assert script is not None
    (tmp_path / "worker.sh").write_text(script[1])
    worker_dir = tmp_path / "coder"
    worker_dir.mkdir()
    return worker_dir


@pytest.fixture
def shell_worker(worker_dir: Path) -> Iterator[Path]:
    """Its outbox. It works in a session of its own, so that it can be ended with all it has started."""
    outbox = worker_dir / "outbox.jsonl"
    outbox.write_text(
        '{"task_id":"t1","status":"success","summary":"earlier","artifacts":[],"elapsed_secs":0}\n{"task_'
    )
    tasks = [
        {"id": "t1", "task": "echo again > again"},
        {"id": "t2", "task": "echo done; echo 'a \"quote\"'", "budget_secs": 0},
        {"id": "t2.2", "task": "echo no; exit 3", "budget_secs": 10},
        {"id": "t3", "task": "sleep 60", "budget_secs": 1},
    ]
    torn = '{"id":"t9","task":"echo torn > torn"}'
    (worker_dir / "inbox.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks) + torn)
    process = subprocess.Popen(["/bin/sh", worker_dir.parent / "worker.sh", worker_dir], start_new_session=True)
    try:
        yield outbox
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def lines_until(wanted: str, path: Path) -> list[str]:
    """The file's lines as they come, up to the one that has `wanted` in it."""
    with subprocess.Popen(
        ["timeout", str(DEADLINE_S), "tail", "-c", "+1", "-f", path], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        lines: list[str] = []
        for line in following.stdout:
            lines.append(line.removesuffix("\n"))
            if wanted in line:
                following.terminate()
                return lines
    raise AssertionError(f"no {wanted} within {DEADLINE_S} s: {lines}")


@needs_jq
def test_the_shell_worker_answers_each_complete_line_once(shell_worker: Path):
    lines = lines_until('"t3"', shell_worker)
    assert lines[1] == '{"task_'
    results = [json.loads(line) for line in [lines[0], *lines[2:]]]
    assert [(it["task_id"], it["status"], it["summary"]) for it in results] == [
        ("t1", "success", "earlier"),
        ("t2", "success", 'done\na "quote"'),
        ("t2.2", "failed", "no"),
        ("t3", "failed", ""),
    ]
    assert all(type(it["elapsed_secs"]) is int and it["artifacts"] == [] for it in results)
    assert not (shell_worker.parent / "again").exists()
    assert not (shell_worker.parent / "torn").exists()
