"""The laws of the house, applied to it; and each of them applied to something that breaks it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import september_engine

from . import architecture as laws
from .architecture import Module

SOURCE = Path(september_engine.__file__).parent
TESTS = Path(__file__).parent
DESIGN = TESTS.parent / "docs" / "explanation" / "design.md"
MOST_EXPORTS = 30
HEAVY = ("anthropic", "starlette", "hypercorn", "httpx2", "pydantic", "numpy", "tokenizers", "genai_prices")
ON_DEMAND = ("september_engine._bash", "september_engine.sandbox.choice")

TESTED_THROUGH: Mapping[str, str] = {
    "_bash.git": "_bash/test_programs.py",
    "_bash.lexer": "_bash/test_values.py",
    "_bash.network": "_bash/test_programs.py",
    "_bash.projects": "_bash/test_programs.py",
    "_bash.readers": "_bash/test_programs.py",
    "_bash.text": "_bash/test_shell.py",
    "_bash.writers": "_bash/test_programs.py",
    "_runtime.tickets": "_runtime/test_supervisor.py",
    "_runtime.health": "test_engine.py",
    "_patterns": "test_permissions.py",
    "_turn.calls": "_turn/test_decide.py",
    "testing._blob_contract": "store/test_contract.py",
    "_wiring": "test_engine.py",
    "http._described": "http/test_openapi.py",
    "http._described_memory": "http/test_openapi.py",
    "memory._candidates": "memory/test_longterm.py",
    "sandbox._broker": "sandbox/test_probes.py",
    "sandbox._names": "sandbox/test_opened.py",
    "sandbox._confined": "sandbox/test_contract.py",
    "sandbox._order": "sandbox/test_contract.py",
    "sandbox._watched": "sandbox/test_process.py",
    "store._branches": "memory/test_branches.py",
    "store._connection": "store/test_sqlite.py",
    "store._reads": "store/test_sqlite.py",
    "store._writer": "store/test_sqlite.py",
    "store._writes": "store/test_sqlite.py",
    "testing._log_events": "testing/test_log_checker.py",
    "testing._log_order": "testing/test_log_checker.py",
    "testing._log_screen": "testing/test_log_checker.py",
    "testing._messages_script": "testing/test_messages_server.py",
    "testing._store_long_threads": "store/test_contract.py",
    "tools._possible": "test_approvals.py",
    "tools._refusals": "tools/test_workspace.py",
    "tools._replace": "tools/test_workspace.py",
    "tools._wants": "tools/test_read_file.py",
}
"""Modules that are parts of one thing, and the tests of that thing."""

Law = Callable[[Mapping[str, Module]], Iterator[str]]
ALL: Mapping[str, Law] = {
    "layers": laws.layers,
    "http is thin": laws.http_is_thin,
    "acyclic": laws.acyclic,
    "no own imports in functions": laws.no_own_imports_in_functions,
    "pure core": laws.pure_core,
    "declared dependencies": laws.declared_dependencies,
    "anthropic only when constructed": laws.anthropic_only_when_constructed,
    "exports": laws.exports,
    "forbidden names": laws.forbidden_names,
}


@pytest.fixture(scope="module")
def house() -> dict[str, Module]:
    return laws.package_at(SOURCE)


@pytest.mark.parametrize("law", ALL.values(), ids=ALL)
def test_the_house_keeps_its_law(law: Law, house: dict[str, Module]) -> None:
    assert list(law(house)) == []


def test_files_and_functions_are_one_idea_each(house: dict[str, Module]) -> None:
    assert list(laws.sizes(house)) == []


def test_every_module_has_tests(house: dict[str, Module]) -> None:
    texts = {path.relative_to(TESTS).as_posix(): path.read_text("utf-8") for path in TESTS.rglob("*.py")}
    assert list(laws.untested(house, texts, through=TESTED_THROUGH)) == []


def test_what_a_module_offers_is_there(house: dict[str, Module]) -> None:
    for name in house:
        module = importlib.import_module(f"september_engine.{name}".rstrip("."))
        assert [each for each in getattr(module, "__all__", ()) if not hasattr(module, each)] == []


def test_the_top_level_is_small_enough_to_know() -> None:
    assert len(september_engine.__all__) <= MOST_EXPORTS


def loaded_by(code: str) -> set[str]:
    """What a fresh interpreter has loaded after this code."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "import september_engine",
        "import september_engine.models.anthropic",
        "import september_engine.memory.longterm, september_engine.memory.minilm",
        "from september_engine import Engine, Settings; Engine(':memory:', settings=Settings())",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code).isdisjoint((*HEAVY, *ON_DEMAND))


