from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.errors import ModelError
from september_engine.messages import JSON
from september_engine.models._claude_errors import (
    again,
    cut_stream,
    not_a_stream,
    presentable,
    refused,
    refuses_thinking,
    retry_after,
    stated_maximum,
    unreachable,
)

NOW = 1_700_000_000.0


def failure(
    status: int | None,
    kind: str = "invalid_request_error",
    message: str = "No.",
    *,
    headers: dict[str, str] | None = None,
    **fields: JSON,
) -> ModelError:
    return refused(status, {"type": kind, "message": message, **fields}, headers or {}, model="claude-x", now=NOW)


def meaning(error: ModelError) -> tuple[str, bool, bool]:
    return error.code, error.retryable, error.bad_history


@pytest.mark.parametrize(
    ("status", "code", "retryable", "bad_history"),
    [
        (400, "LLM_PROVIDER_ERROR", False, True),
        (401, "LLM_AUTH", False, False),
        (402, "LLM_PROVIDER_ERROR", False, False),
        (403, "LLM_AUTH", False, False),
        (404, "LLM_PROVIDER_ERROR", False, False),
        (405, "LLM_PROVIDER_ERROR", False, False),
        (408, "LLM_TIMEOUT", True, False),
        (409, "LLM_PROVIDER_ERROR", True, False),
        (413, "LLM_PROVIDER_ERROR", False, True),
        (418, "LLM_PROVIDER_ERROR", False, False),
        (422, "LLM_PROVIDER_ERROR", False, True),
        (429, "LLM_RATE_LIMITED", True, False),
        (500, "LLM_PROVIDER_ERROR", True, False),
        (502, "LLM_PROVIDER_ERROR", True, False),
        (503, "LLM_PROVIDER_ERROR", True, False),
        (504, "LLM_TIMEOUT", True, False),
        (529, "LLM_PROVIDER_ERROR", True, False),
        (302, "LLM_PROVIDER_ERROR", False, False),
    ],
)
def test_a_status_says_whose_fault_it_is(status: int, code: str, retryable: bool, bad_history: bool) -> None:
    error = failure(status)
    assert meaning(error) == (code, retryable, bad_history)
    assert f"HTTP {status}" in error.message
    assert error.message.endswith("No.")
    assert error.details["provider_status"] == status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("unheard_of_error", 500),
    ],
)
def test_an_error_within_a_stream_means_what_its_status_would(kind: str, status: int) -> None:
    assert meaning(failure(None, kind)) == meaning(failure(status, kind))
    assert failure(None, kind).details["provider_error"] == kind


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        "The request exceeds the model's context window.",
        "Input is too long for requested model.",
    ],
)
@pytest.mark.parametrize("status", [400, 413, None])
def test_a_conversation_that_is_too_long_is_told_apart(message: str, status: int | None) -> None:
    assert meaning(failure(status, message=message)) == ("CONTEXT_OVERFLOW", False, False)


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (
            400,
            "Your credit balance is too low to access the API. Please go to Plans & Billing to purchase credits.",
            None,
        ),
        (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01.", None),
        (400, "This organization has been disabled.", None),
        (400, "Your organization has run out of extra usage.", None),
        (400, "No.", "organization_on_hold"),
        (400, "No.", "linked_organization_spend_limit_reached"),
        (429, "No.", "enforced_spend_limit_reached"),
        (402, "No.", None),
    ],
)
def test_an_account_that_is_not_served_blames_neither_the_history_nor_the_moment(
    status: int, message: str, code: str | None
) -> None:
    error = failure(status, message=message, details={"error_code": code})
    assert meaning(error) == ("LLM_PROVIDER_ERROR", False, False)
    assert "account" in error.message
    assert error.details.get("provider_code") == code


@pytest.mark.parametrize("message", ["tools.0: billing_lookup is not valid", "thinking cannot be disabled here"])
def test_a_refusal_that_only_sounds_like_money_blames_the_request(message: str) -> None:
    assert "account" not in failure(400, message=message).message


