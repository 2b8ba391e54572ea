"""Which worker an event is about."""

from collections.abc import Container

from omkd.protocol.events import By, ByWorker, Event


def workers_of(event: Event, by: By) -> set[str]:
    """The worker that an event names, and the one that brought it; often none."""
    named = getattr(event, "worker", None) or getattr(event, "worker_id", None)
    brought = by.worker if isinstance(by, ByWorker) else None
    return {str(worker) for worker in (named, brought) if worker}


def is_about(event: Event, by: By, workers: Container[str]) -> bool:
    """Whether an event names one of `workers`, or one of them brought it."""
    return any(worker in workers for worker in workers_of(event, by))
