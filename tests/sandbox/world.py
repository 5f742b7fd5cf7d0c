"""A host with something to lose, and the probes let loose in it: a program that runs them in one sandbox, as one user.

    python -m tests.sandbox.world SANDBOX USER PYTHON

USER is "root" or a number; PYTHON is one that this user can run. Prints what each probe got, as JSON by its name.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import anyio

from september_engine.sandbox.base import Job, Sandbox
from september_engine.sandbox.bubblewrap import Bubblewrap
from september_engine.sandbox.landlock import Landlock
from september_engine.sandbox.unconfined import Unconfined
from september_engine.tools.bash import PROTECTED

from . import probes

SEEN_ON_HOST = (
    "plants_a_hook",
    "plants_a_hook_where_no_folder_is",
    "plants_a_repository",
    "changes_the_config",
    "exchanges_the_config",
    "exchanges_the_repository",
    "points_to_another_repository",
    "links_to_another_repository",
    "points_to_another_common_folder",
)

libc = ctypes.CDLL(None, use_errno=True)


def become(user: str) -> None:
    """Be this user for good, and as open to others of it as any program of theirs."""
    if user != "root":
        os.setgroups([])
        os.setresgid(int(user), int(user), int(user))
        os.setresuid(int(user), int(user), int(user))
        libc.prctl(4, 1, 0, 0, 0)


def sandbox_named(name: str, python: str) -> Sandbox:
    readable = [str(Path(python).parent.parent)]
    match name:
        case "bubblewrap":
            return Bubblewrap(readable=readable)
        case "landlock":
            return Landlock(readable=readable, python=python)
        case _:
            return Unconfined(python=python)


PROBES = Path(probes.__file__).read_bytes()
"""Read while we are who we were: another user may not be let into this checkout."""


@contextmanager
def folders() -> Iterator[Path]:
    """Where the host keeps its things."""
    base = Path(os.path.realpath(tempfile.mkdtemp(prefix="september-world-", dir="/tmp")))
    base.chmod(0o755)
    try:
        outside, work = base / "outside", base / "work"
        for folder in (outside, work, work / "free", work / "state", work / "keys", work / "repositories"):
            folder.mkdir()
        for path in (outside / "secret", outside / "victim", outside / "removable"):
            path.write_text("secret")
            path.chmod(0o600)
        for path in (work / ".env", work / "state" / "brain.sqlite", work / "state" / "brain.sqlite-wal"):
            path.write_text("secret")
        (work / "keys" / "key").write_text("secret")
        for name in SEEN_ON_HOST:
            repository(work / "repositories" / name)
        (work / "free" / "probes.py").write_bytes(PROBES)
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


def repository(folder: Path) -> None:
    folder.mkdir()
    if folder.name == "plants_a_repository":
        return
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("[core]\n")
    if folder.name != "plants_a_hook_where_no_folder_is":
        (folder / ".git" / "hooks").mkdir()
        (folder / ".git" / "hooks" / "update").write_text("good")


def state_of(folder: Path) -> object:
    """All that git would trust here."""
    git = folder / ".git"
    kind = (git.is_symlink(), git.is_dir(), git.exists())
    return kind if not git.is_dir() else (kind, [content_of(folder / path) for path in PROTECTED])


def content_of(path: Path) -> object:
    if path.is_dir():
        return {each.name: content_of(each) for each in path.iterdir()}
    return path.read_text() if path.exists() else None


def look(folder: Path) -> dict[str, tuple[int, int, float]]:
    return {
        str(path): (status.st_mode, status.st_size, status.st_mtime)
        for path in sorted(folder.rglob("*"))
        for status in (path.lstat(),)
        if not path.is_socket()
    }


class Echo(asyncio.DatagramProtocol):
    """Answers whoever sends something."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(b"echo", addr)


