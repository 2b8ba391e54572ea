"""What the tests themselves leave: nothing that writes into a directory while it is removed."""

import subprocess
import sys

from tests.kit import Client, running_daemon, wait_until
from tests.leftovers import place_of_its_own, processes_of


def test_a_host_that_holds_no_lock_yet_is_ended_before_its_directory_goes() -> None:
    """It was not found once: it took its lock and beat its heart while the directory was removed ("not empty")."""
    with place_of_its_own() as place:
        with running_daemon(place) as daemon:
            client = Client(place.socket)
            client.call("worker.add", name="w", role="r")
            client.close()
            daemon.stop()
        command = [sys.executable, "-m", "omkd.worker", "--dir", str(place.session.worker("w").path)]
        late = subprocess.Popen(command, env=place.environment)
        wait_until(lambda: processes_of(place) == [late.pid], "its environment is not seen")
    late.wait(20)
    assert not place.root.exists()


def test_what_a_killed_daemon_left_is_ended_too() -> None:
    with place_of_its_own() as place, running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r", runner={"command": ["cat"]})
        daemon.kill()
    wait_until(lambda: processes_of(place) == [], "a host is left")
    assert not place.root.exists()
