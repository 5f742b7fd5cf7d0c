"""Facts live longest: every one of a release must be read for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._turn.facts import (
    AssistantCut,
    AssistantReplied,
    Fact,
    ToolStarted,
    decode_fact,
    encode_fact,
    message_id_of,
)
from september_engine._turn.history import prompt_of
from september_engine._turn.limits import Limits
from september_engine._turn.state import fold
from september_engine._turn.transcript import transcript
from september_engine.events import timestamp
from september_engine.messages import Usage

from ..strategies import structs
from .build import NOW, Turn, start

KINDS: tuple[type[Any], ...] = get_args(Fact)
LOGS = sorted((Path(__file__).parent / "logs").glob("*.json"), key=lambda path: path.name)


@given(st.one_of(*[structs(kind) for kind in KINDS]))
def test_a_fact_comes_back_from_its_bytes_as_it_was(fact: Fact) -> None:
    assert decode_fact(encode_fact(fact)) == fact


def test_fields_of_a_later_release_are_ignored() -> None:
    body = b'{"type":"tool_started","at":5,"tool_call_id":"a","priority":1}'
    assert decode_fact(body) == ToolStarted(at=5, tool_call_id="a")


@pytest.mark.parametrize("body", [b'{"type":"tool_started","at":5}', b'{"type":"never","at":5}', b'{"at":5}', b"{"])
def test_a_body_that_no_release_wrote_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_fact(body)


def test_the_facts_that_are_messages_know_their_id() -> None:
    reply = AssistantReplied(
        at=NOW, message_id="m2", content=[], stop_reason="x", usage=Usage(), model="m", prefix="p", blocks=0
    )
    assert message_id_of(Turn(message_id="m1").facts[0]) == "m1"
    assert message_id_of(reply) == "m2"
    assert message_id_of(AssistantCut(at=NOW, message_id="m3", text="Hel")) == "m3"
    assert message_id_of(ToolStarted(at=NOW, tool_call_id="a")) is None


def test_the_limits_of_a_turn_are_stored_with_it() -> None:
    stored = json.loads(encode_fact(Turn().facts[0]))
    assert stored["limits"] == msgspec.to_builtins(Limits())
    assert start().limits == Limits()


class TestOldLogs:
    """A log of each release, with what it folded to then. A line that fails here is data of somebody that is lost.

    A file of a release is never edited once that release is out; a new fact or field goes into the next one's.
    """

    @pytest.fixture(params=LOGS, ids=lambda path: path.stem)
    def log(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        path: Path = request.param
        read: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return read

    @staticmethod
    def facts(log: dict[str, Any], turn: str) -> list[Fact]:
        return [decode_fact(json.dumps(fact).encode()) for fact in log["turns"][turn]["facts"]]

    def test_every_fact_is_read_with_nothing_lost(self, log: dict[str, Any]) -> None:
        for turn, recorded in log["turns"].items():
            for stored, fact in zip(recorded["facts"], self.facts(log, turn), strict=True):
                assert contains(builtins(fact), stored)

    def test_the_turns_fold_to_what_they_did_then(self, log: dict[str, Any]) -> None:
        for turn, recorded in log["turns"].items():
            assert contains(builtins(fold(self.facts(log, turn))), recorded["state"])

    def test_the_threads_read_and_go_on_as_they_did_then(self, log: dict[str, Any]) -> None:
        for thread in log["threads"]:
            facts = [fact for turn in thread["turns"] for fact in self.facts(log, turn)]
            # what is stored is unix ms as ever; what is read has been ISO 8601 since 0.2
            then = [{**message, "created_at": timestamp(message["created_at"])} for message in thread["transcript"]]
            assert contains(builtins(transcript(facts)), then)
            assert builtins(prompt_of(facts, prefix="prefix-b", model="big")) == thread["prompt"]

    def test_this_release_has_a_log_with_every_fact_and_every_field(self) -> None:
        seen: dict[str, set[str]] = {kind.__struct_config__.tag: set() for kind in KINDS}
        for path in LOGS:
            for turn in json.loads(path.read_text("utf-8"))["turns"].values():
                for fact in turn["facts"]:
                    seen[fact["type"]] |= fact.keys() - {"type"}
        assert seen == {kind.__struct_config__.tag: set(kind.__struct_fields__) for kind in KINDS}


def builtins(value: object) -> Any:
    return msgspec.to_builtins(value, order="sorted")


def contains(now: Any, then: Any) -> bool:
    """Whether all that was recorded is still there; a later release may only add fields."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and contains(now[key], then[key]) for key in then)
    if isinstance(then, list):
        return len(now) == len(then) and all(contains(*pair) for pair in zip(now, then, strict=True))
    return bool(now == then)
