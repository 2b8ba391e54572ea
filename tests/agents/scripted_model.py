"""A language model for tests: it answers each request with the next step of a script, in the dialect it is asked in.

Which step is next, the request says itself: it holds the results of all tools called before. So nothing is kept, and
an agent may repeat a request. A request that offers no tools asks for a title or a summary and gets a word.

Dialects, each in one piece and streamed: OpenAI's chat completions and (streamed only) responses, Anthropic's messages,
Gemini's generateContent.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

Json: TypeAlias = dict[str, Any]

ASIDE = "a title"


@frozen
class Call:
    """Use this tool with these arguments."""

    tool: str
    arguments: Json


@frozen
class Say:
    """The last word."""

    text: str


@frozen
class Listen:
    """The last word: whether this text is in the request, so whether the agent passed it on."""

    text: str


@frozen
class Fail:
    """Answer with this HTTP status."""

    status: int


Step: TypeAlias = Call | Say | Listen | Fail


@contextmanager
def scripted_model(steps: Sequence[Step]) -> Iterator[str]:
    """Its address, `http://127.0.0.1:PORT`, while it runs."""

    class Handler(ModelHandler):
        script = tuple(steps)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class ModelHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: tuple[Step, ...]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.reply(b"")

    def do_GET(self) -> None:
        """A list of models, or whatever else an agent looks for at start."""
        self.reply_json({"object": "list", "data": [{"id": "scripted", "object": "model"}], "has_more": False})

    def do_POST(self) -> None:
        request = self.body()
        path = urlsplit(self.path).path
        if path.endswith("/chat/completions"):
            self.answer(request, chat_results(request), chat_answer, chat_events)
        elif path.endswith("/responses"):
            self.answer({**request, "stream": True}, response_results(request), response_answer, response_events)
        elif path.endswith("/messages"):
            self.answer(request, claude_results(request), claude_message, claude_events)
        elif path.endswith(":generateContent"):
            self.answer({**request, "stream": False}, gemini_results(request), gemini_answer, gemini_events)
        elif path.endswith(":streamGenerateContent"):
            self.answer({**request, "stream": True}, gemini_results(request), gemini_answer, gemini_events)
        elif path.endswith(("/count_tokens", ":countTokens")):
            self.reply_json({"input_tokens": 1, "totalTokens": 1})
        else:
            self.reply_json({})

    def answer(self, request: Json, results: int, whole: Any, events: Any) -> None:
        step = self.step_for(request, results)
        if isinstance(step, Listen):
            step = heard(step.text, request)
        if isinstance(step, Fail):
            self.reply_json(error_for(step.status), step.status)
        elif request.get("stream"):
            lines = [f"event: {name}\n" * bool(name) + f"data: {data}\n\n" for name, data in events(step)]
            self.reply("".join(lines).encode(), kind="text/event-stream")
        else:
            self.reply_json(whole(step))

    def step_for(self, request: Json, results: int) -> Step:
        if isinstance(self.script[0], Fail):
            return self.script[0]
        if not request.get("tools"):
            return Say(ASIDE)
        return self.script[results] if results < len(self.script) else Say("the script is over")

    def body(self) -> Json:
        length = self.headers.get("content-length")
        data = self.rfile.read(int(length)) if length else b"".join(self.chunks())
        try:
            return dict(json.loads(data))
        except ValueError:
            return {}

    def chunks(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def reply_json(self, value: Json, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), status)

    def reply(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
        """An agent that was killed meanwhile does not read it."""
        try:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True


def heard(text: str, request: Json) -> Say:
    return Say(f"heard: {text}" if json.dumps(text)[1:-1] in json.dumps(request) else f"not heard: {text}")


def error_for(status: int) -> Json:
    message = "this key is not one (scripted)"
    return {"type": "error", "error": {"type": "authentication_error", "message": message, "code": status}}


# --- OpenAI, chat completions ------------------------------------------------------------------------------------

COUNTS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def chat_results(request: Json) -> int:
    return sum(message.get("role") == "tool" for message in request.get("messages", []))


def chat_answer(step: Call | Say) -> Json:
    choice = {"index": 0, "message": chat_message(step), "finish_reason": chat_reason(step)}
    return {**chat_head("chat.completion"), "choices": [choice], "usage": COUNTS}


def chat_events(step: Call | Say) -> Iterator[tuple[str, str]]:
    head = chat_head("chat.completion.chunk")
    message = chat_message(step)
    for index, call in enumerate(message.get("tool_calls", [])):
        call["index"] = index
    for choices in ([{"index": 0, "delta": message}], [{"index": 0, "delta": {}, "finish_reason": chat_reason(step)}]):
        yield "", json.dumps({**head, "choices": choices})
    yield "", json.dumps({**head, "choices": [], "usage": COUNTS})
    yield "", "[DONE]"


def chat_head(kind: str) -> Json:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1, "model": "scripted"}


def chat_message(step: Call | Say) -> Json:
    if isinstance(step, Say):
        return {"role": "assistant", "content": step.text}
    function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id(step), "type": "function", "function": function}],
    }


def chat_reason(step: Call | Say) -> str:
    return "stop" if isinstance(step, Say) else "tool_calls"


def call_id(step: Call) -> str:
    """The same for the same call, another for another one."""
    return "call_" + format(abs(hash(json.dumps([step.tool, step.arguments]))), "x")


# --- OpenAI, responses -------------------------------------------------------------------------------------------


def response_results(request: Json) -> int:
    items = request["input"] if isinstance(request.get("input"), list) else []
    return sum(str(item.get("type")).endswith("call_output") for item in items)


def response_answer(step: Call | Say) -> Json:
    counts = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    return {
        "id": "resp_scripted",
        "object": "response",
        "status": "completed",
        "output": [response_item(step)],
        "usage": {**counts, "input_tokens_details": None, "output_tokens_details": None},
    }


def response_item(step: Call | Say) -> Json:
    if isinstance(step, Say):
        content = [{"type": "output_text", "text": step.text, "annotations": []}]
        return {"type": "message", "id": "msg_scripted", "role": "assistant", "content": content}
    arguments = json.dumps(step.arguments)
    return {"type": "function_call", "call_id": call_id(step), "name": step.tool, "arguments": arguments}


def response_events(step: Call | Say) -> Iterator[tuple[str, str]]:
    whole, item = response_answer(step), response_item(step)
    for event in (
        {"type": "response.created", "response": {"id": whole["id"]}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ):
        yield str(event["type"]), json.dumps(event)


# --- Anthropic, messages -----------------------------------------------------------------------------------------


def claude_results(request: Json) -> int:
    contents = [message["content"] for message in request.get("messages", []) if isinstance(message["content"], list)]
    return sum(block.get("type") == "tool_result" for content in contents for block in content)


def claude_message(step: Call | Say) -> Json:
    block: Json = {"type": "text", "text": step.text} if isinstance(step, Say) else claude_call(step)
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [block],
        "stop_reason": "end_turn" if isinstance(step, Say) else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def claude_call(step: Call) -> Json:
    return {"type": "tool_use", "id": "toolu_" + call_id(step), "name": step.tool, "input": step.arguments}


def claude_events(step: Call | Say) -> Iterator[tuple[str, str]]:
    message = claude_message(step)
    (block,) = message["content"]
    if isinstance(step, Say):
        empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": step.text}
    else:
        empty = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(step.arguments)}
    reason = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    for event in (
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ):
        yield str(event["type"]), json.dumps(event)


# --- Gemini ------------------------------------------------------------------------------------------------------


def gemini_results(request: Json) -> int:
    return sum(
        "functionResponse" in part for content in request.get("contents", []) for part in content.get("parts", [])
    )


def gemini_answer(step: Call | Say) -> Json:
    part: Json = {"text": step.text} if isinstance(step, Say) else {"functionCall": gemini_call(step)}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "scripted"}


def gemini_call(step: Call) -> Json:
    return {"name": step.tool, "args": step.arguments}


def gemini_events(step: Call | Say) -> Iterator[tuple[str, str]]:
    yield "", json.dumps(gemini_answer(step))