@asynccontextmanager
async def services(base: Path) -> AsyncIterator[dict[str, object]]:
    """What listens on the host."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    abstract = f"september-{secrets.token_hex(8)}"
    unix, inside, datagrams = base / "outside" / "unix", base / "work" / "service", base / "outside" / "datagrams"
    loop = asyncio.get_running_loop()
    tcp = await asyncio.start_server(greet, "127.0.0.1", 0)
    others = [await asyncio.start_unix_server(greet, str(path)) for path in (unix, inside, f"\0{abstract}")]
    udp, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(datagrams))
        try:
            yield {
                "tcp": tcp.sockets[0].getsockname()[1],
                "udp": udp.get_extra_info("sockname")[1],
                "unix": str(unix),
                "unix_inside": str(inside),
                "abstract": abstract,
                "unix_datagrams": str(datagrams),
            }
        finally:
            udp.close()
            for server in (tcp, *others):
                server.close()


@contextmanager
def shared() -> Iterator[dict[str, object]]:
    """Memory and a queue that processes of the host share."""
    memory = libc.shmget(0, ctypes.c_size_t(4096), 0o1600)
    queue = f"september-{secrets.token_hex(8)}"
    opened = libc.mq_open(f"/{queue}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    try:
        yield {"shared_memory": memory, "queue": queue}
    finally:
        libc.shmctl(memory, 0, None)
        if opened >= 0:
            libc.mq_unlink(f"/{queue}".encode())


@contextmanager
def victims() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes of the same user that have nothing to do with the command."""
    started = {name: subprocess.Popen(["/bin/sleep", "60"]) for name in ("victim", "victim_of_signals")}
    try:
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.wait()


async def let_loose(sandbox: Sandbox, python: str) -> Mapping[str, str]:
    """Run all probes; what each of them got, "" where nothing."""
    engine = ctypes.create_string_buffer(b"a secret of the engine")
    with folders() as base, victims() as processes, shared() as kernel:
        async with services(base) as listening:
            work, outside = base / "work", base / "outside"
            world = {
                **listening,
                **kernel,
                **{name: process.pid for name, process in processes.items()},
                "name": sandbox.name,
                "work": str(work),
                "free": str(work / "free"),
                "outside": str(outside),
                "secret": str(outside / "secret"),
                "victim_file": str(outside / "victim"),
                "database": str(work / "state" / "brain.sqlite"),
                "keys": str(work / "keys"),
                "repositories": str(work / "repositories"),
                "engine": os.getpid(),
                "address": ctypes.addressof(engine),
            }
            repositories = [work / "repositories" / name for name in SEEN_ON_HOST]
            before, git_before = look(outside), [state_of(folder) for folder in repositories]
            outcome = await sandbox.run(
                Job(
                    argv=(python, "-I", "-S", str(work / "free" / "probes.py"), json.dumps(world)),
                    cwd=str(work / "free"),
                    environment={"PATH": "/usr/bin:/bin"},
                    writable=(str(work),),
                    protected=tuple(f"{folder}/{path}" for folder in repositories for path in PROTECTED),
                    hidden=(
                        *(str(work / name) for name in (".env", "keys", "service")),
                        *(f"{work}/state/brain.sqlite{suffix}" for suffix in ("", "-wal", "-shm", "-journal", ".lock")),
                    ),
                    seconds=60,
                    head=1 << 20,
                )
            )
            got: dict[str, str] = dict(map(json.loads, outcome.head.splitlines()))
            if outcome.exit_code:
                raise AssertionError(f"the probes did not run to their end: {outcome}")
            for folder, was in zip(repositories, git_before, strict=True):
                got[folder.name] = "" if state_of(folder) == was else "seen on the host"
            got["signals_by_asking_for_input"] = "" if processes["victim_of_signals"].poll() is None else "it is dead"
            got["the files of the host are as they were"] = "" if look(outside) == before else "they are not"
            return got


def main(name: str, user: str, python: str) -> None:
    anyio.run(anyio.sleep, 0)  # it loads the rest of itself when first used, from where this user may not read
    become(user)
    python = os.path.realpath(python)  # of an environment, what it is made from: the probes need no more
    print(json.dumps(asyncio.run(let_loose(sandbox_named(name, python), python))))


if __name__ == "__main__":
    main(*sys.argv[1:])
