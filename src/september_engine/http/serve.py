"""serve: the application on Hypercorn, and an end that harms nobody.

On SIGTERM or SIGINT: no new turns (503), the running ones get `SEPTEMBER_DRAIN_SECONDS` while their streams go on, then
every stream ends with a cursor that stays valid, and the server stops. A second signal ends the process at once; what
was shown is durable, so that is safe too. Hypercorn alone would wait for open streams, on newer Pythons for ever.

`python -m september_engine serve` offers the built-in tools over `ALLOWED_ROOTS`, and without it none. Any others are
for a program of your own that calls `serve_engine(Engine(tools=[…]))`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, cast

import anyio
from starlette.applications import Starlette

from .._extras import extra
from .._forks import LoopFiles, at_fork
from ..engine import Engine
from ..errors import ConfigurationError
from .app import create_app
from .auth import LOOPBACK
from .logs import configure

with extra("server", "september_engine.http.serve"):
    from hypercorn.asyncio import serve
    from hypercorn.config import Config, Sockets
    from hypercorn.typing import ASGIFramework

__all__ = ["serve_engine"]

FOLD_SECONDS = 3.0
"""How long the server may take to stop once the turns are drained; connections that are still open are then cut."""

CUTS = 10
"""How often a tenth of a second is given to what was cut."""

BACKLOG = 1024

HEADER_SECONDS = 5.0
"""How long a connection may take for a whole request line and headers, and how long it may be idle between two."""

SILENCE_MS = 30_000
"""How long a connection may take nothing of what was sent, until the kernel ends it: Hypercorn itself would wait."""

logger = logging.getLogger(__name__)


def serve_engine(engine: Engine, *, host: str = "127.0.0.1", port: int = 8000, warnings: Iterable[str] = ()) -> int:
    """Serve an engine that is not open yet until a signal; returns the exit code.

    Port 0 takes a free one: the line on stdout names it. It runs its own event loop and logs to stderr, `warnings`
    first.

    Raises `ConfigurationError` for an address that cannot be bound and for a public one without a key, and what
    opening the engine raises.
    """
    configure(engine.settings)
    for warning in warnings:
        logger.warning(warning)
    with _bind(host, port) as listener:
        address, actual = listener.getsockname()[:2]
        public = not ipaddress.ip_address(address.partition("%")[0]).is_loopback
        if public and engine.settings.key_hash is None:
            raise ConfigurationError(
                f"{host} can be reached from outside this machine, and no key is set. Set ENGINE_API_KEY (or "
                "ENGINE_KEY_HASH), or bind 127.0.0.1."
            )
        shown = f"[{address}]" if ":" in address else address
        anyio.run(_serve, engine, listener, f"http://{shown}:{actual}")
    return 0


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"The port must be from 0 to 65535, not {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"The address {host}:{port} cannot be used: {error}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MS)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"The address {host}:{port} cannot be bound: {error}.") from None
    return listener


async def _serve(engine: Engine, listener: socket.socket, url: str) -> None:
    asyncio.get_running_loop().set_exception_handler(_unhandled)
    inherited = _Inherited(asyncio.get_running_loop())
    at_fork(inherited)
    stop, patience = anyio.Event(), anyio.CancelScope()
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with engine:
            bound = url.removeprefix("http://").rpartition(":")[0]
            app = create_app(engine, keyless_hosts={*LOOPBACK, bound} if engine.settings.key_hash is None else ())
            listener.listen(BACKLOG)
            _announce(engine, url)
            async with anyio.create_task_group() as group:
                group.start_soon(_listen, app, _config(listener), stop, patience, group.cancel_scope)
                group.start_soon(_end, signals, engine, stop, patience)
    if left := await _cut():
        logger.warning("stopped, without waiting for what does not stop", extra={"extra": {"tasks": left}})
        sys.stdout.flush()
        os._exit(0)  # the loop would wait for them for ever; everything that counts is in the log and closed
    logger.info("stopped")


async def _cut() -> list[str]:
    """End what is left: a connection whose client does not read holds on through one cancel, but not two.

    Returns the names of what takes no notice at all, such as an async tool that swallows its cancellation.
    """
    me = asyncio.current_task()
    for _ in range(CUTS):
        if not (left := asyncio.all_tasks() - {me}):
            return []
        for task in left:
            task.cancel()
        done, _ = await asyncio.wait(left, timeout=0.1)
        for task in done:
            _ = task.cancelled() or task.exception()  # how it took being cut is nobody's concern
    return sorted(task.get_name() for task in asyncio.all_tasks() - {me})


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connection that was cut or broke is not a fault, though asyncio takes it for one."""
    error = context.get("exception")
    if not isinstance(error, asyncio.CancelledError) and not (isinstance(error, OSError) and "transport" in context):
        loop.default_exception_handler(context)


