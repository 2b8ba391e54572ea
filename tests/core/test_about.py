"""Which workers an event is about: named in it, or having brought it."""

import pytest

from omkd.core.about import is_about, workers_of
from omkd.protocol.events import By, ByOmkd, ByWorker, Event, PersonNeeded, WorkerPaused, WorkerProgress
from omkd.protocol.scalars import F32, WorkerName

CODER = WorkerName("coder")
PAUSED = WorkerPaused(worker=CODER, reason="x")
PROGRESS = WorkerProgress(worker_id="coder", message="m", percent=F32(1.0))
ASKS = PersonNeeded(text="?")
OTHER = ByWorker(worker=WorkerName("other"))


@pytest.mark.parametrize(
    ("event", "by", "about"),
    [
        (PAUSED, ByOmkd(), {"coder"}),
        (PROGRESS, ByOmkd(), {"coder"}),
        (PROGRESS, OTHER, {"coder", "other"}),
        (ASKS, OTHER, {"other"}),
        (ASKS, ByOmkd(), set()),
    ],
)
def test_an_event_is_about_who_it_names_and_who_brought_it(event: Event, by: By, about: set[str]) -> None:
    assert workers_of(event, by) == about
    assert all(is_about(event, by, [worker]) for worker in about)
    assert not is_about(event, by, ["nobody"])
