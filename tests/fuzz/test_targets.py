"""Any bytes at all, and every input that is kept, through each target. The long share is in `tests/faults`."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.mutations import corpus
from tests.fuzz.targets import SEGMENT_MARK, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_does_no_harm(name: str) -> None:
    kept = corpus(name)
    assert kept
    for content in kept:
        TARGETS[name](content, Random(0))


@pytest.mark.parametrize("name", TARGETS)
@given(content=st.binary(max_size=3000))
@example(content=SEGMENT_MARK)
@example(content=b"\n" + SEGMENT_MARK + b"\n")
def test_any_bytes_do_no_harm(name: str, content: bytes) -> None:
    TARGETS[name](content, Random(0))