async def _listen(
    app: Starlette, config: Config, stop: anyio.Event, patience: anyio.CancelScope, until: anyio.CancelScope
) -> None:
    """Run Hypercorn in a task of its own: it leaves the task it ran in half cancelled."""
    try:
        with patience:
            await serve(cast("ASGIFramework", app), config, shutdown_trigger=stop.wait, mode="asgi")
    finally:
        until.cancel()


async def _end(
    signals: AsyncIterator[signal.Signals], engine: Engine, stop: anyio.Event, patience: anyio.CancelScope
) -> None:
    """Wait for a signal, drain the engine, then let the server stop; the next signal is the end."""
    received = await anext(signals)
    seconds = engine.settings.drain_seconds
    logger.info("stopping", extra={"extra": {"signal": received.name, "drain_seconds": seconds}})
    async with anyio.create_task_group() as group:
        group.start_soon(_end_now, signals)
        await engine.drain(seconds)
        patience.deadline = anyio.current_time() + FOLD_SECONDS
        stop.set()


async def _end_now(signals: AsyncIterator[signal.Signals]) -> None:
    received = await anext(signals)
    logger.warning("stopping at once", extra={"extra": {"signal": received.name}})
    os._exit(128 + received)


class _Config(Config):
    """Hypercorn's, but for sockets that commands such as `os.system` would inherit: they would keep the port."""

    def create_sockets(self) -> Sockets:
        """The sockets to listen on."""
        sockets = super().create_sockets()
        for each in (*sockets.secure_sockets, *sockets.insecure_sockets, *sockets.quic_sockets):
            each.set_inheritable(False)
        return sockets


class _Inherited(LoopFiles):
    """In a child of a fork: neither the port, nor the connections, nor how the server takes signals.

    A signal would not end the child, but be told to the server, through a pipe that both have.
    """

    def give_up(self) -> None:
        """Called in the child."""
        super().give_up()
        with suppress(ValueError):  # not in the main thread, where Python has that differently
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)


def _config(listener: socket.socket) -> Config:
    config = _Config()
    config.bind = f"fd://{listener.detach()}"
    config.backlog = BACKLOG
    config.graceful_timeout = FOLD_SECONDS / 2
    config.keep_alive_timeout = HEADER_SECONDS
    config.include_server_header = False
    config.errorlog = logging.getLogger(f"{__package__}.server")
    config.errorlog.setLevel(logging.WARNING)
    return config


def _announce(engine: Engine, url: str) -> None:
    """One line on stdout for people and for scripts, and the same in the log."""
    model, key = engine.model_name, engine.settings.key_hash is not None
    sys.stdout.write(f"September Engine serves on {url} (model: {model}, key: {'required' if key else 'none'})\n")
    sys.stdout.flush()
    logger.info("serving", extra={"extra": {"url": url, "model": model, "key": key}})
    if model == "offline":
        logger.warning("The offline model answers, by simple rules: set ANTHROPIC_API_KEY for Claude.")
