"""What a child of a fork keeps of an engine: nothing. And what it may do with one: be told so.

Each program runs in a process of its own: a fork of the tests would take the tests along.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from september_engine import BlockingEngine, Settings
from september_engine._forks import at_fork, blank, not_at_fork, open_files
from september_engine.errors import StoreInUse
from september_engine.models.scripted import ScriptedModel

from .engines import echo
from .programs import environment

PRELUDE = """
import asyncio, ctypes, os, socket, subprocess, sys, time
from multiprocessing import get_context
from concurrent.futures import ProcessPoolExecutor

from september_engine import BlockingEngine, Engine, Settings
from september_engine._forks import LoopFiles, at_fork
from september_engine.models.scripted import ScriptedModel, say

def made(path="brain.sqlite"):
    return BlockingEngine(path, model=ScriptedModel(lambda request: say("ok")), settings=Settings())

"""

STARTS = """
pool = ProcessPoolExecutor(1, get_context("fork"))
pool.submit(os.getpid).result()
forked = get_context("fork").Process(target=time.sleep, args=(60,))
forked.start()
served = get_context("forkserver").Process(target=time.sleep, args=(60,))
served.start()
inheriting = subprocess.Popen(["sleep", "60"], close_fds=False)
os.system("sleep 60 & echo $! > pid")
plain = os.fork() or (time.sleep(60), os._exit(0))
c = ctypes.CDLL(None)
unseen = c.fork() or (c.sleep(60), c._exit(0))
print(forked.pid, served.pid, inheriting.pid, int(open("pid").read()), plain, unseen, flush=True)
"""
"""Everything that starts a process; the last of them without Python's knowledge."""


@contextmanager
def running(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that runs; it and all that it has started are gone afterwards."""
    indented = "".join(f"    {line}\n" for line in program.splitlines())
    (folder / "program.py").write_text(f"{PRELUDE}if __name__ == '__main__':\n{indented}")
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def engine_on(path: Path) -> BlockingEngine:
    return BlockingEngine(path, model=ScriptedModel(echo), settings=Settings())


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_what_a_tool_started_does_not_keep_the_database(tmp_path: Path, end: str) -> None:
    program = (
        f"engine = made()\nengine.execute('Hi', task_id='t').text\n{STARTS}"
        "sys.stdin.readline()\nengine.close()\nprint('closed', flush=True)\ntime.sleep(60)\n"
    )
    with running(program, tmp_path) as process:
        children = [int(pid) for pid in line_of(process).split()]
        with pytest.raises(StoreInUse) as refused:
            engine_on(tmp_path / "brain.sqlite").open()
        assert refused.value.details["pid"] == process.pid
        if end == "closed":
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert line_of(process) == "closed"
        else:
            process.kill()
            process.wait(20)
        with engine_on(tmp_path / "brain.sqlite") as engine:
            assert engine.execute("Hi", task_id="t").text == "You said: Hi"
        for child in children:
            os.kill(child, 0)  # raises where it is gone: they have lived through all of this


USES = """
engine = made()
engine.execute("Hi", task_id="t").text
turn, inner, store = engine.execute("Hi", task_id="t2"), engine._engine, engine._engine._store
turn.text
if (child := os.fork()) == 0:
    mine = made("child.sqlite")
    for use in (
        lambda: engine.execute("Hi", task_id="t"),
        turn.result,
        lambda: asyncio.run(inner.tasks()),
        lambda: asyncio.run(inner.open()),
        lambda: asyncio.run(inner.aclose()),
        lambda: asyncio.run(store.tasks()),
        lambda: asyncio.run(store.trim(ended_before=0)),
        lambda: made().open(),
        lambda: mine.execute("Hi", task_id="t").text,
        lambda: [each.task_id for each in mine.tasks()],
        lambda: asyncio.run(inner.health()).status,
    ):
        try:
            print(use(), flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error.message.split(',')[0]}", flush=True)
    mine.close()
    kept = []
    for file in os.listdir("/dev/fd"):
        try:
            kept.append(os.readlink(f"/dev/fd/{file}"))
        except OSError:
            pass
    print([file for file in kept if "sqlite" in file or "socket" in file], flush=True)
    sys.exit(0)  # ends as a program does, with everything collected
print(os.waitpid(child, 0)[1], sorted(os.listdir()), flush=True)
print(engine.execute("Hi", task_id="t").text, flush=True)
engine.close()
"""


def test_a_child_is_told_and_harms_nothing_even_as_it_ends(tmp_path: Path) -> None:
    with running(USES, tmp_path) as process:
        closed = "EngineClosed: This {} was opened before the process forked"
        for what in ["engine"] * 5 + ["store"] * 2:
            assert line_of(process) == closed.format(what)
        assert line_of(process).startswith("StoreInUse: ")
        for said in ("ok", "['t']", "closed", "[]"):
            assert line_of(process) == said
        files = [f"brain.sqlite{suffix}" for suffix in ("", "-shm", "-wal", ".lock")]
        assert line_of(process) == f"0 {[*files, 'child.sqlite', 'child.sqlite.lock', 'program.py']}"
        assert line_of(process) == "ok"
    with engine_on(tmp_path / "brain.sqlite") as engine:
        assert {task.task_id for task in engine.tasks()} == {"t", "t2"}


INSIDE = """
async def main():
    hold = asyncio.Event()
    async with Engine("brain.sqlite", model=ScriptedModel([say("Hello", hold=hold)]), settings=Settings()) as engine:
        turn = engine.execute("Hi", task_id="t")
        await turn.started()
        if (child := os.fork()) == 0:
            for use in (turn, engine.replay(task_id="t"), engine.tasks(), engine.open()):
                work = use.started() if hasattr(use, "started") else use
                try:
                    work.send(None)
                except Exception as error:
                    print(type(error).__name__, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        hold.set()
        print((await turn).text, flush=True)

asyncio.run(main())
"""


def test_a_child_that_goes_on_in_the_middle_of_the_engines_loop_is_told(tmp_path: Path) -> None:
    program = INSIDE.replace('engine.replay(task_id="t"), ', "")  # made in the child, it is refused at once
    with running(program, tmp_path) as process:
        assert [line_of(process) for _ in range(4)] == ["EngineClosed"] * 3 + ["Hello"]


LISTENS = """
async def main():
    server = await asyncio.start_server(lambda reader, writer: accepted.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not accepted:
        await asyncio.sleep(0)
    files = LoopFiles(asyncio.get_running_loop())
    at_fork(files)
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    server.close()
    accepted[0].close()
    assert await reader.read() == b""  # the connection has ended, though the child lives
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        again.listen()
    writer.close()
    print("free", flush=True)

accepted = []
asyncio.run(main())
"""


def test_all_that_a_loop_of_ours_has_open_is_given_up(tmp_path: Path) -> None:
    with running(LISTENS, tmp_path) as process:
        assert line_of(process) == "free"


class Owner:
    def give_up(self) -> None: ...


def test_what_is_registered_is_held_weakly() -> None:
    owner = Owner()
    at_fork(owner)
    at_fork(owner)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    other = Owner()
    at_fork(other)
    not_at_fork(other)
    not_at_fork(other)


def test_a_blanked_descriptor_is_open_and_leads_nowhere() -> None:
    reads, writes = os.pipe()
    identity = dict(open_files())[writes]
    blank([writes, 987_654])
    assert dict(open_files())[writes] != identity
    assert os.read(reads, 1) == b""  # nobody is left who could write
    os.write(writes, b"nothing comes of it")
    os.close(reads)
    os.close(writes)
