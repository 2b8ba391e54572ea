import json
import subprocess
import sys
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator

from omkd.protocol import codec
from omkd.protocol.errors import ErrorKind
from omkd.protocol.events import By, ByWorker, Event, GoalGateTransition, Target, ToAny, ToWorker
from omkd.protocol.methods import METHODS, EventFilter
from omkd.protocol.openrpc import openrpc_document
from omkd.protocol.records import ApprovalPolicy, HandoutDone, Never, Pattern, WorkerSpec
from omkd.protocol.scalars import I32, U32, Json, Ns, WorkerName
from omkd.protocol.schema import Schemas, wire_default


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openrpc_document()


def method(document: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [it for it in document["methods"] if it["name"] == name]
    return found


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def test_every_method_is_there_with_its_params_and_errors(document: dict[str, Any]):
    assert [it["name"] for it in document["methods"]] == list(METHODS)
    for name, served in METHODS.items():
        told = method(document, name)
        assert told["paramStructure"] == "by-name"
        assert [it["name"] for it in told["params"]] == [at.name for at in attrs.fields(served.params)]
        assert [it["required"] for it in told["params"]] == [
            at.default is attrs.NOTHING for at in attrs.fields(served.params)
        ]
        assert len(told.get("errors", [])) == len(served.errors)


def test_a_param_says_type_default_and_meaning(document: dict[str, Any]):
    [after] = [it for it in method(document, "event.list")["params"] if it["name"] == "after"]
    assert after == {
        "name": "after",
        "description": "units above this",
        "required": False,
        "schema": {"type": "integer", "format": "uint64", "minimum": 0, "maximum": 2**64 - 1, "default": 0},
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]):
    for reference in references(document):
        if reference.startswith("#/components/"):
            _, _, kind, name = reference.split("/")
            assert document["components"][kind][name]
        else:
            assert reference.startswith("https://")


def test_errors_have_their_code_and_exit_status(document: dict[str, Any]):
    errors = document["components"]["errors"]
    assert errors["not_found"] == {
        "code": -32001,
        "message": ErrorKind.NOT_FOUND.value[2],
        "x-exit-status": 3,
    }
    assert len(errors) == len(ErrorKind)


def test_notifications_of_a_method_are_described(document: dict[str, Any]):
    described = {it["name"]: it for it in document["x-notifications"]}
    for told in document["methods"]:
        assert set(told.get("x-notifications", [])) <= set(described)
    assert [it["name"] for it in described["event"]["params"]] == ["subscription", "unit"]


def test_the_document_can_be_sent_and_is_the_same_in_every_process(document: dict[str, Any]):
    code = """import sys
from omkd.protocol import codec, openrpc
sys.stdout.buffer.write(codec.encode(openrpc.openrpc_document()))"""
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, timeout=60, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {codec.encode(document)}
    assert codec.parse(runs.pop()) == document


# --- schemas of types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire_type", "schema"),
    [
        (str, {"type": "string"}),
        (U32, {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}),
        (I32 | None, {"type": ["integer", "null"], "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}),
        (Ns, {"type": "string", "format": "date-time"}),
        (Json, {}),
        (list[bool], {"type": "array", "items": {"type": "boolean"}}),
        (dict[str, str], {"type": "object", "additionalProperties": {"type": "string"}}),
        (WorkerSpec, {"$ref": "#/components/schemas/WorkerSpec"}),
        (Target, {"$ref": "#/components/schemas/Target"}),
        (Target | None, {"oneOf": [{"$ref": "#/components/schemas/Target"}, {"type": "null"}]}),
    ],
    ids=str,
)
def test_a_type_has_its_schema(wire_type: Any, schema: dict[str, Any]):
    assert Schemas().schema_for(wire_type) == schema


def test_a_tagged_class_is_tagged_wherever_it_stands():
    schema = Schemas().schema_for(HandoutDone)
    assert schema["properties"] == {"done": {"$ref": "#/components/schemas/HandoutDone"}}
    assert schema["required"] == ["done"]


def test_a_field_has_its_name_on_the_wire():
    assert list(Schemas().properties_of(GoalGateTransition)) == ["gate", "from", "to"]


def fits(value: object, schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """With references to the document's own components."""
    return bool(validator(schema, components).is_valid(value))


def validator(schema: dict[str, Any], components: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": {"schemas": components}})


@pytest.mark.parametrize(
    ("value", "union"),
    [
        (ToWorker(value=WorkerName("coder")), Target),
        (ToAny(), Target),
        (Never(), ApprovalPolicy),
        (Pattern(patterns=["^ls"]), ApprovalPolicy),
        (ByWorker(worker=WorkerName("coder")), By),
    ],
    ids=repr,
)
def test_what_the_codec_writes_fits_exactly_one_member_of_its_union(value: object, union: Any):
    schemas = Schemas()
    schema = schemas.schema_for(union)
    assert fits(json.loads(codec.dumps(value)), schema, schemas.components)
    assert not fits({"other": 1}, schema, schemas.components)


def test_recorded_events_fit_exactly_one_member(request: pytest.FixtureRequest):
    schemas = Schemas()
    schema = schemas.schema_for(Event)
    lines = (request.config.rootpath / "tests/conformance/escalations.jsonl").read_text().splitlines()
    assert lines
    for line in lines:
        event = json.loads(line)["event"]
        assert fits(event, schema, schemas.components), event


def test_each_schema_is_one(document: dict[str, Any]):
    components = document["components"]["schemas"]
    for schema in components.values():
        Draft202012Validator.check_schema(schema)
    for told in document["methods"]:
        for it in [*told["params"], told["result"]]:
            Draft202012Validator.check_schema(it["schema"])


def test_defaults_are_written_as_on_the_wire():
    assert wire_default(Never()) == "never"
    assert wire_default(EventFilter()) == {"types": [], "workers": []}
    assert wire_default(attrs.Factory(list)) == []
