from __future__ import annotations

from pathlib import Path

import pytest

from september_engine import _machine
from september_engine.errors import ConfigurationError
from september_engine.tools import builtin


def refuse(*args: object, **options: object) -> None:
    raise ConfigurationError("Nothing works here. Install bubblewrap.")


def test_without_folders_there_are_no_tools() -> None:
    assert _machine.tools_in([]) == ([], None)


def test_without_a_sandbox_all_but_bash_is_there_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin, "choose_sandbox", refuse)
    tools, missing = _machine.tools_in([tmp_path])
    assert [tool.name for tool in tools] == [
        "read_file", "write_file", "edit_file", "grep", "find_files", "ask_user",
    ]  # fmt: skip
    assert missing == "Nothing works here. Install bubblewrap."


def test_a_folder_that_is_missing_is_no_reason_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        _machine.tools_in([tmp_path, tmp_path / "none"])


def test_an_embedder_is_used_where_its_weights_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "find_spec", lambda name: None)
    assert _machine.embedder_here() == (None, None)
    monkeypatch.setattr(_machine, "find_spec", lambda name: object())
    monkeypatch.setattr(_machine, "MiniLMEmbedder", refuse)
    assert _machine.embedder_here() == (None, "Nothing works here. Install bubblewrap.")
