"""Parameters: by name, strictly typed; an error names the field and what was meant."""

from typing import Any

import attrs
import pytest

from omkd.protocol.methods import METHODS
from tests.kit import Client, Daemon


def refused(client: Client, method: str, params: dict[str, object]) -> Any:
    return client.ask(method, **params)["error"]


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_parameter_is_refused_with_the_nearest(shared_client: Client, method: str) -> None:
    names = [each.name for each in attrs.fields(METHODS[method].params)]
    wrong = f"{names[0]}x" if names else "anything"
    error = refused(shared_client, method, {wrong: 1})
    assert error["data"]["name"] == "invalid_params"
    assert wrong in error["message"]
    assert not names or f'did you mean "{names[0]}"?' in error["message"]


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if attrs.fields(each.params)])
def test_a_parameter_of_no_type_at_all_is_refused_with_its_path(shared_client: Client, method: str) -> None:
    name = attrs.fields(METHODS[method].params)[0].name
    error = refused(shared_client, method, {name: {"no": ["such", "thing"]}})
    assert error["data"]["name"] == "invalid_params"
    assert error["data"]["path"].startswith(name)


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("task.send", {"target": {"worker": 3}, "task": {"task": "x"}}, "target.worker"),
        ("task.send", {"target": "nobody", "task": {"task": "x"}}, "target"),
        ("task.send", {"target": "any", "task": {"task": 3}}, "task.task"),
        ("task.send", {"target": "any", "task": {}}, "task"),
        ("task.send", {"target": "any", "task": {"task": "x", "budget_secs": "3"}}, "task.budget_secs"),
        ("task.send", {"target": "any", "task": {"task": "x", "budget_secs": True}}, "task.budget_secs"),
        ("task.send", {"target": "any", "task": {"task": "x", "budget_secs": -1}}, "task.budget_secs"),
        ("task.send", {"target": "any", "task": {"task": "x", "budget_secs": 1.5}}, "task.budget_secs"),
        (
            "task.send",
            {"target": "any", "task": {"task": "x", "acceptance_criteria": ["a", None]}},
            "task.acceptance_criteria[1]",
        ),
        ("task.send", {"target": "any", "task": {"task": "x", "contxt": "y"}}, "task"),
        ("task.list", {"states": ["running", "flying"]}, "states[1]"),
        ("task.list", {"since": "yesterday"}, "since"),
        ("task.list", {"limit": 0}, "limit"),
        ("event.list", {"limit": 0}, "limit"),
        ("escalation.list", {"limit": 0}, "limit"),
        ("task.wait", {"ids": "t1"}, "ids"),
        ("task.wait", {"ids": ["t1"], "until": "later"}, "until"),
        ("worker.add", {"name": "w", "role": "r", "runner": {"command": "ls"}}, "runner.command"),
        ("worker.add", {"name": "w", "role": "r", "runner": {"command": ["ls", 3]}}, "runner.command[1]"),
        ("worker.add", {"name": "w", "role": "r", "approval_policy": "maybe"}, "approval_policy"),
        ("worker.add", {"name": "w", "role": "r", "window": 2**32}, "window"),
        ("event.publish", {"event": {"WorkerStarted": {"worker_id": "w", "kind": "k"}}}, "event.WorkerStarted"),
        ("event.publish", {"event": {"TaskStarted": {"task_id": "t1"}}}, "event"),
        ("event.publish", {"event": {"DaemonStopped": {"reason": "no"}}}, "event"),
        ("event.subscribe", {"filter": {"types": "TaskQueued"}}, "filter.types"),
        ("event.subscribe", {"filter": {"types": ["TaskQueued", "TaskQueue"]}}, "filter.types[1]"),
        ("event.list", {"filter": {"types": ["TaskFinishd"]}}, "filter.types[0]"),
        ("event.list", {"after": -1}, "after"),
        ("escalation.tail", {"kinds": ["faild"]}, "kinds[0]"),
        ("subscription.cancel", {"subscription": "1"}, "subscription"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(
    shared_client: Client, method: str, params: dict[str, object], path: str
) -> None:
    error = refused(shared_client, method, params)
    assert error["data"]["name"] == "invalid_params"
    assert error["data"]["path"] == path
    assert error["message"].startswith(path)


@pytest.mark.parametrize("method", ["omkd.status", "worker.list", "rpc.discover"])
def test_params_may_be_left_out_where_none_is_needed(shared_client: Client, method: str) -> None:
    shared_client.send_line(b'{"jsonrpc":"2.0","id":"q","method":"%b"}' % method.encode())
    answer: Any = shared_client.read_line()
    assert "result" in answer


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"name": "../x", "role": "r"}, "name"),
        ({"name": "x" * 65, "role": "r"}, "name"),
        ({"name": "", "role": "r"}, "name"),
        ({"name": ".x", "role": "r"}, "name"),
        ({"name": "x\n", "role": "r"}, "name"),
        ({"name": "x", "role": ""}, "role"),
        ({"name": "x", "role": "r", "project_dir": "relative"}, "project_dir"),
        ({"name": "x", "role": "r", "project_dir": "/no/such/directory"}, "project_dir"),
        ({"name": "x", "role": "r", "project_dir": f"/{'x' * 256}"}, "project_dir"),
        ({"name": "x", "role": "r", "runner": {"command": []}}, "runner.command"),
        ({"name": "x", "role": "r", "runner": {"command": [f"{'x' * 256}/ls"]}}, "runner.command[0]"),
        (
            {"name": "x", "role": "r", "runner": {"command": ["nope"], "env": {"PATH": f"/{'x' * 256}"}}},
            "runner.command[0]",
        ),
        ({"name": "x", "role": "r", "runner": {"command": ["no-such-command-here"]}}, "runner.command[0]"),
        ({"name": "x", "role": "r", "runner": {"command": ["ls", "a\0b"]}}, "runner"),
        ({"name": "x", "role": "r", "runner": {"command": ["ls"], "budget_secs": 0}}, "runner.budget_secs"),
        ({"name": "x", "role": "r", "runner": {"command": ["ls"], "env": {"A=B": "c"}}}, "runner.env"),
        (
            {"name": "x", "role": "r", "approval_policy": {"pattern": {"patterns": ["("]}}},
            "approval_policy.pattern.patterns[0]",
        ),
    ],
)
def test_a_worker_that_cannot_work_is_refused_and_leaves_nothing(
    shared_daemon: Daemon, shared_client: Client, params: dict[str, object], path: str
) -> None:
    error = refused(shared_client, "worker.add", params)
    assert (error["data"]["name"], error["data"]["path"]) == ("invalid_params", path)
    assert shared_client.call("worker.list")["workers"] == []
    assert list(shared_daemon.place.session.workers.iterdir()) == []


def test_discover_shows_each_method_with_its_parameters(shared_client: Client) -> None:
    document: Any = shared_client.call("rpc.discover")
    assert {method["name"] for method in document["methods"]} == set(METHODS)
    send = next(method for method in document["methods"] if method["name"] == "task.send")
    wanted = [each.name for each in attrs.fields(METHODS["task.send"].params)]
    assert [each["name"] for each in send["params"]] == wanted
