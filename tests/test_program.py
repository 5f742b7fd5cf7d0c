"""`serve module:engine`: what a name may stand for, and what is said where it stands for nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from september_engine import Engine
from september_engine._program import load_engine
from september_engine.errors import ConfigurationError

PROGRAM = """
from september_engine import BlockingEngine, Engine

class shop:
    engine = Engine(":memory:")

engine = shop.engine

def make():
    return engine

async def late():
    return engine

def failing():
    raise KeyError("no stock")

def wants(one):
    return engine

number = 5
blocking = BlockingEngine.__new__(BlockingEngine)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    (tmp_path / "a_program.py").write_text(PROGRAM)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["a_program:engine", "a_program:make", "a_program:shop.engine"])
def test_a_name_gives_the_engine(name: str) -> None:
    assert isinstance(load_engine(name), Engine)


def test_a_module_in_a_package_is_found(folder: Path) -> None:
    (folder / "a_package").mkdir()
    (folder / "a_package" / "agent.py").write_text("from september_engine import Engine\nengine = Engine(':memory:')")
    assert isinstance(load_engine("a_package.agent:engine"), Engine)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a_program", "'a_program' does not name an engine. Write module:engine"),
        ("a_program:", "does not name an engine"),
        ("a-program.py:engine", "does not name an engine"),
        ("a_program.py:engine", "a_program.py is a file. Name the module: a_program:engine."),
        ("./shop/agent.py", "./shop/agent.py is a file. Name the module: shop.agent:engine."),
        ("nowhere:engine", "There is no module 'nowhere' in "),
        ("a_program.inner:engine", "There is no module 'a_program.inner' in "),
        ("a_program:other", "The module a_program has no 'other'. Its engines: engine."),
        ("a_program:number", "a_program:number is of type int, not an Engine. Its engines: engine."),
        ("a_program:shop", "a_program:shop is the class shop, not an Engine."),
        ("a_program:blocking", "is a BlockingEngine, which is for programs without an event loop, not an Engine."),
        ("a_program:late", "a_program:late is an async function. Make it a plain one"),
        ("a_program:wants", "a_program:wants takes arguments."),
        ("a_program:failing", "a_program:failing() failed.\n"),
        ("a_program:failing", "KeyError: 'no stock'"),
    ],
)
def test_what_names_no_engine_is_refused_in_words(name: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_engine(name)
    assert says in refused.value.message
    assert "importlib" not in refused.value.message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import not_installed_anywhere", "No module named 'not_installed_anywhere'"),
        ("def (", "SyntaxError: "),
        ("1 / 0", 'broken.py", line 1, in <module>'),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("from september_engine import Engine\nEngine(5)", "5 is not a store"),
    ],
)
def test_a_module_that_cannot_be_imported_shows_where_it_failed(folder: Path, source: str, says: str) -> None:
    (folder / "broken.py").write_text(source)
    with pytest.raises(ConfigurationError) as refused:
        load_engine("broken:engine")
    assert refused.value.message.startswith("The module broken cannot be imported.\n")
    assert says in refused.value.message
