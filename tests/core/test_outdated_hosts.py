"""A host that is to be replaced, for its version or for a call that waits: it gets nothing more before."""

from core_kit import CODER, DOCS, World, to_role

from omkd.core.views import task_view


def test_it_gets_nothing_and_the_task_says_what_it_waits_for() -> None:
    world = World()
    coder = world.worker()
    coder.seen.outdated = True
    entry = world.send("a")
    assert world.hand_out() == []
    assert task_view(world.state, entry).why == f"{CODER}: host of another version is replaced first"
    coder.seen.outdated = False
    assert world.hand_out() == ["a"]


def test_another_of_its_role_takes_the_task_meanwhile() -> None:
    world = World()
    world.worker().seen.outdated = True
    world.worker(DOCS)
    entry = world.send("a", to_role("coder"))
    assert world.hand_out() == ["a"]
    assert entry.worker == DOCS


def test_one_that_drains_gets_nothing_until_the_last_call_that_drains_it_ends() -> None:
    world = World()
    world.worker()
    world.state.drains[CODER] = 2
    entry = world.send("a")
    assert world.hand_out() == []
    assert task_view(world.state, entry).why == f"{CODER}: drains, gets work again when that is over"
    world.state.drains[CODER] -= 1
    assert world.hand_out() == []
    world.state.drains[CODER] -= 1
    assert world.hand_out() == ["a"]
