"""Markdown tables of the wire types, methods, errors and limits; what `generate.py` puts between its marks."""

import ast
import inspect
import json
from collections.abc import Iterable
from typing import Any, get_args

from omkd.protocol import limits, records
from omkd.protocol.errors import ErrorKind
from omkd.protocol.events import BusEvent, GoalEvent, OwnEvent, PublishedEvent, Unit, WorkerFileEvent
from omkd.protocol.openrpc import openrpc_document
from omkd.protocol.schema import Schema, Schemas
from omkd.protocol.wire_forms import TAGGED_CLASSES, tag_of, wire_fields

WORDS = {"uint32": "u32", "int32": "i32", "uint64": "u64", "float": "f32", "date-time": "time"}


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), ["---"] * len(list(header)), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    return f"`{text}`"


# --- types -------------------------------------------------------------------------------------------------------


def words_for(schema: Schema) -> str:
    """A schema as a reader says it: `u32 or null`, `list of Task`."""
    match schema:
        case {"$ref": reference}:
            return link(reference.rpartition("/")[2])
        case {"oneOf": [present, {"type": "null"}]}:
            return f"{words_for(present)} or null"
        case {"type": [kind, "null"]}:
            return f"{words_for({**schema, 'type': kind})} or null"
        case {"const": value}:
            return code(json.dumps(value))
        case {"format": name}:
            return WORDS[name]
        case {"type": "array"}:
            return f"list of {words_for(schema['items'])}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {words_for(values)}"
        case {"type": kind}:
            return str(kind)
        case _:
            return "any JSON"


def link(name: str) -> str:
    return f"[{name}](protocol.md#{name.lower()})"


def fields_table(properties: dict[str, Schema], required: Iterable[str]) -> str:
    """Field, type, whether it may be missing, what it says; the last column only where there is something in it."""
    rows = [
        [code(name), words_for(schema), may_be_missing(name, schema, required), schema.get("description", "")]
        for name, schema in properties.items()
    ]
    told = any(row[3] for row in rows)
    return table(["field", "type", "default", "says"][: 4 if told else 3], (row[: 4 if told else 3] for row in rows))


def may_be_missing(name: str, schema: Schema, required: Iterable[str]) -> str:
    return "required" if name in required else code(json.dumps(schema.get("default")))


def object_section(title: str, schema: Schema) -> str:
    parts = [f"#### {title}", schema.get("description", "")]
    if "enum" in schema:
        parts.append("One of " + ", ".join(code(json.dumps(value)) for value in schema["enum"]) + ".")
    if "oneOf" in schema:
        parts.append("One of:\n\n" + "\n".join(f"* {variant_words(variant)}" for variant in schema["oneOf"]))
    if schema.get("properties"):
        parts.append(fields_table(schema["properties"], schema.get("required", [])))
    return "\n\n".join(part for part in parts if part)


def variant_words(variant: Schema) -> str:
    """A union's member on one line: `{"worker": string}`; what has a section of its own is told there."""
    if "const" in variant:
        form = code(json.dumps(variant["const"]))
    else:
        inner = ", ".join(f"{code(json.dumps(name))}: {words_for(it)}" for name, it in variant["properties"].items())
        form = f"{{ {inner} }}"
    says = variant.get("description", "").partition(" Wire:")[0].rstrip(".")
    return f"{form}: {says}" if says and "](" not in form else form


def class_section(cls: type) -> str:
    """A class's own section; what it is called on the wire, if that is another name."""
    properties, wire = Schemas().properties_of(cls), json.dumps(tag_of(cls))
    schema = {"description": first_paragraph(cls), "required": [at.key for at in wire_fields(cls) if at.required]}
    if cls not in TAGGED_CLASSES:
        schema |= {"properties": properties}
    elif list(properties) == ["value"]:
        schema["description"] += f" `{{{wire}: …}}` with a value that is {words_for(properties['value'])}."
    elif not properties:
        schema["description"] += f" `{wire}`, without fields."
    else:
        schema |= {"properties": properties}
        if tag_of(cls) != cls.__name__:
            schema["description"] += f" `{{{wire}: {{…}}}}` with these fields:"
    schema["description"] = schema["description"].strip()
    return object_section(cls.__name__, schema)


