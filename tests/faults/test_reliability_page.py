"""docs/reliability.md names the test that shows each sentence: they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 15
    for file, name in named:
        text = (ROOT / file).read_text()
        assert re.search(rf"^(async )?(def {name}\(|{name} = )", text, re.MULTILINE), f"{file} has no {name}"


def test_every_sentence_of_the_promise_names_its_test() -> None:
    promise = PAGE.partition("| what is promised")[2].partition("\n\n")[0]
    rows = [line for line in promise.splitlines()[2:] if line.startswith("|")]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row and "these" not in row] == []


def test_every_test_of_the_torture_is_on_the_page() -> None:
    for file in ("test_faults.py", "test_disks.py", "test_privacy.py"):
        for name in re.findall(r"^def (test_\w+)", (ROOT / "tests" / "faults" / file).read_text(), re.MULTILINE):
            assert f"{file}::{name}`" in PAGE, f"{name} shows no sentence of docs/reliability.md"
