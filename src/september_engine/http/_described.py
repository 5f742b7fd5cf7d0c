"""What the parts of the OpenAPI document are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..messages import JSON
from .wire import ErrorBody

__all__ = ["REF", "Object", "answer_of", "errors_of", "json_of", "list_of", "plain_of", "query_of"]

Object = dict[str, JSON]

REF = "#/components/schemas/{name}"

ERRORS: Mapping[str, str] = {
    "400": "INVALID_REQUEST: the request is malformed, or something required is missing, null or blank",
    "401": "INVALID_KEY, or KEY_ROTATION_PENDING: the key's time has not come",
    "403": "PERMISSION_DENIED: without a key, a web page or a host name that this server does not answer to",
    "404": (
        "TASK_NOT_FOUND, or MESSAGE_NOT_FOUND: no such message in this task; HITL_NOT_PENDING: nothing waits for an "
        "answer; INVALID_REQUEST: no such path, or no long-term memory"
    ),
    "409": (
        "TASK_BUSY: a turn runs, details.turn_id; HITL_REQUIRED: a person is awaited, details.request_id; "
        "HITL_ALREADY_ANSWERED: details.answer"
    ),
    "413": "PAYLOAD_TOO_LARGE: details.limit bytes at most",
    "422": "INVALID_REQUEST: a field has the wrong type",
    "500": "INTERNAL_ERROR: a fault of the engine; details.id is in its log",
    "503": "SHUTTING_DOWN, STORE_BUSY, STORE_FULL or MIGRATION_REQUIRED: try again later",
}

ALWAYS = ("400", "401", "403", "413", "500", "503")


def query_of(name: str, schema: Object, description: str) -> Object:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def json_of(kind: type[msgspec.Struct], example: object) -> Object:
    media = {"schema": {"$ref": REF.format(name=kind.__name__)}, "example": plain_of(example)}
    return {"application/json": media}


def answer_of(example: msgspec.Struct, description: str = "OK") -> Object:
    return {"description": description, "content": json_of(type(example), example)}


def errors_of(*statuses: str) -> Object:
    """Every error a route can answer with: those of all routes, and these."""
    return {
        status: {
            "description": ERRORS[status],
            "content": json_of(
                ErrorBody, ErrorBody(error=ERRORS[status].partition(":")[0].partition(",")[0], message="…")
            ),
        }
        for status in sorted((*ALWAYS, *statuses))
    }


def list_of(examples: list[msgspec.Struct], *kinds: type[msgspec.Struct]) -> Object:
    """A bare array of these."""
    items: list[JSON] = [{"$ref": REF.format(name=kind.__name__)} for kind in kinds]
    schema: Object = {"type": "array", "items": items[0] if len(items) == 1 else {"anyOf": items}}
    media: Object = {"schema": schema, "example": plain_of(examples)}
    return {"description": "OK", "content": {"application/json": media}}


def plain_of(example: object) -> Any:
    """As it is read back from the wire."""
    return msgspec.json.decode(msgspec.json.encode(example))