@pytest.mark.parametrize(
    ("status", "message", "suspect"),
    [
        (400, "messages.1.content.0: Invalid `signature` in `thinking` block", "thinking"),
        (400, "messages.3.content.0.type: Expected `thinking`, but found `text`", "thinking"),
        (400, "messages.0.content.1.image.source.base64.data: image exceeds 5 MB maximum", "media"),
        (400, "messages.3.content.0.pdf.source.base64.data: The PDF specified was not valid.", "media"),
        (400, "Could not process image", "media"),
        (413, "Request exceeds the maximum size", "media"),
        (400, "messages.1.content.1.compaction.content: Field required", None),
        (400, "Something is wrong.", None),
    ],
)
def test_a_refused_history_is_blamed_with_what_was_named(status: int, message: str, suspect: str | None) -> None:
    error = failure(status, message=message)
    assert (error.bad_history, error.suspect) == (True, suspect)
    assert presentable(error, "a-secret").suspect == suspect


def test_the_paths_that_a_provider_names_count_like_its_words() -> None:
    paths: JSON = ["messages.0.content.1.image", 7]
    assert failure(400, message="thinking: No.", details={"paths": paths}).suspect == "media"
    assert not failure(400, message="thinking: No.", details={"paths": "messages"}).bad_history


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens: 256000 > 128000, which is the maximum allowed number of output tokens for claude-x",
        "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'",
        "tool_choice: some config",
        "system: text content blocks must be non-empty",
        "thinking.type: enabled is not supported by this model",
        "adaptive thinking is not supported on this model",
        "This model does not support the `display` field",
        "anthropic-version: header is required",
    ],
)
def test_another_parameter_of_the_request_does_not_blame_the_history(message: str) -> None:
    assert meaning(failure(400, message=message)) == ("LLM_PROVIDER_ERROR", False, False)


def test_the_maximum_that_a_provider_states_is_read() -> None:
    told = failure(400, message="max_tokens: 256000 > 128000, which is the maximum allowed number of output tokens")
    assert stated_maximum(told) == 128_000
    assert stated_maximum(failure(400, message="max_tokens: 256000 > 0")) is None
    assert stated_maximum(failure(400, message="max_tokens: must be positive")) is None
    assert stated_maximum(failure(500, message="max_tokens: 2 > 1")) is None


def test_that_a_model_takes_no_adaptive_thinking_is_told_from_thinking_in_its_history() -> None:
    assert refuses_thinking(failure(400, message="Adaptive thinking is not supported on this model"))
    assert not refuses_thinking(failure(400, message="messages.1: adaptive thinking must come first"))
    assert not refuses_thinking(failure(500, message="adaptive thinking is not supported on this model"))


def test_an_error_of_a_request_that_will_be_made_otherwise_is_tried_again_at_once() -> None:
    error = again(failure(400, headers={"request-id": "req_1"}))
    assert (*meaning(error), error.retry_after) == ("LLM_PROVIDER_ERROR", True, False, 0.0)
    assert error.details["request_id"] == "req_1"


def test_an_unknown_model_is_named_with_what_to_do() -> None:
    error = failure(404, "not_found_error", "model: claude-x")
    assert "'claude-x'" in error.message
    assert "LLM_MODEL" in error.message


def test_a_code_of_the_provider_s_that_is_no_money_matter_changes_nothing() -> None:
    error = failure(400, details={"error_code": "image_dimensions_too_large", "paths": ["messages.0.content.1"]})
    assert error.bad_history
    assert error.details["provider_code"] == "image_dimensions_too_large"


def test_the_request_s_id_is_in_the_details() -> None:
    assert failure(500, headers={"request-id": "req_1"}).details["request_id"] == "req_1"
    within = refused(None, {}, {}, model="m", now=NOW, request_id="req_2")
    assert within.details["request_id"] == "req_2"
    assert "request_id" not in refused(None, {}, {}, model="m", now=NOW, request_id=7).details
    assert cut_stream("so", request_id="req_3").details["request_id"] == "req_3"
    assert unreachable(OSError(), began=True, request_id="req_4").details["request_id"] == "req_4"