def test_only_serve_loads_a_server() -> None:
    assert loaded_by("import september_engine._cli").isdisjoint(HEAVY)


def test_the_tools_for_a_machine_are_loaded_when_they_are_asked_for() -> None:
    assert loaded_by("from september_engine import builtin_tools").issuperset(ON_DEMAND)
    with pytest.raises(AttributeError, match="has no attribute 'builtin_tool'"):
        september_engine.builtin_tool  # noqa: B018


def test_a_fresh_interpreter_is_seen_to_load_what_it_loads() -> None:
    assert "hypercorn" in loaded_by("import september_engine, hypercorn")


# ── every law against what breaks it ─────────────────────────────────────────────────────────────────────────────


def a_house(**modules: str) -> dict[str, Module]:
    """A small package; `__` inside a name stands for a dot."""
    names = {name.replace("__", ".") if not name.startswith("_") else name: text for name, text in modules.items()}
    return {name: Module(name, text) for name, text in names.items()}


def problems(law: Law, modules: Mapping[str, Module]) -> list[str]:
    """What this law finds, but for the table's entries that a small house cannot have."""
    return [problem for problem in law(modules) if "which does not exist" not in problem]


BROKEN: Iterable[tuple[str, Law, dict[str, Module], str]] = [
    (
        "a word imports the engine",
        laws.layers,
        a_house(errors="from .engine import Engine", engine=""),
        "errors (layer 0) imports engine (layer 5)",
    ),
    (
        "an absolute import is seen too",
        laws.layers,
        a_house(errors="import september_engine.engine", engine=""),
        "errors (layer 0) imports engine (layer 5)",
    ),
    (
        "an import hidden under TYPE_CHECKING is an import",
        laws.layers,
        a_house(events="if TYPE_CHECKING:\n    from .streams import Turn", streams=""),
        "events (layer 0) imports streams (layer 5)",
    ),
    (
        "the shell knows an adapter",
        laws.layers,
        {
            "_runtime.runner": Module("_runtime.runner", "from ..store.sqlite import SQLiteStore"),
            "store.sqlite": Module("store.sqlite", ""),
        },
        "_runtime.runner imports the adapter store.sqlite; it may only know the port",
    ),
    ("a module of no layer", laws.layers, a_house(surprise=""), "surprise has no layer"),
    (
        "a module of no layer in a package that is named module by module",
        laws.layers,
        a_house(store__postgres=""),
        "store.postgres has no layer",
    ),
    (
        "production code that needs test code",
        laws.layers,
        a_house(engine="from .testing import fakes", testing__fakes=""),
        "engine imports testing.fakes, which is for tests",
    ),
    (
        "http reaches below the engine",
        laws.http_is_thin,
        {
            "http.app": Module("http.app", "from .._runtime.supervisor import Supervisor"),
            "_runtime.supervisor": Module("_runtime.supervisor", ""),
        },
        "http.app imports _runtime.supervisor",
    ),
    (
        "two modules that need each other",
        laws.acyclic,
        a_house(events="from .messages import JSON", messages="from . import events"),
        "events → messages → events",
    ),
    (
        "an import of ours in a function",
        laws.no_own_imports_in_functions,
        a_house(engine="def open():\n    from .store.base import Store"),
        "engine.open imports our own package",
    ),
    (
        "the core waits",
        laws.pure_core,
        {"_turn.decide": Module("_turn.decide", "async def decide(): ...")},
        "_turn.decide:1 waits",
    ),
    (
        "the core looks at the clock",
        laws.pure_core,
        {"_turn.decide": Module("_turn.decide", "import time")},
        "_turn.decide imports time",
    ),
    (
        "the core asks datetime for the time",
        laws.pure_core,
        {"_turn.decide": Module("_turn.decide", "import datetime\nnow = datetime.datetime.now()")},
        "_turn.decide:2 asks for now",
    ),
    (
        "the core reads a file",
        laws.pure_core,
        {"_context.media": Module("_context.media", "data = open('x').read()")},
        "_context.media:1 calls open",
    ),
    (
        "a dependency that nobody declared",
        laws.declared_dependencies,
        a_house(engine="import requests"),
        "engine imports requests",
    ),
    (
        "a declared dependency out of its place",
        laws.declared_dependencies,
        a_house(engine="from starlette.requests import Request"),
        "engine imports starlette",
    ),
    (
        "the SDK at import",
        laws.anthropic_only_when_constructed,
        {"models.anthropic": Module("models.anthropic", "import anthropic")},
        "models.anthropic:1 imports anthropic",
    ),
    (
        "the SDK in another function",
        laws.anthropic_only_when_constructed,
        {"models.anthropic": Module("models.anthropic", "def errors():\n    import anthropic")},
        "models.anthropic:2 imports anthropic",
    ),
    (
        "the SDK somewhere else",
        laws.anthropic_only_when_constructed,
        {"models.choice": Module("models.choice", "class A:\n    def __init__(self):\n        import anthropic")},
        "models.choice:3 imports anthropic",
    ),
    ("a public module without __all__", laws.exports, a_house(events="x = 1"), "events has no __all__"),
    ("a module named after nothing", laws.forbidden_names, a_house(utils=""), "utils is named after nothing"),
    (
        "a class named after nothing",
        laws.forbidden_names,
        a_house(engine="class TurnManager: ..."),
        "engine.TurnManager is named after nothing",
    ),
    (
        "a base class",
        laws.forbidden_names,
        a_house(engine="class BaseStore: ..."),
        "engine.BaseStore is named after nothing",
    ),
    ("a file of two ideas", laws.sizes, a_house(engine="x = 1\n" * 601), "engine has 601 lines"),
    (
        "a function of two ideas",
        laws.sizes,
        a_house(engine="def f():\n" + "    x = 1\n" * 60),
        "engine.f has 61 lines",
    ),
]


