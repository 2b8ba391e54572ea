"""A short life of a session that touches every file there is: what crash points and power losses happen to."""

import signal

from tests.faults.forked import Session, append

W = {"worker": "w"}


def live(session: Session) -> None:
    """Whatever fails or dies on the way, all of it is done at the end."""
    begin(session)
    first = [session.send(f"task {number} " + "x" * 300, W) for number in range(3)]
    session.work_until_done(*first)
    escalate(session)
    cancel_and_retry(session)
    reject_and_replace(session)
    restart_torn(session)
    last = [session.send(f"task {number}", "any") for number in range(2)]
    session.work_until_done(*last)
    maintain(session)
    end_cleanly(session)
    session.work_until_done(session.send("after it all", W))


def begin(session: Session) -> None:
    session.call("worker.add", known=("conflict",), name="w", role="dev", window=0)
    session.call("worker.add", known=("conflict",), name="v", role="odd", window=1)


def escalate(session: Session) -> None:
    session.call("event.publish", event={"DisclosureLine": "it reads the mail"})
    session.call("event.publish", event={"PersonNeeded": {"text": "which one?"}})
    directory = session.place.session.worker("w")
    append(directory.events, {"WorkerProgress": {"worker_id": "w", "message": "half", "percent": 50.0}})


def cancel_and_retry(session: Session) -> None:
    held = session.send("held", {"worker": "v"}, hold=True)
    waits = session.send("waits", {"worker": "v"}, after=[held])
    session.call("task.release", known=("conflict", "refused"), ids=[held])
    session.call("task.cancel", known=("conflict", "refused"), ids=[waits], reason="not wanted")
    session.work_until_done(held, workers=("v",))
    forced = session.send("forced", {"worker": "v"})
    session.until(lambda: session.call("task.get", id=forced)["state"] != "queued", "it is not handed out")
    session.call("task.cancel", known=("conflict", "refused"), ids=[forced], force=True)


def reject_and_replace(session: Session) -> None:
    """A bad line, then another outbox in the place of the one that is read."""
    directory = session.place.session.worker("w")
    append(directory.outbox, b"{no json\n")
    task = session.send("before the new outbox", W)
    session.work_until_done(task)
    directory.outbox.rename(directory.outbox.with_name("outbox.old"))
    session.work_until_done(session.send("into the new outbox", W))


def restart_torn(session: Session) -> None:
    """The daemon dies with half a line at the end of its log."""
    session.end(signal.SIGKILL)
    segment = sorted(session.place.session.events.glob("*.jsonl"))[-1]
    append(segment, b'{"seq":')  # a log ends with a newline, so this is only appended


def maintain(session: Session) -> None:
    session.call("worker.pause", known=("conflict", "refused"), name="v")
    session.call("worker.update", name="w", role="tester")
    session.call("worker.remove", known=("not_found",), name="v", force=True)


def end_cleanly(session: Session) -> None:
    session.end()