@pytest.mark.parametrize(
    "body",
    ["", "Bad Gateway", "<html><body>Bad Gateway</body></html>", None, [], 7, {}, {"type": 5, "message": {"a": 1}}],
)
def test_a_body_of_any_shape_is_an_error_like_any_other(body: Any) -> None:
    error = refused(502, body, {}, model="m", now=NOW)
    assert meaning(error) == ("LLM_PROVIDER_ERROR", True, False)
    assert "<" not in error.message


def test_what_the_provider_says_is_quoted_on_one_line_and_is_valid_unicode() -> None:
    error = failure(500, message="a\n\tb \ud83d")
    assert error.message.endswith("a b \ufffd")


@given(st.integers(0, 1000))
def test_a_secret_is_taken_out_wherever_it_stands_and_the_rest_is_bounded(place: int) -> None:
    secret = "sk-secret-0123456789"
    error = failure(429, message="x" * place + secret + "y" * 1000, headers={"retry-after": "3", "request-id": secret})
    shown = presentable(error, secret)
    assert secret[:6] not in shown.message
    assert len(shown.message) <= 801
    assert shown.details == {
        "provider_status": 429,
        "provider_error": "invalid_request_error",
        "request_id": "[key]",
        "retry_after": 3.0,
    }
    assert meaning(shown) == meaning(error)
    assert shown.retry_after == 3.0


def test_a_key_that_is_hardly_one_is_not_looked_for() -> None:
    assert presentable(failure(500, message="broken"), "k").message.endswith("broken")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_where_it_can_be(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
    error = failure(429, headers=headers)
    assert error.retry_after == seconds
    assert error.details.get("retry_after") == seconds
    assert failure(529, headers=headers).retry_after == seconds


def test_a_wait_is_not_asked_for_where_waiting_does_not_help() -> None:
    assert failure(401, headers={"retry-after": "7"}).retry_after is None


def test_a_provider_that_says_whether_to_try_again_is_believed() -> None:
    assert not failure(500, headers={"x-should-retry": "false"}).retryable
    assert failure(500, headers={"x-should-retry": "true"}).retryable
    assert failure(400, headers={"x-should-retry": "true", "retry-after": "2"}).retry_after == 2.0
    assert not failure(400, headers={"x-should-retry": "maybe"}).retryable


class LocalProtocolError(Exception):
    pass


def test_a_request_that_cannot_be_written_is_not_tried_again() -> None:
    assert not unreachable(LocalProtocolError("Illegal header name"), began=False).retryable
    assert unreachable(LocalProtocolError("in a wrong state"), began=True).retryable


class ReadTimeout(Exception):
    pass


@pytest.mark.parametrize("error", [TimeoutError(), ReadTimeout("slow")])
@pytest.mark.parametrize("began", [True, False])
def test_silence_is_a_timeout(error: Exception, began: bool) -> None:
    made = unreachable(error, began=began)
    assert meaning(made) == ("LLM_TIMEOUT", True, False)
    assert type(error).__name__ in made.message


def test_a_connection_that_fails_may_be_tried_again_and_says_when_it_failed() -> None:
    before, within = unreachable(OSError("refused"), began=False), unreachable(OSError(), began=True)
    assert meaning(before) == meaning(within) == ("LLM_PROVIDER_ERROR", True, False)
    assert "could not be reached (OSError: refused)" in before.message
    assert "broke off (OSError)" in within.message


def test_a_cut_stream_may_be_tried_again() -> None:
    assert meaning(cut_stream("it ended")) == ("LLM_PROVIDER_ERROR", True, False)
    assert "it ended" in cut_stream("it ended").message


def test_an_answer_that_is_no_stream_names_the_address_as_the_cause() -> None:
    error = not_a_stream("text/html")
    assert meaning(error) == ("LLM_PROVIDER_ERROR", False, False)
    assert "ANTHROPIC_BASE_URL" in error.message
