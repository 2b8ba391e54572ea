"""Silence: of a host, of an agent, within and beyond what a task may take."""

import pytest

from omkd.core.vitals import DEAD_AFTER_S, STALLED_AFTER_S, Duty, Signs, Vitals

IDLE = Duty(allowed_s=None, stall_s=None)
HEARTBEAT, NO_HEARTBEAT = (1, 10), None


def signs(heartbeat: tuple[int, int] | None = HEARTBEAT, *, mailbox: int = 0, output: int = 0) -> Signs:
    return Signs(heartbeat=heartbeat, mailbox=(mailbox,), output=(output,))


def test_who_shows_nothing_for_long_with_nothing_to_do_is_silent() -> None:
    vitals = Vitals.first(signs(), 100.0)
    assert vitals.silent_s(IDLE, 100.0 + STALLED_AFTER_S - 1) is None
    assert vitals.silent_s(IDLE, 100.0 + STALLED_AFTER_S) == STALLED_AFTER_S
    assert vitals.silent_s(IDLE, 105.0, stalled_after_s=5.0) == 5.0
    assert not vitals.has_changed


@pytest.mark.parametrize("change", [signs((2, 20)), signs(NO_HEARTBEAT), signs(mailbox=1), signs(output=1)])
def test_any_change_is_a_sign_of_life(change: Signs) -> None:
    vitals = Vitals.first(signs(), 0.0)
    vitals.see(signs(), 20.0)
    assert vitals.silent_s(IDLE, 31.0) == 31.0
    vitals.see(change, 31.0)
    assert vitals.has_changed
    assert vitals.silent_s(IDLE, 60.0) is None
    assert vitals.silent_s(IDLE, 61.0) == 30.0


def test_within_what_its_task_may_take_a_worker_may_be_silent() -> None:
    vitals = Vitals.first(signs(), 0.0)
    vitals.begin_duty(50.0)
    duty = Duty(allowed_s=300.0, stall_s=None)
    assert vitals.silent_s(duty, 350.0) is None
    assert vitals.silent_s(duty, 351.0) == 351.0


def test_an_agent_that_says_nothing_for_too_long_is_silent_though_its_host_beats() -> None:
    vitals = Vitals.first(signs(), 0.0)
    vitals.begin_duty(50.0)
    duty = Duty(allowed_s=300.0, stall_s=60.0)
    vitals.see(signs((2, 20)), 100.0)
    assert vitals.silent_s(duty, 109.0) is None
    assert vitals.silent_s(duty, 110.0) == 60.0
    vitals.see(signs((2, 20), output=1), 110.0)
    assert vitals.silent_s(duty, 169.0) is None
    assert vitals.silent_s(Duty(allowed_s=None, stall_s=60.0), 120.0) is None


def test_only_a_heartbeat_keeps_a_foreign_worker_from_being_dead() -> None:
    vitals = Vitals.first(signs(), 0.0)
    vitals.see(signs(mailbox=1), DEAD_AFTER_S - 1)
    assert not vitals.is_dead(DEAD_AFTER_S - 1)
    assert vitals.is_dead(DEAD_AFTER_S)
    vitals.see(signs((2, 20), mailbox=1), DEAD_AFTER_S)
    assert not vitals.is_dead(DEAD_AFTER_S + 1)
