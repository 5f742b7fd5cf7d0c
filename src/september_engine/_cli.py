"""The command line: it parses and calls. Everything it does is the library's."""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

import anyio

from ._demo import DEMO_TOOLS, first_question
from ._doctor import examine
from ._terminal import BOLD, DIM, Terminal
from .engine import Engine
from .errors import ConfigurationError, EngineError
from .events import Error
from .settings import Settings

run_server: Callable[..., int] | None
try:
    from .http.serve import run_server
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.startswith("september_engine"):
        raise
    run_server = None

__all__ = ["main"]

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, as shells have it."""


INDENT = " " * 14
INDENTED = 110


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 for a turn that failed, 2 for what could not begin, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a letter is no reason to stop
    try:
        if options.command == "doctor":
            return _doctor()
        settings = Settings.from_env()
        if options.command == "serve":
            return _serve(settings, host=options.host, port=options.port)
        return anyio.run(_demo, settings, options.message or first_question(), options.task)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read has gone, as in `… | head`; Python must not try to flush the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EngineError as error:
        print(f"september_engine: {error.message}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m september_engine", description="An embeddable agent engine: durable turns, replayable streams."
    )
    parser.add_argument("--version", action="version", version=f"september-engine {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run one turn in this terminal, with or without a key")
    demo.add_argument("message", nargs="?", help="what to say (default: something this folder can answer)")
    demo.add_argument("--task", default="demo", help="the conversation to go on with (default: demo)")
    serve = commands.add_parser("serve", help="serve the HTTP contract")
    serve.add_argument("--host", default="127.0.0.1", help="the address to bind (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="the port (default: 8000; 0 for any)")
    commands.add_parser("doctor", help="say what this machine has, and what would help")
    return parser


def _version() -> str:
    try:
        return version("september-engine")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "(not installed)"


async def _demo(settings: Settings, message: str, task_id: str) -> int:
    terminal = Terminal(sys.stdout)
    async with Engine(settings=settings, tools=DEMO_TOOLS) as engine:
        terminal.line(f"{engine.model_name} · {settings.sqlite_db_path} · task {task_id}", DIM)
        terminal.line(f"> {message}", BOLD)
        terminal.line()
        offline, failed = engine.model_name == "offline", False
        async for event in engine.execute(message, task_id=task_id):
            terminal.show(event)
            failed = failed or isinstance(event, Error)
    if offline:
        terminal.line("This was the offline model. For Claude: ANTHROPIC_API_KEY=… and the same command.", DIM)
    return 1 if failed else 0


def _doctor() -> int:
    """What is missing is no failure: everything but what needs it works."""
    terminal = Terminal(sys.stdout)
    for found in examine():
        terminal.line(f"{'✓' if found.good else '–'} {found.name:<11} {found.says}", *(() if found.good else (BOLD,)))
        if found.advice:
            terminal.line(textwrap.fill(found.advice, INDENTED, initial_indent=INDENT, subsequent_indent=INDENT), DIM)
    return 0


def _serve(settings: Settings, *, host: str, port: int) -> int:
    if run_server is None:
        raise ConfigurationError("serve needs the server extra: pip install 'september-engine[server]'")
    return run_server(settings, host=host, port=port)
