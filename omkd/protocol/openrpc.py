"""The OpenRPC 1.3 document of the control API (https://spec.open-rpc.org), from `METHODS` and nothing else.

`rpc.discover` answers it. What OpenRPC has no word for stands under `x-` keys: notifications, the exit status of
`omkctl` for an error. The same text for the same code.
"""

from typing import Any, Final

import attrs

from .errors import ErrorKind
from .methods import METHODS, Method
from .schema import Schema, Schemas, described, required_of
from .version import PROTOCOL_VERSION, __version__

OPENRPC_VERSION: Final = "1.3.2"
META_SCHEMA: Final = "https://raw.githubusercontent.com/open-rpc/meta-schema/master/schema.json"


def openrpc_document() -> dict[str, Any]:
    schemas = Schemas()
    methods = [method_object(name, method, schemas) for name, method in METHODS.items()]
    notifications = [
        {"name": name, **described(params), "params": params_of(params, schemas)}
        for name, params in notifications_by_name().items()
    ]
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "omkd",
            "version": __version__,
            "description": "The control API of omkd: newline-delimited JSON-RPC 2.0 over a Unix socket.",
            "x-protocol-version": PROTOCOL_VERSION,
        },
        "methods": methods,
        "x-notifications": notifications,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "errors": {kind.wire_name: error_object(kind) for kind in ErrorKind},
        },
    }


def notifications_by_name() -> dict[str, type]:
    """What the daemon sends unasked once a method has begun it, by name, in the order of the methods."""
    return {name: params for method in METHODS.values() for name, params in method.notifications.items()}


def method_object(name: str, method: Method, schemas: Schemas) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": name,
        "summary": method.says,
        "paramStructure": "by-name",
        "params": params_of(method.params, schemas),
        "result": result_of(method, schemas),
    }
    if method.errors:
        about["errors"] = [{"$ref": f"#/components/errors/{kind.wire_name}"} for kind in method.errors]
    if method.notifications:
        about["x-notifications"] = list(method.notifications)
    return about


def params_of(cls: type, schemas: Schemas) -> list[dict[str, Any]]:
    """Content descriptors; a description stands beside the schema, where OpenRPC has it."""
    required = required_of(cls)
    return [descriptor(name, schema, required=name in required) for name, schema in schemas.properties_of(cls).items()]


def descriptor(name: str, schema: Schema, *, required: bool) -> dict[str, Any]:
    bare = {key: value for key, value in schema.items() if key != "description"}
    beside = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, **beside, "required": required, "schema": bare}


def result_of(method: Method, schemas: Schemas) -> dict[str, Any]:
    if method.result is None:
        return {"name": "OpenRPC Schema", "schema": {"$ref": META_SCHEMA}}
    schema = schemas.schema_for(method.result) if attrs.fields(method.result) else {"type": "object"}
    return {"name": method.result.__name__, "schema": schema}


def error_object(kind: ErrorKind) -> dict[str, Any]:
    return {"code": kind.code, "message": kind.value[2], "x-exit-status": kind.exit_status}
