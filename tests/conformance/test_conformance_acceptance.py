"""What Rust reads and refuses, and what it writes again."""

import pytest
from conformance_rows import rows_of, verdict_on
from refused_oddities import DOCUMENT, generated_part, with_generated_part

ROWS = rows_of("acceptance")
CORE = [row for row in ROWS if row["class"] == "core"]
ODD = [row for row in ROWS if row["class"] != "core"]


@pytest.mark.parametrize("row", CORE, ids=lambda row: str(row["id"]))
def test_core_row_has_rusts_verdict_and_bytes(row):
    verdict = verdict_on(row)
    assert verdict.accepted == row["accepted"], verdict.error
    assert verdict.written == row["reserialized"]


def test_an_oddity_that_both_read_is_written_in_the_same_bytes():
    for row in ODD:
        verdict = verdict_on(row)
        if verdict.accepted:
            assert verdict.written == row["reserialized"], row["note"]


def test_what_rust_refuses_is_refused():
    assert [row["id"] for row in ODD if not row["accepted"] and verdict_on(row).accepted] == []


def test_the_document_counts_the_refused_oddities():
    document = DOCUMENT.read_text(encoding="utf-8")
    print(generated_part())
    assert "61 of 81 odd rows differ" in document
    assert with_generated_part(document) == document, "run python tests/conformance/refused_oddities.py"
