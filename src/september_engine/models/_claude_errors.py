"""What the provider's failures mean to the engine: from a status, an `error` object and headers to a `ModelError`.

Pure.

1. Whose fault it is decides: a moment (try again), the key or the account (do not), or the history (repair it).
2. A status and the `error.type` of an event in the middle of a stream say the same things and are mapped by one table.
3. A 400 blames the history unless something else is named: the account, the size of the prompt, or another parameter
   of the request, which no repair would help. One that names nothing may be about the history, and a thread must not
   stay stuck with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from .._context.causes import reason_of
from .._context.text import clean
from ..errors import ModelError
from ..messages import JSON

__all__ = [
    "again",
    "cut_stream",
    "not_a_stream",
    "presentable",
    "refused",
    "refuses_compaction",
    "refuses_thinking",
    "retry_after",
    "stated_maximum",
    "stated_window",
    "unreachable",
]

LONGEST = 800
"""Characters of an error's message, and of each of its details; most of them are the provider's own words."""

HIDDEN = "[key]"
SHORTEST_SECRET = 8
"""Characters; a shorter key is a test's, and stands in half of all words."""

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What an `error` event would have been as an answer; anything else counts as a 500."""

_TOO_LONG = re.compile(
    r"(prompt|input) is too long|exceeds? (the )?(model'?s? )?context|context (window|length)", re.IGNORECASE
)
_IN_HISTORY = re.compile(r"\bmessages\b")
_ELSEWHERE = re.compile(
    r"(max_tokens|tools|tool_choice|system|model|thinking|output_config|output_format|metadata|stream|temperature|top_[pk]"
    r"|stop_sequences|service_tier|betas?|cache_control|anthropic-[a-z-]+)\b[\w.]*:",
    re.IGNORECASE,
)
"""The parameter that a message begins with, as in `tools.0.custom.input_schema: …`."""

_MEDIA = re.compile(r"\b(images?|documents?|pdfs?|base64)\b", re.IGNORECASE)
_THINKING = re.compile(r"\b(thinking|signature)\b", re.IGNORECASE)
_NO_THINKING = re.compile(
    r"adaptive thinking|thinking\.(type|display|adaptive)|thinking: |`display`|does not support thinking",
    re.IGNORECASE,
)
_MAXIMUM = re.compile(r"max_tokens: \d+ > (\d+)")
_WINDOW = re.compile(r"(?:\d+ tokens > |maximum context length (?:is|of) )(\d+)")
"""The provider's words, and those of servers of others that speak its language."""

_NOT_SERVED = re.compile(
    r"credit balance|purchase credits|spend(ing)? limit|usage limit|out of (extra )?usage"
    r"|organization (has been|is) (disabled|on hold)",
    re.IGNORECASE,
)
_NOT_SERVED_CODES = re.compile(r"spend_limit|billing|on_hold")


class _Meaning(NamedTuple):
    text: str
    code: str = "LLM_PROVIDER_ERROR"
    retryable: bool = False
    bad_history: bool = False
    suspect: Literal["thinking", "media", "foreign"] | None = None


def refused(
    status: int | None, error: JSON, headers: Mapping[str, str], *, model: str, now: float, request_id: JSON = None
) -> ModelError:
    """The provider said no: by a status, or (`status` None) by an `error` event within a stream.

    `error` is the `error` object of the body where there is one, else whatever the body was. `now` is unix seconds,
    for a `retry-after` that is a date.
    """
    fields = error if isinstance(error, dict) else {}
    kind, said, code = fields.get("type"), _quote(fields.get("message", error)), _code(fields)
    status = status or _STATUSES.get(str(kind), 500)
    meaning = _meaning(status, said, code, model, _paths(fields))
    retryable = {"true": True, "false": False}.get(headers.get("x-should-retry", ""), meaning.retryable)
    request_id = headers.get("request-id") or request_id
    details: dict[str, JSON] = {"provider_status": status}
    for name, value in (("provider_error", kind), ("provider_code", code), ("request_id", request_id)):
        if isinstance(value, str) and value:
            details[name] = _quote(value)
    return ModelError(
        f"{meaning.text} {said}".strip(),
        code=meaning.code,
        retryable=retryable,
        retry_after=retry_after(headers, now) if retryable or meaning.retryable else None,
        bad_history=meaning.bad_history,
        suspect=meaning.suspect,
        **details,
    )


def _meaning(status: int, said: str, code: str, model: str, paths: str) -> _Meaning:
    """The table; the provider's own words come after it."""
    not_served = _NOT_SERVED_CODES.search(code) or (status == 400 and _NOT_SERVED.search(said))
    match status:
        case 402 | 400 | 429 if status == 402 or not_served:
            return _Meaning(
                f"The provider does not serve this account (HTTP {status}): see to its credit, billing and limits."
            )
        case 401 | 403:
            return _Meaning(
                f"The provider refused the API key (HTTP {status}). Check LLM_API_KEY or ANTHROPIC_API_KEY, and what "
                "the key may use.",
                "LLM_AUTH",
            )
        case 404:
            return _Meaning(
                f"The provider knows no model {model!r}, or there is no Messages API at this address (HTTP 404). Check "
                "LLM_MODEL and ANTHROPIC_BASE_URL."
            )
        case 400 if code.startswith("compaction_"):
            text = "The provider refused a summary of its own (HTTP 400)."
            return _Meaning(text, bad_history=True, suspect="foreign")
        case 400 | 413 if _TOO_LONG.search(said):
            return _Meaning(f"The conversation is too long for {model} (HTTP {status}).", "CONTEXT_OVERFLOW")
        case 400 | 413 | 422:
            return _refusal(status, said, f"{paths} {said}")
        case 429:
            return _Meaning("The provider's rate limit is reached (HTTP 429).", "LLM_RATE_LIMITED", retryable=True)
        case 408 | 504:
            return _Meaning(f"The provider took too long (HTTP {status}).", "LLM_TIMEOUT", retryable=True)
        case 529:
            return _Meaning("The provider is overloaded (HTTP 529).", retryable=True)
        case _ if status >= 500 or status == 409:
            return _Meaning(f"The provider failed (HTTP {status}).", retryable=True)
        case _:
            return _Meaning(f"The provider answered with HTTP {status}, which a model call does not expect.")


