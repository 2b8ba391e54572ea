"""A recorded conversation with a real agent, played through the driver: what the recorded client did, it does."""

import gzip
import json
from pathlib import Path
from typing import Any

from attrs import Factory, define, frozen

from omkd.worker.acp import AcpClient
from omkd.worker.acp_agents import profile_of_agent, reading_of
from omkd.worker.acp_events import (
    AcpEvent,
    AgentInfo,
    FileReadAsked,
    FileWriteAsked,
    Initialized,
    PermissionAsked,
    SessionPlan,
)
from omkd.worker.acp_facts import object_of

TRANSCRIPTS = Path(__file__).parent.parent / "agents" / "transcripts"


@frozen(kw_only=True)
class Recorded:
    """One line: `{"t":1.04,"dir":"in","msg":{…}}`, `in` is from the agent."""

    from_agent: bool
    message: dict[str, Any]


def names() -> list[str]:
    return sorted(path.name.removesuffix(".jsonl.gz") for path in TRANSCRIPTS.glob("*.jsonl.gz"))


def load(name: str) -> list[Recorded]:
    with gzip.open(TRANSCRIPTS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [Recorded(from_agent=record["dir"] == "in", message=record["msg"]) for record in records]


@define
class Replay:
    """`mode` None: a recorded set_mode is not repeated. `sent` is what the driver wrote."""

    name: str
    mode: str | None = None
    chunk_bytes: int = 1 << 20
    client: AcpClient = Factory(AcpClient)
    events: list[AcpEvent] = Factory(list)
    sent: list[dict[str, Any]] = Factory(list)
    agent: AgentInfo = Factory(AgentInfo)
    ids: dict[Any, Any] = Factory(dict)
    loaded: dict[Any, dict[str, Any]] = Factory(dict)

    def run(self) -> "Replay":
        for recorded in load(self.name):
            if recorded.from_agent:
                self.feed(recorded.message)
            else:
                self.repeat(recorded.message)
            self.take()
        return self

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    def feed(self, message: dict[str, Any]) -> None:
        """A line of the agent. An answer gets the id of our request, and a session if it was loaded."""
        if "method" not in message:
            if message["id"] in self.loaded:
                message = {**message, "result": {**message["result"], **self.loaded[message["id"]]}}
            message = {**message, "id": self.ids.get(message["id"], f"recorded {message['id']}")}
        line = json.dumps(message).encode() + b"\n"
        for start in range(0, len(line), self.chunk_bytes):
            self.client.receive_data(line[start : start + self.chunk_bytes])

    def repeat(self, message: dict[str, Any]) -> None:
        """What the recorded client wrote, as a command to ours."""
        match message:
            case {"method": "initialize", "id": id}:
                self.client.start()
                self.note_id(id)
            case {"method": "session/new" | "session/load" as method, "id": id, "params": params}:
                self.open(params)
                self.note_id(id)
                if method == "session/load":
                    self.loaded[id] = {"sessionId": params["sessionId"]}
            case {"method": "session/prompt", "id": id, "params": {"prompt": [{"text": text}]}}:
                self.client.prompt(text)
                self.note_id(id)
            case {"method": "session/cancel"}:
                self.client.cancel()
            case {"method": _}:
                pass  # set_mode: ours sets it by itself, if it is to
            case _:
                self.answer(message)

    def open(self, params: dict[str, Any]) -> None:
        profile = profile_of_agent(self.agent)
        meta = profile.meta if profile is not None else {}
        plan = SessionPlan(cwd=params["cwd"], mode=self.mode, meta=meta)
        self.client.open_session(plan, reading_of(self.agent, params["cwd"]))

    def answer(self, message: dict[str, Any]) -> None:
        asked = [event for event in self.events if getattr(event, "request_id", self) == message["id"]]
        match asked, message:
            case [PermissionAsked() as event, *_], {"result": {"outcome": {"outcome": "selected", "optionId": chosen}}}:
                (option,) = (option for option in event.options if option.id == chosen)
                assert self.client.allow(event.request_id, option)
            case [PermissionAsked() as event, *_], _:
                self.client.reject(event.request_id, None, "recorded")
            case [FileReadAsked() | FileWriteAsked() as event, *_], {"result": result}:
                self.client.answer_file(event.request_id, object_of(result).get("content"))  # type: ignore[arg-type]
            case [FileReadAsked() | FileWriteAsked() as event, *_], {"error": error}:
                self.client.refuse_file(event.request_id, error["code"], error["message"])

    def note_id(self, recorded_id: Any) -> None:
        self.take()
        self.ids[recorded_id] = self.sent[-1]["id"]

    def take(self) -> None:
        while (event := self.client.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, Initialized):
                self.agent = event.agent
        self.sent += [json.loads(line) for line in self.client.data_to_send().splitlines()]
