from __future__ import annotations

import pytest

from september_engine import Limits
from september_engine._runtime.listing import detail_of, facts_at, facts_now, last_of, task_of
from september_engine.errors import MessageNotFound, TaskNotFound
from september_engine.events import timestamp
from september_engine.messages import Branch, Message
from september_engine.models.scripted import ScriptedModel, say
from september_engine.store.base import TaskRow, TurnRow
from tests.engines import Bench


def row(**changes: object) -> TaskRow:
    values: dict[str, object] = {
        "task_id": "t",
        "epoch": 3,
        "last_ts": 9,
        "last_seq": 9,
        "created_at": 1,
        "updated_at": 2,
    }
    return TaskRow(**{**values, "created_at": 1, "updated_at": 2, **changes})  # type: ignore[arg-type]


def line(turn_id: str, parent: str | None = None) -> TurnRow:
    return TurnRow(turn_id=turn_id, parent=parent, message_id=f"msg {turn_id}", started_at=ord(turn_id[0]))


@pytest.mark.parametrize(
    ("changes", "status", "turn_id"),
    [
        ({"head": "a"}, "idle", None),
        ({"head": "a", "open_turn": "b"}, "running", "b"),
        ({"head": "a", "open_turn": "b", "waiting_since": 0}, "waiting", "b"),
    ],
)
def test_a_task_says_what_it_is_doing(changes: dict[str, object], status: str, turn_id: str | None) -> None:
    listed = task_of(row(**changes))
    assert (listed.status, listed.turn_id) == (status, turn_id)
    assert (listed.created_at, listed.updated_at) == ("1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.002Z")
    detail = detail_of(row(**changes), [line("a"), line("b", "a")])
    assert (detail.status, detail.turn_id) == (status, turn_id)


def test_a_task_says_what_it_has_spent() -> None:
    detail = detail_of(row(head="a", spent_tokens=7, spent_usd=None), [line("a")])
    assert (detail.tokens, detail.cost_usd) == (7, None)


def branches(turns: list[TurnRow], **changes: object) -> list[tuple[str, bool]]:
    return [(branch.turn_id, branch.current) for branch in detail_of(row(**changes), turns).branches]


def test_a_straight_thread_is_one_branch() -> None:
    assert branches([line("a"), line("b", "a"), line("c", "b")], head="c") == [("c", True)]
    [branch] = detail_of(row(head="a"), [line("a")]).branches
    assert branch == Branch(turn_id="a", message_id="msg a", created_at=timestamp(97), current=True)


def test_an_edit_leaves_the_old_branch_listed() -> None:
    turns = [line("a"), line("b", "a"), line("c", "b"), line("d", "a")]
    assert branches(turns, head="d") == [("c", False), ("d", True)]


def test_an_edit_of_the_first_message_is_a_branch_from_nothing() -> None:
    assert branches([line("a"), line("b")], head="b") == [("a", False), ("b", True)]


def test_a_thread_may_stand_in_the_middle_of_a_branch() -> None:
    """A turn that did not count leaves the thread where it stood."""
    assert branches([line("a"), line("b", "a")], head="a") == [("a", True), ("b", False)]


def test_the_open_turn_is_where_the_thread_stands() -> None:
    assert branches([line("a"), line("b", "a")], head="a", open_turn="b") == [("b", True)]


def test_a_page_of_messages_ends_before_the_one_that_is_named() -> None:
    messages = [
        Message(id=name, role="user", content=[], created_at="", turn_id="t", parent_id=None) for name in "abcd"
    ]
    assert [message.id for message in last_of(messages, before=None, limit=2)] == ["c", "d"]
    assert [message.id for message in last_of(messages, before="d", limit=2)] == ["b", "c"]
    assert last_of(messages, before="a", limit=2) == []
    with pytest.raises(MessageNotFound, match="'x'"):
        last_of(messages, before="x", limit=2)


async def test_plan_and_notes_of_a_long_thread_are_read_without_what_was_told_in_brief() -> None:
    model = ScriptedModel(lambda request: say("Yes, and on we go. " * 20), strict=False)
    bench = Bench()
    async with bench.running(model, limits=Limits(context_tokens=2_400, max_tokens=300)) as engine:
        await engine.notes.set("t", "city", "Rome")
        for _ in range(40):
            await engine.execute("Go on.", task_id="t")
        await engine.notes.set("t", "budget", 300)
        assert await engine.notes.get("t") == {"city": "Rome", "budget": 300}
        now, whole = await facts_now(bench.store, "t"), await facts_at(bench.store, "t")
        assert len(now) < len(whole) / 2
        with pytest.raises(TaskNotFound):
            await facts_now(bench.store, "u")
