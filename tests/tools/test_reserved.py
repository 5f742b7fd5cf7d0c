from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from september_engine.errors import ConfigurationError
from september_engine.tools._beneath import Place
from september_engine.tools._reserved import Reserved
from september_engine.tools._roots import Roots
from september_engine.tools.find_files import find_files_tool
from september_engine.tools.grep import grep_tool
from september_engine.tools.workspace import Workspace

from ..programs import unicode_names
from .conftest import calling, refused


@pytest.fixture
def tree(root: Path) -> Path:
    (root / "data").mkdir()
    for name in ("data/brain.sqlite", "data/brain.sqlite-wal", "data/notes.txt", ".env"):
        (root / name).write_text("secret\n")
    (root / "data/notes.txt").write_text("notes\n")
    return root


def reason(workspace: Workspace, path: str) -> str | None:
    """Why it cannot be read, or None."""
    try:
        with workspace.reading(path):
            return None
    except Exception as error:
        return getattr(error, "reason", repr(error))


def test_what_is_hidden_is_out_of_reach_from_then_on(way: str, tree: Path) -> None:
    workspace = Workspace(tree)
    assert reason(workspace, "data/brain.sqlite") is None
    workspace.hide([str(tree / "data/brain.sqlite"), tree / "data/brain.sqlite-wal", tree / ".env", tree / "later"])
    for path in ("data/brain.sqlite", f"{tree}/data/brain.sqlite-wal", ".env", "later", "later/x", "DATA/Brain.SQLite"):
        assert reason(workspace, path) == "protected"
        assert refused(partial(workspace.write, path, b"", replace=True)).reason == "protected"
        assert refused(partial(workspace.edit, path, bytes.upper, most=100)).reason == "protected"
    assert calling(grep_tool(workspace))(pattern=".") == "data/notes.txt:1:notes"
    assert calling(find_files_tool(workspace))(pattern="*") == "data/notes.txt"
    assert "sqlite" not in refused(lambda: list(workspace.walk("data/brain.sqlit"))).message
    assert not (tree / "later").exists()


def test_hiding_only_ever_adds(tree: Path) -> None:
    workspace = Workspace(tree, hidden=(".env",))
    workspace.hide([tree / "data/brain.sqlite"])
    workspace.hide([tree / "data/brain.sqlite-wal"])
    workspace.hide([])
    assert [reason(workspace, path) for path in (".env", "data/brain.sqlite", "data/brain.sqlite-wal")] == [
        "protected"
    ] * 3


def test_a_folder_is_hidden_with_all_that_is_in_it(way: str, tree: Path) -> None:
    workspace = Workspace(tree)
    workspace.hide([f"{tree}/data/"])
    assert reason(workspace, "data/notes.txt") == reason(workspace, "data") == "protected"
    assert [entry.shown for entry in workspace.walk(".")] == [".env"]
    workspace.hide([tree.parent])
    assert reason(workspace, ".env") == "protected"
    assert refused(lambda: list(workspace.walk("."))).reason == "protected"


def test_it_is_hidden_by_whatever_name_it_is_given(way: str, tree: Path) -> None:
    alias = tree.parent / "alias"
    alias.symlink_to(tree)
    (tree / "to_data").symlink_to("data")
    (tree / "current").symlink_to("data/brain.sqlite")
    for given in (
        f"{alias}/data/brain.sqlite",
        f"{tree}/data/../data//brain.sqlite",
        f"{tree}/nowhere/../data/brain.sqlite",
        f"{alias}/to_data/../data/brain.sqlite",
        f"{tree}/to_data/brain.sqlite",
        f"{tree}/current",
    ):
        for root in (tree, alias):
            workspace = Workspace(root)
            workspace.hide([given])
            for path in ("data/brain.sqlite", "to_data/brain.sqlite", "current", f"{root}/data/brain.sqlite"):
                assert reason(workspace, path) == "protected"
            assert reason(workspace, "data/notes.txt") is None


def test_up_from_a_link_is_up_from_where_it_leads(tree: Path) -> None:
    (tree / "data/deep").mkdir()
    (tree / "link").symlink_to("data/deep")
    workspace = Workspace(tree)
    workspace.hide([f"{tree}/link/../notes.txt"])
    assert reason(workspace, "data/notes.txt") == "protected"
    workspace.hide([f"{tree}/link/.."])
    assert reason(workspace, "data/brain.sqlite") == "protected"
    assert reason(workspace, ".env") is None


def test_a_link_is_hidden_as_well_as_what_it_leads_to(tree: Path) -> None:
    (tree / "link").symlink_to("data/brain.sqlite")
    workspace = Workspace(tree)
    workspace.hide([tree / "link"])
    (tree / "link").unlink()
    (tree / "link").write_text("another\n")
    assert reason(workspace, "link") == reason(workspace, "data/brain.sqlite") == "protected"


def test_it_is_hidden_in_every_root(way: str, tree: Path) -> None:
    first = tree.parent / "first"
    first.mkdir()
    (first / "link").symlink_to(tree / "data")
    workspace = Workspace(first, also=(tree, tree / "data"))
    workspace.hide([tree / "data/brain.sqlite"])
    for path in ("link/brain.sqlite", f"{tree}/data/brain.sqlite", f"{first}/link/brain.sqlite"):
        assert reason(workspace, path) == "protected"
    assert reason(workspace, "link/notes.txt") is None


def test_what_is_outside_changes_nothing(tree: Path) -> None:
    workspace = Workspace(tree)
    workspace.hide(["/etc/passwd", f"{tree}x/.env", tree.parent / "outside/secret.txt"])
    assert reason(workspace, ".env") is None


@pytest.mark.parametrize("path", ["data/brain.sqlite", "", ":memory:", "/a\0b"])
def test_only_absolute_paths_are_taken_and_then_all(tree: Path, path: str) -> None:
    workspace = Workspace(tree)
    with pytest.raises(ConfigurationError, match="takes absolute paths"):
        workspace.hide([str(tree / ".env"), path])
    assert reason(workspace, ".env") is None


def test_threads_may_hide_at_once(tree: Path) -> None:
    workspace = Workspace(tree)
    names = [[f"{thread}-{number}" for number in range(100)] for thread in range(8)]
    together = threading.Barrier(8)

    def hide(mine: list[str]) -> None:
        together.wait()
        for name in mine:
            workspace.hide([tree / name])

    threads = [threading.Thread(target=hide, args=(mine,)) for mine in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reason(workspace, name) for mine in names for name in mine} == {"protected"}


def test_what_is_hidden_during_a_walk_is_not_shown_any_more(tree: Path) -> None:
    workspace = Workspace(tree)
    seen = []
    for entry in workspace.walk("."):
        seen.append(entry.shown)
        workspace.hide([tree / "data/brain.sqlite"])
    assert seen == [".env", "data", "data/brain.sqlite-wal", "data/notes.txt"]


@unicode_names
def test_names_are_taken_as_the_most_forgiving_file_system_would(tree: Path) -> None:
    roots = Roots([tree, tree / "data"])
    reserved = Reserved(roots, protected=("/İx", "Straße"), hidden=("[A-Z]1",))
    reserved.hide([tree / "Ｄata/Straße"])
    top = str(tree)
    assert reserved.hides(Place(top, ("data", "STRASSE")))
    assert reserved.hides(Place(top, ("a1",)))
    assert not reserved.hides(Place(top, ("data", "Stra")))
    assert reserved.protects(Place(top, ("DATA", "İx")))  # from the inner root, under another spelling
    assert reserved.protects(Place(top, ("straße", os.fsdecode(b"\xff"))))
