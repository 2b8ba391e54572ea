"""Subscriptions: what is asked for of the past, then live, in order, each once; and again tomorrow."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.kit import Client, Daemon, Place, json_lines, running_daemon, wait_until


def publish(client: Client, text: str) -> int:
    return int(str(client.call("event.publish", event={"DisclosureLine": text})["seq"]))


def publish_needed(client: Client, text: str, worker: str | None = None) -> int:
    event = {"PersonNeeded": {"text": text, "worker_id": worker}}
    return int(str(client.call("event.publish", event=event)["seq"]))


def texts_of(notification: Any) -> list[str]:
    return [event["DisclosureLine"] for event in notification["params"]["unit"]["events"] if "DisclosureLine" in event]


@contextmanager
def publishing(daemon: Daemon, text: str, count: int) -> Iterator[None]:
    """Others publish meanwhile, as fast as they can."""

    def work() -> None:
        client = daemon.client()
        for number in range(count):
            publish(client, f"{text}{number}")
        client.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(60)


def test_past_and_live_join_without_gap_or_repeat(shared_daemon: Daemon) -> None:
    """Many subscriptions begin at once, each at another place, while others publish."""
    subscriber, publisher = shared_daemon.client(), shared_daemon.client()
    begun = publish(publisher, "begin")
    starts: dict[int, int] = {}
    with publishing(shared_daemon, "x", 300):
        for back in range(40):
            after = max(0, begun - back)
            answer: Any = subscriber.call("event.subscribe", after=after)
            assert answer["seq"] == after
            starts[answer["subscription"]] = after
            publish(publisher, "between")
    last = publish(publisher, "last")
    seen: dict[int, list[int]] = {subscription: [] for subscription in starts}
    while any(not seqs or seqs[-1] != last for seqs in seen.values()):
        params: Any = subscriber.next_notification()["params"]
        seen[params["subscription"]].append(params["unit"]["seq"])
    assert seen == {subscription: list(range(after + 1, last + 1)) for subscription, after in starts.items()}
    subscriber.close()
    publisher.close()


def test_a_subscription_shows_units_as_they_stand_in_the_log(shared_daemon: Daemon, shared_client: Client) -> None:
    shared_client.call("event.subscribe")
    seq = publish(shared_client, "ü€")
    shown: Any = shared_client.next_notification()["params"]["unit"]
    (segment,) = shared_daemon.place.session.events.glob("*.jsonl")
    assert shown == json_lines(segment)[seq - 1]
    assert (shown["seq"], shown["by"]["kind"], shown["events"]) == (seq, "client", [{"DisclosureLine": "ü€"}])


def test_without_a_start_a_subscription_begins_now(shared_client: Client) -> None:
    before = publish(shared_client, "past")
    answer = shared_client.call("event.subscribe")
    assert answer["seq"] == before
    publish(shared_client, "live")
    assert texts_of(shared_client.next_notification()) == ["live"]


@pytest.mark.parametrize("last", [0, 1, 3])
def test_last_begins_with_the_newest_so_many(shared_client: Client, last: int) -> None:
    seqs = [publish(shared_client, f"n{number}") for number in range(5)]
    answer = shared_client.call("event.subscribe", last=last)
    assert answer["seq"] == seqs[-1] - last
    publish(shared_client, "live")
    shown = [texts_of(shared_client.next_notification())[0] for _ in range(last + 1)]
    assert shown == [*[f"n{number}" for number in range(5)][5 - last :], "live"]


def test_last_counts_what_passes_the_filter(shared_client: Client) -> None:
    publish_needed(shared_client, "a", "lastfilter")
    publish_needed(shared_client, "b", "lastfilter")
    publish(shared_client, "not asked for")
    shared_client.call("event.subscribe", last=2, filter={"workers": ["lastfilter"]})
    shown: Any = [shared_client.next_notification()["params"] for _ in range(2)]
    assert [each["unit"]["events"][0]["PersonNeeded"]["text"] for each in shown] == ["a", "b"]


def test_since_begins_with_a_time(shared_client: Client) -> None:
    seqs = [publish(shared_client, f"s{number}") for number in range(4)]
    units: Any = shared_client.call("event.list", after=seqs[0] - 1)["units"]
    answer = shared_client.call("event.subscribe", since=units[2]["ts"])
    assert answer["seq"] == seqs[1]
    assert texts_of(shared_client.next_notification()) == ["s2"]
    answer = shared_client.call("event.subscribe", since="2000-01-01T00:00:00Z")
    assert answer["seq"] == 0


def test_a_filter_by_type_and_worker_passes_whole_units(shared_client: Client) -> None:
    shared_client.call("event.subscribe", filter={"types": ["PersonNeeded"], "workers": ["mine"]})
    publish(shared_client, "no")
    publish_needed(shared_client, "no", "other")
    wanted = publish_needed(shared_client, "yes", "mine")
    shown: Any = shared_client.next_notification()["params"]["unit"]
    assert shown["seq"] == wanted


def test_a_cancelled_subscription_says_nothing_more(shared_client: Client) -> None:
    first: Any = shared_client.call("event.subscribe")["subscription"]
    second: Any = shared_client.call("event.subscribe")["subscription"]
    shared_client.call("subscription.cancel", subscription=first)
    publish(shared_client, "for the second")
    shown: Any = shared_client.next_notification()["params"]
    assert shown["subscription"] == second
    error: Any = shared_client.ask("subscription.cancel", subscription=first)["error"]
    assert error["data"]["name"] == "not_found"
    assert shared_client.notifications == []


def test_the_answer_to_a_subscription_comes_before_its_first_notification(shared_client: Client) -> None:
    for _ in range(20):
        shared_client.send_line(b'{"jsonrpc":"2.0","id":"s","method":"event.subscribe","params":{"after":0}}')
        line: Any = shared_client.read_line()
        while "id" not in line:
            line = shared_client.read_line()
        number = line["result"]["subscription"]
        shown: Any = shared_client.read_line()
        while shown["params"]["subscription"] != number:
            shown = shared_client.read_line()
        assert shown["params"]["unit"]["seq"] == 1
        shared_client.call("subscription.cancel", subscription=number)


def test_one_answered_is_on_disk_before_it_is_shown(shared_daemon: Daemon, shared_client: Client) -> None:
    shared_client.call("event.subscribe")
    for number in range(50):
        seq = publish(shared_client, f"d{number}")
        (segment,) = shared_daemon.place.session.events.glob("*.jsonl")
        assert json_lines(segment)[-1]["seq"] >= seq


def test_a_cursor_is_good_after_a_restart(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("event.subscribe")
        first = publish(client, "one")
        seen: Any = client.next_notification()["params"]["unit"]["seq"]
        second = publish(client, "two, not seen")
        client.close()
        daemon.kill()
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("event.subscribe", after=seen)
        last = publish(client, "three")
        shown: Any = [client.next_notification()["params"] for _ in range(last - first)]
        assert [each["unit"]["seq"] for each in shown] == list(range(first + 1, last + 1))
        assert second in [each["unit"]["seq"] for each in shown]
        client.close()


def test_events_are_listed_in_pages_forward_and_from_the_end(shared_client: Client) -> None:
    seqs = [publish(shared_client, f"p{number}") for number in range(25)]

    def listed(**params: object) -> tuple[list[int], Any]:
        result: Any = shared_client.call("event.list", **params)
        return [unit["seq"] for unit in result["units"]], result["next"]

    found: list[int] = []
    after: Any = seqs[0] - 1
    while after is not None:
        page, after = listed(after=after, limit=10)
        assert len(page) <= 10
        found += page
    assert found == seqs
    assert listed(after=seqs[4], before=seqs[9]) == (seqs[5:9], None)
    assert listed(last=3) == (seqs[-3:], None)
    assert listed(last=3, before=seqs[10]) == (seqs[7:10], None)
    assert listed(before=seqs[10], limit=4) == (seqs[6:10], None)
    assert listed(last=100, after=seqs[20]) == (seqs[21:], None)


# --- the escalation log ---


def test_escalations_are_followed_from_the_past_on(shared_client: Client) -> None:
    seqs = [publish_needed(shared_client, f"e{number}", "tail") for number in range(4)]
    answer: Any = shared_client.call("escalation.tail", after=seqs[0], workers=["tail"])
    seqs.append(publish_needed(shared_client, "e4", "tail"))
    shown: Any = [shared_client.next_notification()["params"] for _ in range(4)]
    assert [(each["seq"], each["entry"]["summary"]) for each in shown] == [
        (seq, f"e{number}") for number, seq in list(enumerate(seqs))[1:]
    ]
    assert {each["subscription"] for each in shown} == {answer["subscription"]}


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 5, 1000])
def test_the_newest_lines_may_begin_within_a_unit(client: Client, place: Place, lines: int) -> None:
    """A result without a start is one unit that brings two lines; `lines` may cut it."""
    client.call("worker.add", name="w", role="r", window=0)
    tasks: Any = [client.call("task.send", target={"worker": "w"}, task={"task": f"task {n}"}) for n in range(3)]
    directory = place.session.worker("w")
    wait_until(lambda: len(json_lines(directory.inbox)) == 3, "tasks are not handed out")
    for task in tasks:
        with directory.outbox.open("a") as outbox:
            outbox.write(f'{{"task_id":"{task["id"]}","status":"success"}}\n')
    client.call("task.wait", ids=[task["id"] for task in tasks], timeout=20)
    listed: Any = client.call("escalation.list")["escalations"]
    assert [each["entry"]["kind"] for each in listed] == ["worker_started", "worker_completed"] * 3
    newest = listed[-lines:] if lines else []
    assert client.call("escalation.list", lines=lines)["escalations"] == newest

    client.call("escalation.tail", lines=lines)
    live = publish_needed(client, "live")
    wanted = [*newest, {"seq": live}]
    shown: Any = [client.next_notification()["params"] for _ in wanted]
    assert [each["seq"] for each in shown] == [each["seq"] for each in wanted]
    assert [each["entry"] for each in shown[:-1]] == [each["entry"] for each in wanted[:-1]]


def test_escalations_are_listed_by_kind_worker_and_page(shared_client: Client) -> None:
    seqs = [publish_needed(shared_client, f"l{number}", "lister") for number in range(7)]

    def listed(**params: object) -> tuple[list[int], Any]:
        result: Any = shared_client.call("escalation.list", workers=["lister"], **params)
        return [each["seq"] for each in result["escalations"]], result["next"]

    assert listed() == (seqs, None)
    first, more = listed(limit=3)
    assert (first, listed(after=more)[0]) == (seqs[:3], seqs[3:])
    assert listed(kinds=["router_escalation"]) == (seqs, None)
    assert listed(kinds=["failed"]) == ([], None)
    assert listed(lines=2) == (seqs[-2:], None)
    assert shared_client.call("escalation.list", workers=["nobody-at-all"])["escalations"] == []
