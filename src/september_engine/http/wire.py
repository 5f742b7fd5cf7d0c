"""wire: what comes in as bytes, what goes out as JSON.

Bytes are decoded strictly and in one place. No input gets past as something it is not, and none crashes a decoder:
malformed JSON, bad UTF-8, a name that is there twice and a million brackets are all the caller's 400.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import anyio
import anyio.to_thread
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope

from ..errors import (
    ConfigurationError,
    EngineClosed,
    EngineError,
    InvalidRequest,
    InvalidType,
    PayloadTooLarge,
    ShuttingDown,
)
from ..messages import JSON
from .logs import REQUEST_ID

__all__ = [
    "HEADERS",
    "ClientGone",
    "ErrorBody",
    "code_of",
    "decode_body",
    "error_response",
    "header_text",
    "json_response",
    "path_text",
    "query",
    "read_body",
    "route_path",
    "whole_number",
]

T = TypeVar("T", bound=msgspec.Struct)

logger = logging.getLogger(__name__)

SLOWEST = 64 * 1024
"""Bytes a second that a body must come with once its first seconds are over."""

LARGE = 64 * 1024
"""Bodies above this are decoded in a thread, so that one caller's megabytes hold nobody up."""

BOM = b"\xef\xbb\xbf"

HEADER_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every error outside a stream: a code for programs, a text for people, and facts where there are any."""

    error: str
    message: str
    details: dict[str, JSON] | None = None


class ClientGone(Exception):
    """The client left before its request was whole; there is nobody to answer."""


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def read_body(receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The whole body: at most `limit` bytes, within `seconds` plus one second for each 64 KiB that came.

    Raises `PayloadTooLarge`, `InvalidRequest` for a body that drips, `ClientGone`. Cancelling stops the reading.
    """
    parts: list[bytes] = []
    size, began = 0, anyio.current_time()
    with anyio.CancelScope(deadline=began + seconds) as patience:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise PayloadTooLarge(f"The body is larger than {limit} bytes.", limit=limit)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            patience.deadline = began + seconds + size / SLOWEST
    raise InvalidRequest("The body did not arrive in time. Send it faster, or in smaller requests.")


async def decode_body(body: bytes, kind: type[T]) -> T:
    """The body as this struct; unknown fields are ignored.

    Raises `InvalidRequest` for what is not JSON and for a required field that is missing or null, `InvalidType` for a
    wrong type. Cancelling is harmless.
    """
    if len(body) > LARGE:
        return await anyio.to_thread.run_sync(_decode, body, kind)
    return _decode(body, kind)


def _decode(body: bytes, kind: type[T]) -> T:
    body = body.removeprefix(BOM)  # which RFC 8259 lets a reader ignore
    try:
        try:
            decoded = msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            raise _refusal(body, kind, str(error)) from None
        _each_name_once(body)
    except (ValueError, RecursionError) as error:  # DecodeError and UnicodeDecodeError are ValueErrors
        reason = "a text in it holds half of a surrogate pair." if _has_half_pair(body) else _reason(error, body)
        raise InvalidRequest(f"The body is not JSON: {reason}") from None
    return decoded


def _refusal(body: bytes, kind: type[msgspec.Struct], problem: str) -> InvalidRequest:
    """Why valid JSON is not this struct. Raises `ValueError` where it is not JSON at all."""
    value = msgspec.json.decode(body)
    if not isinstance(value, dict):
        return InvalidType("The body must be a JSON object.")
    fields = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    if missing := [name for name in fields if value.get(name) is None]:
        return InvalidRequest(f"Required, and missing or null: {', '.join(missing)}.", missing=missing)
    return InvalidType(f"{problem}.")


def _each_name_once(body: bytes) -> None:
    """A name that is there twice means one thing to one parser and another to the next: refuse it."""
    _twice.decode(body.decode())


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same name twice")
    return value


_twice = json.JSONDecoder(object_pairs_hook=_object)


def _has_half_pair(body: bytes) -> bool:
    """What the decoder refuses with a text that says something else."""
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def _reason(error: Exception, body: bytes) -> str:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in body[:4]:
        return "it is in UTF-16 or UTF-32; send UTF-8."
    match error:
        case RecursionError():
            return "it is nested too deeply."
        case UnicodeDecodeError():
            return "it is not UTF-8."
        case _:
            return f"{str(error).rstrip('.')}."


def query(scope: Scope, *names: str) -> dict[str, str]:
    """These query parameters, as far as they are there; others are ignored. Raises `InvalidRequest`."""
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except ValueError:
        raise InvalidRequest("The query is not percent-encoded UTF-8.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest(f"The query has {name} more than once.")
        if name in names:
            found[name] = value
    return found


def whole_number(parameters: Mapping[str, str], name: str, *, default: int) -> int:
    """A number of 1 to 16 digits. Raises `InvalidRequest`."""
    text = parameters.get(name)
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,16}", text) is None:
        raise InvalidRequest(f"{name} must be a whole number of 1 to 16 digits.")
    return int(text)


def route_path(scope: Scope) -> str:
    """The path behind the mount point, still percent-encoded: so `%2F` in a task id is not a border.

    A server that does not hand on the path as it came (`raw_path`) gives `/` and `%2F` alike; then both are borders.
    """
    root: str = scope.get("root_path", "").rstrip("/")
    raw: bytes | None = _without_authority(scope.get("raw_path"))
    if raw is None:
        path: str = scope["path"]
        return quote(path.removeprefix(root) if path.startswith(f"{root}/") else path)
    segments = raw.partition(b"?")[0].decode("latin-1").split("/")
    for count in range(1, len(segments)):
        if unquote_to_bytes("/".join(segments[:count])) == root.encode():
            return "/" + "/".join(segments[count:])
    return "/".join(segments)


def _without_authority(raw: bytes | None) -> bytes | None:
    """A proxy may be sent the whole URL (RFC 9112, 3.2.2), and a server must take it too."""
    return None if raw is None else re.sub(rb"\Ahttps?://[^/?]*(?=/)", b"", raw, flags=re.IGNORECASE)


def path_text(segment: str) -> str:
    """One segment of `route_path` as the text it stands for. Raises `InvalidRequest`."""
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not percent-encoded UTF-8.") from None


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(value: object, *, status: int = 200) -> Response:
    """An answer that is one JSON value."""
    return Response(msgspec.json.encode(value), status_code=status, headers=HEADERS, media_type="application/json")


def error_response(error: EngineError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The flat JSON of an error, with its status. A fault of ours is logged, and says under which id."""
    details = dict(error.details)
    if error.status == 500:
        logger.error("A request failed.", exc_info=error)
        details["id"] = REQUEST_ID.get()
    body = ErrorBody(error=code_of(error), message=error.message, details=details or None)
    response = json_response(body, status=error.status)
    response.headers.update(headers or {})
    return response


def code_of(error: EngineError) -> str:
    """The contract's code: an engine that is closed and one that is closing are the same to a client."""
    if isinstance(error, ConfigurationError):  # not the client's to mend; the log has it
        return EngineError.code
    return ShuttingDown.code if error.code == EngineClosed.code else error.code


def header_text(text: str) -> str:
    """Any text as a header's value: visible ASCII as it is, the rest and `%` percent-encoded."""
    return quote(text, safe=HEADER_SAFE)