def first_paragraph(cls: type) -> str:
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    return " ".join(text.partition("\n\n")[0].split())


def sections(classes: Iterable[type]) -> str:
    return "\n\n".join(class_section(cls) for cls in classes)


# --- what stands between the marks -------------------------------------------------------------------------------


def own_events() -> str:
    return sections(get_args(OwnEvent))


def seeds_events() -> str:
    return sections(get_args(BusEvent))


def goal_events() -> str:
    return sections(get_args(GoalEvent))


def unit() -> str:
    return sections([Unit])


def methods() -> str:
    return "\n\n".join(method_section(method) for method in openrpc_document()["methods"])


def method_section(method: dict[str, Any]) -> str:
    parts = [f"#### {method['name']}", sentence(method["summary"])]
    if method["params"]:
        properties = {at["name"]: {**at["schema"], "description": at.get("description", "")} for at in method["params"]}
        parts.append(fields_table(properties, [at["name"] for at in method["params"] if at["required"]]))
    else:
        parts.append("No params.")
    parts.append(f"Result: {result_words(method)}." + errors_words(method) + notifications_words(method))
    return "\n\n".join(parts)


def result_words(method: dict[str, Any]) -> str:
    schema = method["result"]["schema"]
    if schema.get("$ref", "").startswith("https:"):
        return "an OpenRPC document"
    return "`{}`" if schema == {"type": "object"} else words_for(schema)


def errors_words(method: dict[str, Any]) -> str:
    names = [code(at["$ref"].rpartition("/")[2]) for at in method.get("errors", [])]
    return f" Errors: {', '.join(names)}." if names else ""


def notifications_words(method: dict[str, Any]) -> str:
    names = [code(name) for name in method.get("x-notifications", [])]
    return f" Then notifications: {', '.join(names)}." if names else ""


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def notifications() -> str:
    parts = []
    for note in openrpc_document()["x-notifications"]:
        properties = {at["name"]: {**at["schema"], "description": at.get("description", "")} for at in note["params"]}
        table_of = fields_table(properties, [at["name"] for at in note["params"] if at["required"]])
        parts.append(
            "\n\n".join(part for part in [f"#### `{note['name']}`", note.get("description"), table_of] if part)
        )
    return "\n\n".join(parts)


def types() -> str:
    """Every named type, but those that have a section of their own."""
    events = {cls.__name__ for cls in (*get_args(OwnEvent), *get_args(BusEvent), *get_args(GoalEvent))}
    components = openrpc_document()["components"]["schemas"]
    return "\n\n".join(
        object_section(name, schema) for name, schema in components.items() if name not in events | {"Unit"}
    )


def errors() -> str:
    rows = [[str(kind.code), code(kind.wire_name), str(kind.exit_status), kind.value[2]] for kind in ErrorKind]
    return table(["code", "name", "exit status of omkctl", "meaning"], rows)


def limit_rows() -> Iterable[list[str]]:
    """Each constant of `limits.py`, with the text below it."""
    body = ast.parse(inspect.getsource(limits)).body
    for at, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(at, ast.Assign) and isinstance(at.targets[0], ast.Name):
            name = at.targets[0].id
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = " ".join(inspect.cleandoc(after.value.value).split()) if is_text else ""
            yield [code(name), size_words(name, getattr(limits, name)), text]


def size_words(name: str, value: int) -> str:
    if not name.endswith("_BYTES"):
        return f"{value:,}" + (" s" if name.endswith("_SECS") else "")
    for unit_name, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if value % size == 0:
            return f"{value // size} {unit_name}"
    return f"{value:,} bytes"


def limits_table() -> str:
    return table(["limit", "value", "why"], limit_rows())


def worker_file_events() -> str:
    names = [link(cls.__name__) for cls in get_args(WorkerFileEvent)]
    return ", ".join(names) + "."


def published_events() -> str:
    return ", ".join(link(cls.__name__) for cls in get_args(PublishedEvent)) + "."


def control_lines() -> str:
    return sections(get_args(records.ControlLine))
