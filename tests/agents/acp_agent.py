"""A small ACP agent for tests: it does what its script says. Standard library only.

`acp_agent.py '{"steps":[{"ask":"echo hi > hi.txt"},{"say":"done"}]}'`. Keys of the script, all optional:

* `start`: `stub` (prints a notice and exits 0), `silent` (answers nothing), `auth` (refuses session/new),
  `junk` (lines that are no message before and between)
* `closes`: false: it does not take session/close
* `version`: of the protocol in the answer to initialize. `name`, `agent_version`: in agentInfo.
* `modes`: the list of modes, the first is current; `mode_by`: `option` (configuration option, default), `set_mode`
  (with an update), `mute` (set_mode without one), `refused`
* `steps`, for each prompt: `ask` a command (runs if allowed; `options`, `kind`, `in_text` change the request),
  `write`/`read` a path through the client, `say`, `think`, `plan` [done, all], `usage` [in, out, usd], `mode`, `raw` a
  line, `call` a method of the client's, `fail` a tool call, `run` a command unasked, `orphan` a blocking tool in a
  session of its own whose parent is gone, `hang` (`deaf`: to session/cancel too, and to EOF and SIGTERM), `die` with a
  status, `withdraw` the next question, `stop` with a reason, `error` [code, message]
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

OPTIONS = [
    {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
    {"optionId": "yes-always", "name": "Always", "kind": "allow_always"},
    {"optionId": "no", "name": "No", "kind": "reject_once"},
]


class Ended(Exception):
    """The client is gone."""


class Cancelled(Exception):
    """session/cancel came."""


class Agent:
    def __init__(self, script: Json) -> None:
        self.script = script
        self.mail: queue.Queue[Json | None] = queue.Queue()
        self.answers: dict[Any, Json] = {}
        self.session = ""
        self.sessions = 0
        self.calls = 0
        self.requests = -1  # the first id is 0
        modes = script.get("modes", [])
        self.mode = modes[0] if modes else None
        self.is_cancelled = False
        self.prompts = 0

    def send(self, **message: Any) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    def update(self, what: str, /, **fields: Any) -> None:
        self.send(
            method="session/update", params={"sessionId": self.session, "update": {"sessionUpdate": what, **fields}}
        )

    def request(self, method: str, **params: Any) -> int:
        self.requests += 1
        self.send(id=self.requests, method=method, params={"sessionId": self.session, **params})
        return self.requests

    def call(self, method: str, **params: Any) -> Json:
        """The answer. Raises Cancelled, Ended."""
        return self.answer_to(self.request(method, **params))

    def answer_to(self, id: int) -> Json:
        while id not in self.answers:
            self.take()
        return self.answers.pop(id)

    def take(self) -> None:
        """Waits for the next message. Raises Ended."""
        message = self.mail.get()
        if message is None:
            raise Ended
        if message.get("method") == "session/cancel":
            self.is_cancelled = True
        elif "method" in message:
            self.on_request(message)
        else:
            self.answers[message["id"]] = message

    def serve(self) -> None:
        while True:
            self.take()

    # --- what the client asks ------------------------------------------------------------------------------------

    def on_request(self, message: Json) -> None:
        match message:
            case {"method": "initialize", "id": id}:
                self.initialize(id)
            case {"method": "session/new", "id": id}:
                self.new_session(id)
            case {"method": "session/set_config_option", "id": id, "params": {"value": mode}}:
                self.mode = mode
                self.send(id=id, result={"configOptions": self.options()})
            case {"method": "session/set_mode", "id": id, "params": {"modeId": mode}}:
                self.set_mode(id, mode)
            case {"method": "session/close", "id": id, "params": {"sessionId": session}} if session == self.session:
                self.send(id=id, result={})
            case {"method": "session/prompt", "id": id, "params": {"prompt": [{"text": text}]}}:
                self.prompt(id, text)

    def initialize(self, id: Any) -> None:
        if self.script.get("start") == "silent":
            return
        info = {"name": self.script.get("name", "scripted"), "version": self.script.get("agent_version", "1.0")}
        closes = {"close": {}} if self.script.get("closes", True) else {}
        result = {"protocolVersion": self.script.get("version", 1), "agentInfo": info}
        self.send(id=id, result={**result, "agentCapabilities": {"sessionCapabilities": closes}})

    def new_session(self, id: Any) -> None:
        if self.script.get("start") == "auth":
            self.send(id=id, error={"code": -32000, "message": "Authentication required"})
            return
        self.sessions += 1
        self.session = f"session-{self.sessions}"
        result: Json = {"sessionId": self.session}
        modes = self.script.get("modes", [])
        self.mode = modes[0] if modes else None
        if modes and self.script.get("mode_by", "option") == "option":
            result["configOptions"] = self.options()
        elif modes:
            result["modes"] = {"currentModeId": self.mode, "availableModes": [{"id": mode} for mode in modes]}
        self.send(id=id, result=result)

    def options(self) -> list[Json]:
        values = [{"value": mode, "name": mode} for mode in self.script["modes"]]
        return [{"id": "mode", "category": "mode", "type": "select", "currentValue": self.mode, "options": values}]

    def set_mode(self, id: Any, mode: str) -> None:
        if self.script["mode_by"] == "refused":
            self.send(id=id, error={"code": -32602, "message": "not today"})
            return
        self.mode = mode
        self.send(id=id, result={})
        if self.script["mode_by"] == "set_mode":
            self.update("current_mode_update", currentModeId=mode)

    def prompt(self, id: Any, text: str) -> None:
        self.is_cancelled = False
        self.prompts += 1
        if self.prompts > 1 and self.script.get("echoes"):
            self.say(text)
        try:
            for step in self.script.get("steps", []) if self.prompts == 1 or not self.script.get("echoes") else []:
                self.do(step)
        except Cancelled:
            self.send(id=id, result={"stopReason": "cancelled"})
            return
        last = self.script.get("steps", [{}])[-1:]
        match last:
            case [{"error": [code, message]}]:
                self.send(id=id, error={"code": code, "message": message})
            case _:
                self.send(id=id, result={"stopReason": self.stop_reason(last), **self.usage()})

    def stop_reason(self, last: list[Json]) -> str:
        return str(last[0].get("stop", "end_turn")) if last else "end_turn"

    def usage(self) -> Json:
        for step in self.script.get("steps", []):
            if "usage" in step:
                tokens_in, tokens_out, usd = step["usage"]
                self.update("usage_update", used=1, size=2, cost={"amount": usd * self.prompts, "currency": "USD"})
                return {"usage": {"inputTokens": tokens_in, "outputTokens": tokens_out}}
        return {}

    # --- the steps of a prompt -----------------------------------------------------------------------------------

    def do(self, step: Json) -> None:
        match step:
            case {"ask": command}:
                self.ask(command, step)
            case {"write": path}:
                self.call("fs/write_text_file", path=path, content=step.get("content", "written\n"))
            case {"read": path}:
                answer = self.call("fs/read_text_file", path=path)
                self.say(json.dumps(answer.get("result") or answer.get("error")))
            case {"call": method}:
                self.say(json.dumps(self.call(method).get("error")))
            case {"say": text}:
                self.say(text)
            case {"think": text}:
                self.update("agent_thought_chunk", content={"type": "text", "text": text})
            case {"plan": [done, total]}:
                states = ["completed"] * done + ["pending"] * (total - done)
                entries = [{"content": f"step {n}", "status": state} for n, state in enumerate(states, 1)]
                self.update("plan", entries=entries)
            case {"mode": mode}:
                self.update("current_mode_update", currentModeId=mode)
            case {"raw": line}:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            case {"fail": command}:
                self.tool(command, "failed")
            case {"run": command}:
                subprocess.run(["/bin/sh", "-c", command], check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
                self.tool(command, "completed")
            case {"orphan": path}:
                self.orphan(path)
            case {"hang": how}:
                self.hang(deaf=how == "deaf")
            case {"die": status}:
                sys.stdout.flush()
                os._exit(status)
            case {"withdraw": command}:
                id = self.request_permission(command, {})
                self.send(method="$/cancel_request", params={"requestId": id})
                self.answer_to(id)
        if self.is_cancelled:
            raise Cancelled

    def say(self, text: str) -> None:
        self.update("agent_message_chunk", content={"type": "text", "text": text})

    def tool(self, command: str, status: str) -> str:
        self.calls += 1
        id = f"call-{self.calls}"
        self.update(
            "tool_call", toolCallId=id, kind="execute", title="sh", rawInput={"command": command}, status="pending"
        )
        self.update("tool_call_update", toolCallId=id, status=status)
        return id

    def request_permission(self, command: str, step: Json) -> int:
        self.calls += 1
        call: Json = {"toolCallId": f"call-{self.calls}", "title": "sh", "kind": step.get("kind", "execute")}
        if "paths" in step:
            call["locations"] = [{"path": path} for path in step["paths"]]
        else:
            call["rawInput"] = {"command": command}
        self.update("tool_call", status="pending", **call)
        asked = {"toolCallId": call["toolCallId"]}
        return self.request("session/request_permission", toolCall=asked, options=step.get("options", OPTIONS))

    def ask(self, command: str, step: Json) -> None:
        answer = self.answer_to(self.request_permission(command, step))
        id = f"call-{self.calls}"
        outcome = answer.get("result", {}).get("outcome", {})
        if not str(outcome.get("optionId")).startswith("yes"):
            self.update("tool_call_update", toolCallId=id, status="failed")
            return
        done = subprocess.run(["/bin/sh", "-c", command], check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        self.update("tool_call_update", toolCallId=id, status="failed" if done.returncode else "completed")

    def orphan(self, path: str) -> None:
        """A tool in a session of its own, its parent gone; its pid in `path`."""
        script = "setsid sh -c 'echo $$; exec tail -f /dev/null >/dev/null 2>&1' &"
        with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as shell:
            assert shell.stdout is not None
            pid = shell.stdout.readline()
        with open(path, "wb") as file:
            file.write(pid)

    def hang(self, *, deaf: bool) -> None:
        if deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            threading.Event().wait()
        while not self.is_cancelled:
            self.take()


def read_into(mail: "queue.Queue[Json | None]") -> None:
    for line in lines():
        mail.put(json.loads(line))
    mail.put(None)


def lines() -> Iterator[str]:
    while line := sys.stdin.readline():
        yield line


def main() -> None:
    script = json.loads(sys.argv[1])
    match script.get("start"):
        case "stub":
            print("kimi-cli is now Kimi Code. See the project's page.", flush=True)
            return
        case "junk":
            print("warning: this is not JSON\n\n[1, 2\n{}\n5", flush=True)
    agent = Agent(script)
    threading.Thread(target=read_into, args=[agent.mail], daemon=True).start()
    try:
        agent.serve()
    except Ended:
        os._exit(0)


if __name__ == "__main__":
    main()
