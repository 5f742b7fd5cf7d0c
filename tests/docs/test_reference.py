"""The reference says what the code says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import september_engine
from september_engine import events
from september_engine.http.execute import ExecuteBody
from september_engine.http.hitl import AnswerBody
from september_engine.http.openapi import document
from september_engine.settings import setting_fields

from .reference import API, FOLDER, render

PAGES = sorted(FOLDER.glob("*.md"))


def rows(page: str) -> Iterator[list[str]]:
    """The cells of every table row, but for heads."""
    for line in (FOLDER / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split(" |")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_made_from_the_code_is_fresh(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert render(text) == text, "stale: run `python -m tests.docs.reference`"


def test_a_stale_part_is_made_anew_and_the_rest_is_kept() -> None:
    page = "before\n<!-- generated: model_codes -->\n| `OLD` | 1 |\n<!-- end -->\nafter"
    fresh = render(page)
    assert "OLD" not in fresh
    assert "| `LLM_TIMEOUT` | 504 |" in fresh
    assert fresh.startswith("before\n")
    assert fresh.endswith("<!-- end -->\nafter")


def told(value: object) -> str:
    """A default as the table shows it."""
    match value:
        case None | ():
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def test_every_variable_is_there_with_its_keyword_its_default_and_what_it_must_be() -> None:
    written = {row[0]: row[1:4] for row in rows("configuration.md") if row[0] != "Variable"}
    known = {
        f"`{field.metadata['variable']}`": [f"`{field.name}`", told(field.default), field.metadata["must_be"]]
        for field in setting_fields()
    }
    assert written == known


def test_every_event_has_its_section() -> None:
    text = (FOLDER / "events.md").read_text(encoding="utf-8")
    names = [kind.__struct_config__.tag for kind in get_args(events.Event)]
    assert [line.removeprefix("### ").strip("`") for line in text.splitlines() if line.startswith("### ")] == names


def test_every_endpoint_is_there() -> None:
    written = {(row[0], row[1].strip("`")) for row in rows("http.md") if row[1].startswith("`/")}
    paths = document()["paths"]
    known = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert written == known


def test_every_field_of_a_request_is_there() -> None:
    written = [
        row[0].strip("`") for row in rows("http.md") if len(row) == 4 and row[1] in ("string", "array", "boolean")
    ]
    execute, answer = list(ExecuteBody.__struct_fields__), set(AnswerBody.__struct_fields__)
    assert written[: len(execute)] == execute
    assert set(written[len(execute) :]) == answer


def test_what_the_top_level_offers_is_in_the_reference() -> None:
    """Events and errors have pages of their own; the rest is on the one about Python."""
    shown = {name for entries in API.values() for _, names in entries for name in names}
    pages = (FOLDER / "errors.md").read_text("utf-8") + " ".join(kind.__name__ for kind in get_args(events.Event))
    assert [
        name for name in september_engine.__all__ if name not in shown and name not in pages and name != "Event"
    ] == []


def test_public_coroutines_say_what_cancelling_them_does() -> None:
    engine = [
        method
        for kind in (september_engine.Engine, september_engine.Turn)
        for name, method in vars(kind).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    ]
    reads_only = ("pending", "tasks", "task", "messages", "plan", "media", "delete", "health")
    silent = [method.__name__ for method in engine if "ancel" not in (method.__doc__ or "")]
    assert set(silent) <= set(reads_only)
