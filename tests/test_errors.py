"""Codes and statuses against the contract's table."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from september_engine import errors
from september_engine.errors import (
    ConfigurationError,
    EngineError,
    InvalidRequest,
    InvalidType,
    ModelError,
    StoreBusy,
    StoreInUse,
    StoreMoved,
    TurnFailed,
)

CONTRACT = {
    "InvalidRequest": ("INVALID_REQUEST", 400),
    "InvalidType": ("INVALID_REQUEST", 422),
    "PayloadTooLarge": ("PAYLOAD_TOO_LARGE", 413),
    "TaskNotFound": ("TASK_NOT_FOUND", 404),
    "MessageNotFound": ("MESSAGE_NOT_FOUND", 404),
    "HitlNotPending": ("HITL_NOT_PENDING", 404),
    "TaskBusy": ("TASK_BUSY", 409),
    "HitlRequired": ("HITL_REQUIRED", 409),
    "HitlAlreadyAnswered": ("HITL_ALREADY_ANSWERED", 409),
    "Fenced": ("TASK_BUSY", 409),
    "EngineClosed": ("ENGINE_CLOSED", 503),
    "ShuttingDown": ("SHUTTING_DOWN", 503),
    "WrongLoop": ("INVALID_REQUEST", 400),
    "StoreBusy": ("STORE_BUSY", 503),
    "StoreInUse": ("STORE_BUSY", 503),
    "StoreMoved": ("STORE_BUSY", 503),
    "StoreFull": ("STORE_FULL", 503),
    "MigrationRequired": ("MIGRATION_REQUIRED", 503),
    "StoreCorrupt": ("INTERNAL_ERROR", 500),
    "ConfigurationError": ("CONFIGURATION_ERROR", 500),
    "MissingExtra": ("CONFIGURATION_ERROR", 500),
    "BrokenExtra": ("CONFIGURATION_ERROR", 500),
    "EngineError": ("INTERNAL_ERROR", 500),
}
MODEL = {
    "LLM_RATE_LIMITED": 429,
    "LLM_PROVIDER_ERROR": 502,
    "LLM_TIMEOUT": 504,
    "LLM_AUTH": 502,
    "CONTEXT_OVERFLOW": 422,
}


@pytest.mark.parametrize("name", CONTRACT)
def test_each_error_has_the_code_and_status_of_the_contract(name: str) -> None:
    error: EngineError = getattr(errors, name)("What happened.")
    assert (error.code, error.status) == CONTRACT[name]


def test_the_table_is_complete_and_everything_has_one_root() -> None:
    assert {*CONTRACT, "ModelError", "TurnFailed"} == set(errors.__all__)
    assert all(issubclass(getattr(errors, name), EngineError) for name in errors.__all__)
    assert {name for name in errors.__all__ if name in str(errors.__doc__)} == {*errors.__all__}


@pytest.mark.parametrize("code", MODEL)
def test_what_a_model_raises_has_the_status_of_its_code(code: str) -> None:
    error = ModelError("It broke.", code=code)
    assert (error.code, error.status) == (code, MODEL[code])
    assert dict(ModelError.STATUSES) == MODEL


def test_a_code_that_is_not_known_is_the_providers_doing() -> None:
    assert ModelError("It broke.", code="LLM_NEW").status == 502
    assert ModelError("It broke.").code == "LLM_PROVIDER_ERROR"


def test_a_model_error_says_what_may_be_done_about_it() -> None:
    usual = ModelError("It broke.")
    assert (usual.retryable, usual.retry_after, usual.bad_history) == (False, None, False)
    assert usual.details == {}
    limited = ModelError("Too fast.", code="LLM_RATE_LIMITED", retryable=True, retry_after=2.5, limit="tokens")
    assert (limited.retryable, limited.retry_after) == (True, 2.5)
    assert limited.details == {"limit": "tokens", "retry_after": 2.5}
    assert ModelError("No.", bad_history=True).bad_history


def test_facts_are_attributes_and_the_text_begins_with_the_code() -> None:
    error = errors.TaskBusy("A turn is running.", turn_id="turn_1")
    assert str(error) == "TASK_BUSY: A turn is running."
    assert (error.message, error.details) == ("A turn is running.", {"turn_id": "turn_1"})
    assert error.args == ("A turn is running.",)


def test_a_failed_turn_has_the_code_of_its_last_event() -> None:
    error = TurnFailed("It was cancelled.", code="CANCELLED", turn_id="turn_1", steps=3)
    assert (error.code, error.turn_id, error.details) == ("CANCELLED", "turn_1", {"steps": 3})
    assert str(error) == "CANCELLED: It was cancelled."


@pytest.mark.parametrize(
    ("code", "status"), {**MODEL, "STORE_FULL": 503, "CANCELLED": 500, "INTERNAL_ERROR": 500}.items()
)
def test_a_failed_turn_has_the_status_of_its_code(code: str, status: int) -> None:
    assert TurnFailed("It broke.", code=code, turn_id="turn_1").status == status


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_can_be_copied_and_raised_in_another_process(name: str, again: Callable[[Any], Any]) -> None:
    options = {"code": "LLM_TIMEOUT"} if name in ("ModelError", "TurnFailed") else {}
    if name == "TurnFailed":
        options["turn_id"] = "turn_1"
    error = getattr(errors, name)("What happened.", limit=3, **options)
    other = again(error)
    assert (type(other), other.args, vars(other)) == (type(error), error.args, vars(error))
    assert (str(other), other.status) == (str(error), error.status)


@pytest.mark.parametrize(
    ("narrow", "wide"), [(InvalidType, InvalidRequest), (StoreInUse, StoreBusy), (StoreMoved, StoreBusy)]
)
def test_who_catches_the_wide_error_catches_the_narrow_one(narrow: type[Any], wide: type[Any]) -> None:
    with pytest.raises(wide):
        raise narrow("x")


def test_an_error_of_the_configuration_is_no_request_error() -> None:
    assert not issubclass(ConfigurationError, InvalidRequest)
