"""What stands before the messages is the same in every process: hash seeds, time zones, locales, working folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import september_engine

PROGRAM = '''
import asyncio, dataclasses, datetime, enum, json, uuid
from typing import Any, Literal, TypedDict, Union
import attrs, msgspec, pydantic
from september_engine import Engine, Settings, builtin_tools, tool
from september_engine._output import Output
from september_engine.models.scripted import ScriptedModel, say

NAMES = {"amber", "teal", "ivory", "plum", "rust", "sand"}
CHOICE = Literal[tuple(NAMES)]

class Struct(msgspec.Struct, frozen=True):
    tags: frozenset[str] = frozenset(NAMES)

@dataclasses.dataclass(frozen=True)
class Data:
    tags: frozenset[str] = frozenset(NAMES)
    struct: Struct = Struct()

@attrs.frozen
class Attrs:
    tags: frozenset[str] = frozenset(NAMES)

class Model(pydantic.BaseModel):
    tags: set[str] = NAMES
    inner: dict[str, set[str]] = {"a": NAMES}
    sets: list[set[str]] = [NAMES]
    choice: CHOICE = "amber"
    made: datetime.datetime = datetime.datetime.now()
    id: uuid.UUID = uuid.uuid4()

class Typed(TypedDict, total=False):
    a: set[int]
    b: str
    c: CHOICE

ANY = Union[tuple({int, str, bool, float, list[int], Data, Attrs, datetime.date, type(None)})]

@tool
def paint(
    plain: set[str] = NAMES, frozen: frozenset[str] = frozenset(NAMES), nested: list[set[str]] = [NAMES],
    keyed: dict[str, set[str]] = {"b": NAMES, "a": NAMES}, choice: CHOICE = "amber", any: ANY = 1, data: Data = Data(),
    struct: Struct = Struct(), made: Attrs = Attrs(), model: Model = Model(), maybe: Model | None = None,
    typed: Typed = {}, mixed: set[Any] = {1, "a", 2.5, None}, odd: Any = object(), number: float = 1e22,
    now: datetime.datetime = datetime.datetime.now(), today: Any = [datetime.date.today()],
    id: uuid.UUID = uuid.uuid4(),
    deep: dict[str, Any] = {"d": {"e": NAMES}}, keys: dict[CHOICE, int] = {},
) -> str:
    """Paint."""
    return ""

def named(name):
    def nothing() -> str:
        """Nothing."""
        return ""
    return tool(nothing, name=name)

async def main():
    model = ScriptedModel([say("Hi.")])
    tools = {paint, *map(named, NAMES), *builtin_tools("FOLDER", sandbox="off")}
    notes = {"city": str, "paint": Data, "when": datetime.datetime, "choice": CHOICE, "model": Model}
    async with Engine(":memory:", model=model, settings=Settings(), tools=tools, notes=notes, memory=True) as engine:
        await engine.execute("Hello", task_id="t")
    prompt = model.requests[0].prompt
    print(prompt.system)
    print(json.dumps(prompt.tools))
    print(json.dumps([Output(kind).schema for kind in (Data, Attrs, Struct, CHOICE, ANY, Typed)]))

asyncio.run(main())
'''


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.replace("FOLDER", str(folder)))
    return path


def test_one_program_gives_the_same_bytes_in_every_process(program: Path, tmp_path: Path) -> None:
    source = str(Path(september_engine.__file__).parents[1])
    settings = [
        {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONOPTIMIZE": "1"},
        {"PYTHONHASHSEED": "4242", "TZ": "America/New_York", "LC_ALL": "POSIX", "HOME": str(tmp_path)},
    ]
    running = [
        subprocess.Popen(
            [sys.executable, str(program)],
            env={**os.environ, **setting, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8"},
            cwd=tmp_path if number else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number, setting in enumerate(settings)
    ]
    outputs = [(process, *process.communicate(timeout=120)) for process in running]
    assert [errors.decode() for process, _, errors in outputs if process.returncode] == []
    (first, *others) = [printed for _, printed, _ in outputs]
    assert b'"amber", "ivory", "plum", "rust", "sand", "teal"' in first
    assert [printed == first for printed in others] == [True, True]
