"""The laws of the house as functions: sources in, problems out. `test_architecture` applies them, and tests them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

__all__ = [
    "Module",
    "acyclic",
    "anthropic_only_when_constructed",
    "declared_dependencies",
    "exports",
    "forbidden_names",
    "http_is_thin",
    "layers",
    "no_own_imports_in_functions",
    "package_at",
    "pure_core",
    "sizes",
    "untested",
]

PACKAGE = "september_engine"

LAYERS: Mapping[str, int] = {
    # 0 words
    "errors": 0,
    "messages": 0,
    "events": 0,
    "_dotenv": 0,
    "settings": 0,
    "_seams": 0,
    "_plain": 0,
    "_forks": 0,
    "_extras": 0,
    # 1 core: pure
    "permissions": 1,
    "_patterns": 1,
    "_turn": 1,
    "_context": 1,
    "_bash": 1,
    "_memory": 1,
    # 2 ports
    "memory": 2,
    "memory.base": 2,
    "models": 2,  # the package's own __init__; its modules follow
    "models.base": 2,
    "models.prices": 2,
    "_home": 2,
    "_output": 2,
    "store": 2,
    "store.base": 2,
    "tools": 2,
    "sandbox": 2,
    "sandbox.base": 2,
    # 3 adapters
    "memory._candidates": 3,
    "memory._vectors": 3,
    "memory.inprocess": 3,
    "memory.longterm": 3,
    "memory.minilm": 3,
    "memory.sqlite": 3,
    "models.anthropic": 3,
    "models._claude_errors": 3,
    "models._claude_request": 3,
    "models._claude_stream": 3,
    "models._offline_output": 3,
    "models._connections": 3,
    "models.scripted": 3,
    "models.offline": 3,
    "models.choice": 3,
    "models.known_prices": 3,
    "tools.builtin": 3,
    "store.memory": 3,
    "store.sqlite": 3,
    "store._branches": 3,
    "store._compact": 3,
    "store._connection": 3,
    "store._lock": 3,
    "store._memories": 3,
    "store._migrate": 3,
    "store._reads": 3,
    "store._rows": 3,
    "store._watch": 3,
    "store._writer": 3,
    "store._writes": 3,
    "sandbox._broker": 3,
    "sandbox._confined": 3,
    "sandbox._guard": 3,
    "sandbox._names": 3,
    "sandbox._order": 3,
    "sandbox._placeholders": 3,
    "sandbox._process": 3,
    "sandbox._seccomp": 3,
    "sandbox._stage": 3,
    "sandbox._syscalls": 3,
    "sandbox._system": 3,
    "sandbox._view": 3,
    "sandbox._watched": 3,
    "sandbox.bubblewrap": 3,
    "sandbox.choice": 3,
    "sandbox.landlock": 3,
    "sandbox.unconfined": 3,
    "_media": 3,
    # 4 shell
    "_runtime": 4,
    # 5 engine
    "": 5,
    "engine": 5,
    "_asking": 5,
    "_display": 5,
    "_notebook": 5,
    "notes": 5,
    "_blocking_memory": 5,
    "_wiring": 5,
    "_takeover": 5,
    "streams": 5,
    "blocking": 5,
    "testing": 5,
    # 6 http
    "http": 6,
    # 7 cli
    "_cli": 7,
    "_demo": 7,
    "_person": 7,
    "_doctor": 7,
    "_machine": 7,
    "_program": 7,
    "_terminal": 7,
    "__main__": 7,
}
"""Module, or whole package where all of it is one layer. `memory`, `models`, `sandbox` and `store` are named module
by module.
"""

BY_MODULE = ("memory", "models", "sandbox", "store", "")
CORE, ADAPTERS, SHELL, HTTP = 1, 3, 4, 6
HTTP_MAY_IMPORT = (
    "_extras",
    "_forks",
    "engine",
    "streams",
    "events",
    "errors",
    "memory.base",
    "messages",
    "settings",
)

CORE_MAY_IMPORT = frozenset(
    """
    __future__ array attrs base64 binascii collections datetime functools hashlib heapq html ipaddress itertools math
    msgspec re shlex struct typing unicodedata urllib zlib tree_sitter tree_sitter_bash
    """.split()
)
CORE_MAY_NOT_ASK = frozenset("now today utcnow".split())
"""What `datetime` would read off a clock."""
CORE_MAY_NOT_CALL = frozenset("open print input eval exec __import__ breakpoint".split())

CLAUDE = "models.anthropic"
ANYWHERE = frozenset({"anyio", "attrs", "msgspec"})
ONLY_IN: Mapping[str, tuple[str, ...]] = {
    "aiosqlite": ("store._connection",),
    "anthropic": (CLAUDE,),
    "anywidget": ("_display",),
    "docstring_parser": ("tools.schema",),
    "genai_prices": ("models.known_prices",),
    "starlette": ("http",),
    "hypercorn": ("http",),
    "numpy": ("memory._vectors", "memory.minilm"),
    "pytest": ("testing",),
    "PIL": ("_media.pictures",),
    "pypdf": ("_media.documents",),
    "safetensors": ("memory.minilm",),
    "tokenizers": ("memory.minilm",),
    "tree_sitter": ("_bash.tree",),
    "pydantic": ("tools._pydantic",),  # where an annotation was made with it
    "traitlets": ("_display",),  # comes with anywidget
    "typing_extensions": ("streams", "engine", "blocking"),  # for the type checker alone
    "tree_sitter_bash": ("_bash.tree",),
}
"""Third parties: where each may be imported. What is in neither is not a dependency."""


@attrs.frozen
class Module:
    """One source file. `name` is dotted and relative to the package; "" is the package itself."""

    name: str
    text: str
    is_package: bool = False
    tree: ast.Module = attrs.field(init=False, repr=False)

    @tree.default
    def _parsed(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def layer(self) -> int | None:
        """From the table: the module's own entry, else that of the package it is in."""
        parts = self.name.split(".")
        for count in range(len(parts), 0, -1):
            prefix = ".".join(parts[:count])
            if prefix in LAYERS and (count == len(parts) or prefix not in BY_MODULE):
                return LAYERS[prefix]
        return None

    def own_imports(self, node: ast.AST) -> Iterator[str]:
        """The modules of our package that an import statement names, relative to the package."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield alias.name.partition(".")[2]
        elif isinstance(node, ast.ImportFrom):
            base = self._base(node)
            if base is not None:
                yield base
                yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> str | None:
        if node.level == 0:
            first, _, rest = (node.module or "").partition(".")
            return rest if first == PACKAGE else None
        parts = self.name.split(".") if self.name else []
        up = node.level - 1 if self.is_package else node.level
        return ".".join([*parts[: len(parts) - up], *(node.module or "").split(".")]).strip(".")

    def foreign_imports(self) -> Iterator[tuple[str, ast.AST]]:
        """Top-level names of other packages, with where they are imported."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], node) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.split(".")[0], node


