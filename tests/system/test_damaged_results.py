"""A result that the log had and lost: its task does not stay in hand for ever. A real host and a real repair."""

from tests.kit import Place, running_daemon
from tests.system.system_kit import add_shell, result, send, state
from tests.system.test_starting import run_omkd, segment


def test_a_task_whose_result_was_lost_with_damage_can_be_ended_by_force(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_shell(client)
        assert result(client, send(client, "echo first", id="first"))[0] == "success"
        assert result(client, send(client, "echo second", id="second"))[0] == "success"
        daemon.kill()
    lines = segment(place).read_bytes().splitlines(keepends=True)
    lost = next(at for at, line in enumerate(lines) if b"TaskFinished" in line)
    segment(place).write_bytes(b"".join([*lines[:lost], b"garbage\n", *lines[lost + 1 :]]))
    assert run_omkd(place, "repair").returncode == 0
    with running_daemon(place) as daemon:
        client = daemon.client()
        assert state(client, "first") == "running"
        client.call("task.cancel", ids=["first"])
        client.call("task.cancel", ids=["first"], force=True)
        assert state(client, "first") == "lost"
        assert result(client, send(client, "echo third"))[0] == "success"
        assert client.call("omkd.verify")["findings"] == []
