"""A session of its own for each test, and the real daemon on it."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.kit import Client, Daemon, Place, running_daemon
from tests.leftovers import place_of_its_own

settings.register_profile("same-each-time", derandomize=True)
settings.load_profile("same-each-time")


@pytest.fixture
def place() -> Iterator[Place]:
    with place_of_its_own() as place:
        yield place


@pytest.fixture
def daemon(place: Place) -> Iterator[Daemon]:
    with running_daemon(place) as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    client = daemon.client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def shared_daemon() -> Iterator[Daemon]:
    """One for the tests of a module that leave nothing behind which others could mind: a start takes its time."""
    with place_of_its_own() as place, running_daemon(place) as daemon:
        yield daemon


@pytest.fixture
def shared_client(shared_daemon: Daemon) -> Iterator[Client]:
    client = shared_daemon.client()
    yield client
    client.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a real systemd share /run/systemd/system: one after the other, where tests run side by side."""
    for item in items:
        if item.get_closest_marker("systemd") is not None:
            item.add_marker(pytest.mark.xdist_group("systemd"))
