"""`omkctl worker adopt`, `pause`, `resume`, `restart`, `compact`, `remove`.

With --drain the answer comes when the worker has nothing in hand, however long that takes. `pause` and `remove` record
a pause for that, which stays; `restart` and `compact` do not: with them it gets work again however they end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from omkctl import completers, confirm, options
from omkctl.failures import timed_out
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.render import say
from omkctl.shapes import Worker, WorkerCompacted, WorkerRemoved
from omkctl.verb import Verb

drain = click.option("--drain", is_flag=True, help="Hand nothing more to it, and wait until nothing is in hand.")


@click.command("adopt", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@click.pass_obj
def adopt(invocation: Invocation, name: str) -> None:
    """Make foreign worker NAME omkd's own: its runner.json counts from now on, its files follow the log."""
    worker = invocation.client().call("worker.adopt", {"name": name}, Worker)
    tell(invocation, worker, "is omkd's own")


@click.command("pause", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@click.option("--reason", default="", metavar="TEXT", help="Why; the record keeps it.")
@drain
@options.timeout
@click.pass_obj
def pause(invocation: Invocation, name: str, reason: str, drain: bool, timeout: float | None) -> None:
    """Hand nothing more to worker NAME. What it has in hand goes on; --drain waits for that."""
    client = invocation.client()
    paused = client.call("worker.pause", {"name": name, "reason": reason}, Worker)
    if drain and paused["in_hand"]:
        say(f"worker {name} is paused; waits for {' '.join(paused['in_hand'])}")
        with telling_what_stays(name, timeout, stays_paused(name)):
            paused = client.wait("worker.pause", {"name": name, "drain": True}, Worker, Deadline.after(timeout))
    tell(invocation, paused, "is paused" + in_hand(paused))


@click.command("resume", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@click.pass_obj
def resume(invocation: Invocation, name: str) -> None:
    """Hand work to worker NAME again."""
    tell(invocation, invocation.client().call("worker.resume", {"name": name}, Worker), "gets work again")


@click.command("restart", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@drain
@click.option("--force", is_flag=True, help="Kill it at once; what it ran is interrupted.")
@options.timeout
@click.pass_obj
def restart(invocation: Invocation, name: str, drain: bool, force: bool, timeout: float | None) -> None:
    """End the host of worker NAME and start a new one.

    Without --drain the host has its grace time to finish what it runs; what it cannot finish is interrupted, and run
    again as the worker's --on-interrupt says. A host that hangs is killed after twice that time and 5 s. Also starts
    one that was given up after too many restarts.
    """
    refuse_both(drain=drain, force=force)
    if drain:
        say_what_is_waited_for(invocation, name)
    asked = {"name": name, "drain": drain, "force": force}
    with telling_what_stays(name, timeout, "; it gets work again" if drain else ""):
        worker = invocation.client().call_long("worker.restart", asked, Worker, Deadline.after(timeout))
    tell(invocation, worker, "has a new host")


@click.command("compact", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@drain
@options.timeout
@click.pass_obj
def compact(invocation: Invocation, name: str, drain: bool, timeout: float | None) -> None:
    """Move the files of worker NAME into its archive/, gzipped, and begin new ones.

    Only with nothing in hand; its host is started anew.
    """
    if drain:
        say_what_is_waited_for(invocation, name)
    asked = {"name": name, "drain": drain}
    with telling_what_stays(name, timeout, "; it gets work again" if drain else ""):
        done = invocation.client().call_long("worker.compact", asked, WorkerCompacted, Deadline.after(timeout))
    if invocation.out.as_json:
        invocation.out.json(done)
        return
    for path in done["archived"]:
        invocation.out.line(path)
    if not done["archived"]:
        say(f"worker {name} has no lines to put away")


@click.command("remove", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@drain
@click.option("--force", is_flag=True, help="Even with tasks in hand: they become `lost`.")
@options.timeout
@confirm.yes
@click.pass_obj
def remove(invocation: Invocation, name: str, drain: bool, force: bool, timeout: float | None, yes: bool) -> None:
    """End worker NAME's host and move its directory aside; nothing is deleted."""
    refuse_both(drain=drain, force=force)
    confirm.ask(f"remove worker {name}? Its files are moved to removed/", answered=yes)
    if drain:
        say_what_is_waited_for(invocation, name)
    asked = {"name": name, "drain": drain, "force": force}
    with telling_what_stays(name, timeout, stays_paused(name) if drain else ""):
        removed = invocation.client().call_long("worker.remove", asked, WorkerRemoved, Deadline.after(timeout))
    if invocation.out.as_json:
        invocation.out.json(removed)
    else:
        invocation.out.line(f"worker {removed['name']} removed; its files are in {removed['moved_to']}")


def tell(invocation: Invocation, worker: Worker, what: str) -> None:
    if invocation.out.as_json:
        invocation.out.json(worker)
    else:
        invocation.out.line(f"worker {worker['name']} {what}")


def in_hand(worker: Worker) -> str:
    return f"; in hand: {' '.join(worker['in_hand'])}" if worker["in_hand"] else ""


def refuse_both(*, drain: bool, force: bool) -> None:
    if drain and force:
        raise click.UsageError("--drain waits for what is in hand, --force does not: one of them")


def say_what_is_waited_for(invocation: Invocation, name: str) -> None:
    """One that is dead is not waited for."""
    worker = invocation.client().call("worker.get", {"name": name}, Worker)
    if worker["in_hand"] and worker["state"] != "dead":
        say(f"worker {name} gets nothing more; waits for {' '.join(worker['in_hand'])}")


def stays_paused(name: str) -> str:
    return f"; it stays paused (omkctl worker resume {name})"


@contextmanager
def telling_what_stays(name: str, timeout: float | None, stays: str) -> Iterator[None]:
    """The wait ends with us; `stays` says what is then."""
    try:
        yield
    except Late:
        raise timed_out(f"worker {name} is not done within {timeout:g} s{stays}") from None
    except KeyboardInterrupt:
        say(f"worker {name}: no longer waited for{stays}")
        raise