def _refusal(status: int, said: str, named: str) -> _Meaning:
    """A request that is refused as it stands: for its history, or for what else it asks."""
    text = f"The provider refused the request itself (HTTP {status})."
    in_history = _IN_HISTORY.search(named) is not None
    if not in_history and (_ELSEWHERE.match(said) or _NO_THINKING.search(said)):
        return _Meaning(text)
    if status == 413 or _MEDIA.search(named):
        return _Meaning(text, bad_history=True, suspect="media")
    return _Meaning(text, bad_history=True, suspect="thinking" if _THINKING.search(named) else None)


def stated_maximum(error: ModelError) -> int | None:
    """The most tokens of an answer, where that is what the provider refused a request for."""
    found = _MAXIMUM.search(error.message) if error.details.get("provider_status") == 400 else None
    return int(found[1]) if found is not None and int(found[1]) > 0 else None


def stated_window(error: ModelError) -> int | None:
    """The model's context window, where that is what the provider refused a request for."""
    found = _WINDOW.search(error.message) if error.code == "CONTEXT_OVERFLOW" else None
    return int(found[1]) if found is not None and int(found[1]) > 0 else None


def refuses_compaction(error: ModelError) -> bool:
    """Whether the provider took a request for a compaction for one that cannot be made at all."""
    known = str(error.details.get("provider_code", "")).startswith("compaction_")
    return error.details.get("provider_status") == 400 and error.code != "CONTEXT_OVERFLOW" and not known


def refuses_thinking(error: ModelError) -> bool:
    """Whether the provider refused the request for how it asks for thinking, and not for thinking in its history."""
    refused = error.details.get("provider_status") == 400 and not error.bad_history
    return refused and _NO_THINKING.search(error.message) is not None


def again(error: ModelError) -> ModelError:
    """The error of a request that will be made otherwise: at once, and with good hope."""
    details = {name: value for name, value in error.details.items() if name != "retry_after"}
    return ModelError(error.message, code=error.code, retryable=True, retry_after=0.0, **details)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (seconds or an HTTP date); None if unreadable."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    from email.utils import parsedate_to_datetime  # few wait until a date

    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def unreachable(error: BaseException, *, began: bool, request_id: str | None = None) -> ModelError:
    """The connection failed, before the answer or (`began`) within it, or its bytes made no sense."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    cause = reason_of(error)
    details: dict[str, JSON] = {"request_id": request_id} if request_id else {}
    if "LocalProtocolError" in kinds and not began:
        return ModelError(f"The request could not be made ({_quote(cause)}). Check ANTHROPIC_CUSTOM_HEADERS.")
    if any("Timeout" in kind for kind in kinds):
        when = "within its answer" if began else "before it answered"
        return ModelError(
            f"The provider sent nothing for too long, {when} ({_quote(cause)}).",
            code="LLM_TIMEOUT",
            retryable=True,
            **details,
        )
    what = "The provider's answer broke off" if began else "The provider could not be reached"
    return ModelError(f"{what} ({_quote(cause)}).", retryable=True, **details)


def cut_stream(why: str, *, request_id: str | None = None) -> ModelError:
    """The stream ended, or went wrong, before the message was whole."""
    details: dict[str, JSON] = {"request_id": request_id} if request_id else {}
    return ModelError(f"The provider's answer is not whole: {why}.", retryable=True, **details)


def not_a_stream(content_type: str) -> ModelError:
    """Something answered with success, but not with a stream of events: it is not the Messages API."""
    return ModelError(
        f"The answer is {_quote(content_type)!r} and not a stream of events, so it is not from the Messages API. Check "
        "ANTHROPIC_BASE_URL."
    )


def presentable(error: ModelError, secret: str) -> ModelError:
    """The error as it may be stored and shown: without the secret, whoever quoted it, and of bounded length."""

    def told(text: JSON) -> JSON:
        if not isinstance(text, str):
            return text
        # hidden before it is clipped: half of a secret would not be found
        shown = text.replace(secret, HIDDEN) if len(secret) >= SHORTEST_SECRET else text
        return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"

    return ModelError(
        told(error.message),
        code=error.code,
        retryable=error.retryable,
        retry_after=error.retry_after,
        bad_history=error.bad_history,
        suspect=error.suspect,
        **{name: told(value) for name, value in error.details.items() if name != "retry_after"},
    )


def _code(fields: Mapping[str, JSON]) -> str:
    details = fields.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return code if isinstance(code, str) else ""


def _paths(fields: Mapping[str, JSON]) -> str:
    """Where the provider says that the fault is."""
    details = fields.get("details")
    paths = details.get("paths") if isinstance(details, dict) else None
    return " ".join(path for path in paths if isinstance(path, str)) if isinstance(paths, list) else ""


def _quote(said: JSON) -> str:
    """The provider's words on one line; nothing where they are a page for a browser."""
    text = " ".join(clean(said).split()) if isinstance(said, str) else ""
    return "" if text.startswith("<") else text