@pytest.mark.parametrize(("law", "modules", "problem"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_breaks_a_law_is_found(law: Law, modules: Mapping[str, Module], problem: str) -> None:
    assert problems(law, modules) == [problem]


SOUND: Iterable[tuple[str, Law, dict[str, Module]]] = [
    ("a port may know a word", laws.layers, a_house(store__base="from ..errors import Fenced", errors="")),
    ("names of one package", laws.layers, a_house(models__choice="from .base import Model", models__base="")),
    (
        "the SDK's types for the type checker, and the SDK when a model is made",
        laws.anthropic_only_when_constructed,
        a_house(
            models__anthropic="if TYPE_CHECKING:\n    from anthropic import A\n"
            "class M:\n    def __init__(self):\n        import anthropic"
        ),
    ),
    ("a private module need not offer anything", laws.exports, a_house(_seams="x = 1")),
    (
        "a docstring is not length",
        laws.sizes,
        a_house(engine='def f():\n    """A\n' + "\n" * 80 + '    """\n    x = 1'),
    ),
]


@pytest.mark.parametrize(("law", "modules"), [case[1:] for case in SOUND], ids=[case[0] for case in SOUND])
def test_what_keeps_a_law_passes(law: Law, modules: Mapping[str, Module]) -> None:
    assert problems(law, modules) == []


def test_the_design_shows_every_room_on_its_floor(house: dict[str, Module]) -> None:
    """The page's table of layers; a package of several layers stands there by one of its modules at least."""
    rows = [line.split("|") for line in DESIGN.read_text("utf-8").splitlines() if re.match(r"\| \d \|", line)]
    shown = {int(row[1]): {each.strip("/") for each in re.findall(r"`([^`]+)`", row[3])} for row in rows}
    rooms = {name.partition(".")[0] for name in house} - {"", "__main__"}
    missing = {
        room
        for room in rooms
        if not any(name.split("/")[0] == room for names in shown.values() for name in names)
        or (room not in laws.BY_MODULE and room != "tools" and room not in shown[laws.LAYERS[room]])
    }
    assert missing == set()


def test_the_table_of_layers_names_only_what_exists() -> None:
    assert "the table names events, which does not exist" in list(laws.layers(a_house(errors="")))


def test_an_exception_that_is_no_longer_needed_is_a_problem() -> None:
    found = list(laws.sizes(a_house(engine="x = 1"), except_for={"engine": "it was large"}))
    assert found == ["engine is small enough now: take its exception away"]


def test_a_module_without_tests_is_found() -> None:
    modules = a_house(engine="def f(): ...", events="def g(): ...", messages="X = 1", _demo="def h(): ...")
    tests = {"test_a.py": "from september_engine.engine import f", "test_demo.py": ""}
    assert list(laws.untested(modules, tests, through={})) == ["events has no tests"]
    assert list(laws.untested(modules, tests, through={"events": "test_a.py"})) == []
    assert list(laws.untested(modules, {**tests, "test_events.py": ""}, through={})) == []


def test_a_list_of_other_doors_is_kept_true() -> None:
    modules = a_house(engine="def f(): ...", events="def g(): ...")
    tests = {"test_a.py": "from september_engine.engine import f"}
    through = {"engine": "test_a.py", "gone": "test_a.py", "events": "test_b.py"}
    assert list(laws.untested(modules, tests, through=through)) == [
        "engine has tests of its own: take it off the list",
        "gone does not exist",
        "events is said to be tested by test_b.py, which does not exist",
    ]