Modules = Mapping[str, Module]


def package_at(root: Path) -> dict[str, Module]:
    """Every module below this folder."""
    found: dict[str, Module] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, path.read_text(encoding="utf-8"), is_package)
    return found


def _dependencies(modules: Modules) -> Iterator[tuple[Module, Module]]:
    """Who imports whom, once each."""
    for module in modules.values():
        named = {name for node in ast.walk(module.tree) for name in module.own_imports(node)}
        # `from .models import base` names the package and the module: only the deepest that is a file counts
        for name in sorted(named):
            if name in modules and name != module.name:
                if not any(other.startswith(f"{name}.") and other in modules for other in named if name):
                    yield module, modules[name]


def layers(modules: Modules) -> Iterator[str]:
    """Every module has a layer and imports its own or a lower one; the shell knows adapters only by their ports."""
    for name in LAYERS:
        if name and not any(module == name or module.startswith(f"{name}.") for module in modules):
            yield f"the table names {name}, which does not exist"
    for module in modules.values():
        if module.layer is None:
            yield f"{module.name} has no layer"
    for module, other in _dependencies(modules):
        if module.layer is None or other.layer is None:
            continue
        if other.layer > module.layer:
            yield f"{module.name} (layer {module.layer}) imports {other.name or PACKAGE} (layer {other.layer})"
        if module.layer == SHELL and other.layer == ADAPTERS:
            yield f"{module.name} imports the adapter {other.name}; it may only know the port"
        if other.name.startswith("testing") and not module.name.startswith("testing"):
            yield f"{module.name} imports {other.name}, which is for tests"


def http_is_thin(modules: Modules) -> Iterator[str]:
    """HTTP knows the engine by its public face."""
    for module, other in _dependencies(modules):
        if module.name.startswith("http") and not other.name.startswith("http") and other.name not in HTTP_MAY_IMPORT:
            yield f"{module.name} imports {other.name or PACKAGE}"


def acyclic(modules: Modules) -> Iterator[str]:
    """No module needs itself."""
    graph: dict[str, list[str]] = {name: [] for name in modules}
    for module, other in _dependencies(modules):
        graph[module.name].append(other.name)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield " → ".join((*path[path.index(name) :], name))
        elif name not in done:
            for following in graph[name]:
                yield from visit(following, (*path, name))
            done.add(name)

    for name in graph:
        yield from visit(name, ())


def no_own_imports_in_functions(modules: Modules) -> Iterator[str]:
    """An import of ours inside a function hides a cycle."""
    for module in modules.values():
        for function in _functions(module.tree):
            for node in ast.walk(function):
                if any(True for _ in module.own_imports(node)):
                    yield f"{module.name}.{function.name} imports our own package"


