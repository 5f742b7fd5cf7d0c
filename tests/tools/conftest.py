"""Workspaces to try things in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from september_engine.tools import Tool, ToolError, _beneath
from september_engine.tools.workspace import Workspace

Call: TypeAlias = Callable[..., Any]


@pytest.fixture(params=["openat2", "by hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once with the kernel's help, where there is any, and once without."""
    if request.param == "by hand":
        monkeypatch.setattr(_beneath, "openat2", None)
    elif _beneath.openat2 is None:
        pytest.skip("this kernel has no openat2")
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace's folder; beside it is `outside`, with a secret."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("outside\n")
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return Workspace(root)


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of many writes: do not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def calling(tool: Tool[..., Any]) -> Call:
    """The tool as a model calls it: its input is decoded first."""

    def call(**input: Any) -> Any:
        return tool.function(**tool.decode(input))

    return call


def refused(call: Call, **input: Any) -> ToolError:
    """What the model is told when this fails."""
    with pytest.raises(ToolError) as caught:
        call(**input)
    return caught.value
