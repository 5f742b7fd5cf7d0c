"""The command line: it parses and calls. Everything it does is the library's."""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import anyio

from ._demo import DEMO_TOOLS, first_question
from ._doctor import examine
from ._machine import embedder_here, tools_in
from ._person import Person
from ._program import load_engine
from ._terminal import BOLD, DIM, Terminal
from ._wiring import DEFAULT_SYSTEM, store_of
from .engine import Engine
from .errors import ConfigurationError, EngineError, StoreInUse
from .events import Error, HitlRequest
from .settings import Settings
from .store.base import CompactProgress, Store
from .streams import Replay, Turn

__all__ = ["main"]

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, as shells have it."""


COMPACTING = {
    "words": "Clearing the index of words",
    "file": "Writing the file anew",
    "log": "Emptying the log file",
}
"""What each stage of compacting is called in the terminal."""

INDENT = " " * 14
INDENTED = 110


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 for a turn that failed, 2 for what could not begin, 130 for Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a letter is no reason to stop
    try:
        if options.command is None:
            parser.print_help(sys.stderr)
            return 2
        if options.command == "doctor":
            return _doctor()
        if options.command == "compact":
            return anyio.run(_compact, store_of(options.db, Settings()))
        if options.command == "serve":
            return _serve(options)
        settings = Settings(**_overrides(options))
        return anyio.run(_demo, settings, options.model, options.message, options.task, options.files)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # whoever read has gone, as in `… | head`
        return 0
    except OSError as error:
        _drop_output()
        print(f"september_engine: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except EngineError as error:
        print(f"september_engine: {error.message}", file=sys.stderr)
        return 2


def _drop_output() -> None:
    """Python must not try to flush the rest at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m september_engine", description="An embeddable agent engine: durable turns, replayable streams."
    )
    parser.add_argument("--version", action="version", version=f"september-engine {_version()}")
    commands = parser.add_subparsers(dest="command")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--db", metavar="PATH", help="the database file (default: SQLITE_DB_PATH, else brain.sqlite)")
    chosen.add_argument("--model", metavar="NAME", help="the model (default: LLM_MODEL)")
    demo = commands.add_parser("demo", parents=[chosen], help="run one turn in this terminal, with or without a key")
    demo.add_argument("message", nargs="?", help="what to say (default: something this folder can answer)")
    demo.add_argument("--task", default="demo", help="the conversation to go on with (default: demo)")
    demo.add_argument(
        "--files", metavar="FOLDER", help="let it work in this folder: files, commands, and questions to you"
    )
    serve = commands.add_parser(
        "serve",
        parents=[chosen],
        help="serve the HTTP contract",
        description="Serve an engine of your own (MODULE:ENGINE), or one made of the options and the environment.",
    )
    serve.add_argument(
        "engine",
        nargs="?",
        metavar="MODULE:ENGINE",
        help="an Engine of your program, or a function that makes one, as in shop.agent:engine",
    )
    serve.add_argument("--system", metavar="FILE", help="a text file with the system prompt")
    serve.add_argument(
        "--memory", choices=["on", "off"], help="remember across conversations (default: SEPTEMBER_MEMORY, else on)"
    )
    serve.add_argument("--host", default="127.0.0.1", help="the address to bind (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="the port (default: 8000; 0 for any)")
    compact = commands.add_parser("compact", help="remove every byte of what was deleted or erased from the database")
    compact.add_argument("--db", metavar="PATH", help="the database (default: SQLITE_DB_PATH, else ./brain.sqlite)")
    commands.add_parser("doctor", help="say what this machine has, and what would help")
    return parser


def _version() -> str:
    try:
        return version("september-engine")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "(not installed)"


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of the settings; the rest comes from the environment."""
    given: dict[str, Any] = {}
    if options.db is not None:
        if "://" in options.db:
            raise ConfigurationError("--db takes a path: this release has no store but SQLite.")
        if not options.db.strip():
            raise ConfigurationError("--db is empty. Give the path of the database file, or leave it out.")
        given.update(sqlite_db_path=Path(options.db), database_url=None)
    if options.model is not None and not options.model.strip():
        raise ConfigurationError("--model is empty. Name a model, or leave it out.")
    if getattr(options, "memory", None) is not None:
        given.update(memory=options.memory == "on")
    return given


async def _demo(settings: Settings, model: str | None, message: str | None, task_id: str, files: str | None) -> int:
    """One turn. What the task waits for is asked first, and that turn shown to its end."""
    if sys.stdout is None:  # the shell closed it: `>&-`
        raise ConfigurationError("The output is closed: there is nothing to write to.")
    terminal = Terminal(sys.stdout)
    builtin, missing = tools_in([Path(files)] if files is not None else [])
    async with Engine(settings=settings, model=model, tools=[*DEMO_TOOLS, *builtin], notes="any") as engine:
        said = first_question() if message is None else message
        waiting = [request for request in await engine.pending() if request.task_id == task_id]
        turn: Turn | Replay = (
            engine.replay(task_id=task_id, after=_just_before(waiting[0]))
            if waiting
            else (engine.execute(said, task_id=task_id))
        )
        await turn.started()
        terminal.line(f"{engine.model_name} · {settings.sqlite_db_path} · task {task_id}", DIM)
        if missing is not None:
            terminal.line(f"There is no bash tool. {missing}", DIM)
        terminal.line("This task waits for an answer." if waiting else f"> {said}", BOLD)
        terminal.line()
        well = await _show(turn, engine, terminal, begin=waiting[0].request_id if waiting else None)
        offline = engine.model_name == "offline"
    if waiting and message is not None:
        terminal.line("Now say it again: the message was not sent while the task waited.", DIM)
    if offline:
        terminal.line("This was the offline model. For Claude: ANTHROPIC_API_KEY=… and the same command.", DIM)
    return 0 if well else 1


async def _show(turn: Turn | Replay, engine: Engine, terminal: Terminal, *, begin: str | None) -> bool:
    """Show a turn to its end, from this request on where one is named, and ask what it waits for; did it end well?"""
    person, well = Person(sys.stdin, terminal), True
    async for event in turn:
        if begin not in (None, getattr(event, "request_id", None)):
            continue
        begin = None
        terminal.show(event)
        well = well and not isinstance(event, Error)
        if isinstance(event, HitlRequest) and event.request_id in {each.request_id for each in await engine.pending()}:
            if not await person.answer(engine, event):
                return False
    return well


def _just_before(request: HitlRequest) -> int:
    """The cursor after which the request comes."""
    return round(datetime.fromisoformat(request.created_at).timestamp() * 1000) - 1


async def _compact(store: Store) -> int:
    """Compact a database that no engine has open."""
    path = store.files[0] if store.files else ":memory:"
    if not await anyio.Path(path).is_file():
        raise ConfigurationError(f"There is no database at {path}. Name it: --db PATH.")

    def show(progress: CompactProgress) -> None:
        print(f"{COMPACTING[progress.stage]} … {progress.seconds:.1f} s", file=sys.stderr, flush=True)

    try:
        await store.open()
        report = await store.compact(progress=show)
    except StoreInUse as error:
        owner = error.details.get("pid") or "unknown"
        problem = f"{path} is open in another engine (process {owner}). Stop it first, or call its `engine.compact()`."
        raise StoreInUse(problem, **error.details) from error
    finally:
        await store.aclose()
    print(f"{path}: {report.bytes_before:,} bytes before, {report.bytes_after:,} after")
    return 0


def _doctor() -> int:
    """What is missing is no failure: everything but what needs it works."""
    terminal = Terminal(sys.stdout)
    for found in examine():
        terminal.line(f"{'✓' if found.good else '–'} {found.name:<11} {found.says}", *(() if found.good else (BOLD,)))
        if found.advice:
            terminal.line(textwrap.fill(found.advice, INDENTED, initial_indent=INDENT, subsequent_indent=INDENT), DIM)
    return 0


def _serve(options: argparse.Namespace) -> int:
    # the other commands go without a server, and start in half the time
    serve_engine: Callable[..., int] = import_module(".http.serve", __package__).serve_engine
    if options.engine is not None:
        own = [f"--{name}" for name in ("db", "model", "system", "memory") if getattr(options, name) is not None]
        if own:
            raise ConfigurationError(
                f"{options.engine} brings its own store, model, system prompt and memory: leave out {', '.join(own)}."
            )
        return serve_engine(load_engine(options.engine), host=options.host, port=options.port)
    settings = Settings(**_overrides(options))
    system = DEFAULT_SYSTEM if options.system is None else _system(Path(options.system))
    tools, missing = tools_in(settings.allowed_roots)
    warnings = [f"there is no bash tool: {missing}"] if missing is not None else []
    embedder, without = embedder_here() if settings.memory else (None, None)
    warnings += [f"memory recalls by words alone: {without}"] if without is not None else []
    engine = Engine(
        settings=settings,
        model=options.model,
        system=system,
        tools=tools,
        notes="any",
        memory=settings.memory,
        embedder=embedder,
    )
    return serve_engine(engine, host=options.host, port=options.port, warnings=warnings)


def _system(path: Path) -> str:
    """The system prompt in a file. Raises `ConfigurationError` for what cannot be one."""
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"--system: {path} is not UTF-8 text.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"--system: {path} cannot be read: {reason}.") from None
    if not text:
        raise ConfigurationError(f"--system: {path} is empty.")
    return text