def pure_core(modules: Modules) -> Iterator[str]:
    """No await, no clock, no chance, no I/O: from an allow-list, so that a new import is a decision."""
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    for module in modules.values():
        if module.layer != CORE:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, waits):
                yield f"{module.name}:{node.lineno} waits"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CORE_MAY_NOT_CALL:
                yield f"{module.name}:{node.lineno} calls {node.func.id}"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in CORE_MAY_NOT_ASK
            ):
                yield f"{module.name}:{node.lineno} asks for {node.func.attr}"
        for name, _ in module.foreign_imports():
            if name not in CORE_MAY_IMPORT and name != PACKAGE:
                yield f"{module.name} imports {name}"


def declared_dependencies(modules: Modules) -> Iterator[str]:
    """Third parties stay where they belong."""
    for module in modules.values():
        for name, _ in module.foreign_imports():
            if name in sys.stdlib_module_names or name == PACKAGE or name in ANYWHERE:
                continue
            places = ONLY_IN.get(name, ())
            if not any(module.name == place or module.name.startswith(f"{place}.") for place in places):
                yield f"{module.name} imports {name}"


def anthropic_only_when_constructed(modules: Modules) -> Iterator[str]:
    """Importing the SDK takes seconds: nothing does before a model is made."""
    for module in modules.values():
        allowed = {
            id(inner)
            for node in ast.walk(module.tree)
            if _is_type_checking(node) or (module.name == CLAUDE and _is_constructor(node))
            for inner in ast.walk(node)
        }
        for name, node in module.foreign_imports():
            if name == "anthropic" and id(node) not in allowed:
                yield f"{module.name}:{getattr(node, 'lineno', 0)} imports anthropic"


def exports(modules: Modules) -> Iterator[str]:
    """A public module says what it offers."""
    for module in modules.values():
        if any(part.startswith("_") for part in module.name.split(".")) and module.name != "__main__":
            continue
        assigned = [
            target.id
            for node in module.tree.body
            for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
            if isinstance(target, ast.Name)
        ]
        if "__all__" not in assigned:
            yield f"{module.name or PACKAGE} has no __all__"


def sizes(
    modules: Modules, *, lines: int = 600, function: int = 60, except_for: Mapping[str, str] | None = None
) -> Iterator[str]:
    """What has grown beyond one idea. `except_for` gives the reason of a named exception."""
    allowed = except_for or {}
    too_large: set[str] = set()
    for module in modules.values():
        count = len(module.text.splitlines())
        if count > lines:
            too_large.add(module.name)
            if module.name not in allowed:
                yield f"{module.name} has {count} lines"
        for one in _functions(module.tree):
            if (length := _length(one)) > function:
                yield f"{module.name}.{one.name} has {length} lines"
    yield from (f"{name} is small enough now: take its exception away" for name in allowed.keys() - too_large)


def forbidden_names(modules: Modules) -> Iterator[str]:
    """Names that say nothing."""
    for module in modules.values():
        if re.search(r"(^|[._])(utils?|helpers?|common|misc)$", module.name):
            yield f"{module.name} is named after nothing"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and re.search(r"Manager|Handler|Helper|Util|^_?Base[A-Z]", node.name):
                yield f"{module.name}.{node.name} is named after nothing"


def untested(modules: Modules, tests: Mapping[str, str], *, through: Mapping[str, str]) -> Iterator[str]:
    """A module with code that has no tests: none of its name, none that import it, none `through` another door.

    `tests` maps the paths of test files to their texts; the tests of `a.b` are `a/test_b.py`.
    """
    tested = {_tested_by(path) for path in tests}
    for path, text in tests.items():
        test = Module(path, text)
        tested |= {name for node in ast.walk(test.tree) for name in test.own_imports(node)}
    for module in modules.values():
        has_code = any(True for _ in _functions(module.tree))
        if has_code and not {module.name, _public(module.name)} & tested and module.name not in through:
            yield f"{module.name} has no tests"
    for name, path in through.items():
        if name not in modules:
            yield f"{name} does not exist"
        elif {name, _public(name)} & tested:
            yield f"{name} has tests of its own: take it off the list"
        elif path not in tests:
            yield f"{name} is said to be tested by {path}, which does not exist"


def _public(name: str) -> str:
    *packages, last = name.split(".")
    return ".".join([*packages, last.lstrip("_")])


def _tested_by(path: str) -> str:
    """The module whose tests these are by the name of the file, without a leading `_` of its own."""
    *folders, name = path.removesuffix(".py").split("/")
    return ".".join([*folders, name.removeprefix("test_")])


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    whole = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        whole -= (first.end_lineno or first.lineno) - first.lineno + 1
    return whole


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_constructor(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"
