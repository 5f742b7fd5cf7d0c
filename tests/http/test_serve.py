"""The server as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import attrs
import httpx2
import pytest

import september_engine
from september_engine.http.serve import HEADER_SECONDS, _bind

from ..sandbox.backends import sandbox_or_skip
from .server import Frame, answer_of, parsed

SOURCE = Path(september_engine.__file__).parents[1]
SERVE = ("-m", "september_engine", "serve", "--port", "0")
FORKING = str(Path(__file__).with_name("forking_server.py"))
SLOW = (str(Path(__file__).with_name("slow_server.py")),)
GOOD = {"message": "Hello", "task_id": "t"}


@attrs.define
class Child:
    """A server in a process of its own."""

    process: anyio.abc.Process
    line: str
    url: str
    log: bytes = b""

    async def wait(self, *, at_most: float) -> int:
        """The exit code; the log is then whole."""
        assert self.process.stderr is not None
        with anyio.fail_after(at_most):
            async for chunk in self.process.stderr:
                self.log += chunk
            return await self.process.wait()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("ENGINE_", "SEPTEMBER_", "LLM_"))}
    return {**mine, "PYTHONPATH": str(SOURCE), "SQLITE_DB_PATH": str(folder / "brain.sqlite"), **variables}


@asynccontextmanager
async def child(*arguments: str, folder: Path, python: str = sys.executable, **variables: str) -> AsyncIterator[Child]:
    process = await anyio.open_process([python, *arguments], cwd=folder, env=environment(folder, **variables))
    try:
        line = b""
        with anyio.fail_after(30):
            while not line.endswith(b"\n"):
                assert process.stdout is not None
                line += await process.stdout.receive()
        found = re.search(r"http://\S+", line.decode())
        assert found is not None
        yield Child(process, line.decode(), found[0])
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


def refused(*arguments: str, folder: Path, **variables: str) -> str:
    """What a start that must fail says."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


async def read_until(chunks: AsyncIterator[str], text: str) -> str:
    seen = ""
    while text not in seen:
        seen += await anext(chunks)
    return seen


# ── the start ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_any_setting_it_serves_the_offline_model_to_this_machine_and_says_so(tmp_path: Path) -> None:
    async with child(*SERVE, folder=tmp_path) as served, httpx2.AsyncClient(base_url=served.url) as client:
        health = await client.get("/health")
        frames = parsed((await client.post("/execute", json=GOOD)).text)
        rebound = await client.get("/tasks", headers={"Host": "evil.example"})
        served.process.send_signal(signal.SIGTERM)
        code = await served.wait(at_most=10)
    assert (code, health.status_code, health.json()["status"]) == (0, 200, "ok")
    assert "offline" in served.line
    assert answer_of(frames).startswith("Offline model:")
    assert rebound.status_code == 403
    serving, warned = served.lines[:2]
    assert serving["extra"] == {"url": served.url, "model": "offline", "key": False}
    assert (warned["level"], "ANTHROPIC_API_KEY" in warned["message"]) == ("WARNING", True)
    assert [line["message"] for line in served.lines[-2:]] == ["stopping", "stopped"]


async def test_with_allowed_roots_it_works_there_and_keeps_its_own_files_to_itself(tmp_path: Path) -> None:
    sandbox_or_skip("auto")
    (tmp_path / "more").mkdir()
    (tmp_path / "poem.txt").write_text("Tyger Tyger, burning bright")
    roots = f"{tmp_path},{tmp_path / 'more'}"
    async with child(*SERVE, folder=tmp_path, ALLOWED_ROOTS=roots) as served:
        async with httpx2.AsyncClient(base_url=served.url) as client:

            async def answer(message: str) -> str:
                body = {"message": message, "task_id": "work"}
                return answer_of(parsed((await client.post("/execute", json=body)).text))

            assert "burning bright" in await answer("Run `cat poem.txt`")
            assert "burning bright" in await answer("read the file poem.txt")
            secret = await answer("Run `cat brain.sqlite`")
            assert "bash gave" in secret
            assert "SQLite format" not in secret
            assert "not found" not in await answer(f"Run `touch {tmp_path}/more/x`")
    assert (tmp_path / "more" / "x").exists()


async def test_with_a_key_it_serves_everybody_who_has_it(tmp_path: Path) -> None:
    arguments = (*SERVE, "--host", "0.0.0.0")
    async with child(*arguments, folder=tmp_path, ENGINE_API_KEY="s3cret-key") as served:
        async with httpx2.AsyncClient(base_url=served.url.replace("0.0.0.0", "127.0.0.1")) as client:
            stranger = await client.get("/tasks")
            headers = {"X-Engine-Key": "s3cret-key", "Host": "engine.example.org"}
            guest = await client.get("/tasks", headers=headers)
        served.process.send_signal(signal.SIGINT)
        code = await served.wait(at_most=10)
    assert (code, stranger.status_code, guest.status_code) == (0, 401, 200)
    assert b"s3cret-key" not in served.log


@pytest.mark.parametrize("host", ["127.0.0.3", "::1", "localhost"])
async def test_every_address_of_this_machine_is_answered_by_its_own_name(tmp_path: Path, host: str) -> None:
    async with child(*SERVE, "--host", host, folder=tmp_path) as served:
        async with httpx2.AsyncClient(base_url=served.url) as client:
            assert (await client.get("/tasks")).status_code == 200


def test_a_public_address_without_a_key_is_refused(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        said = refused(*SERVE, "--host", host, folder=tmp_path)
        assert "ENGINE_API_KEY" in said
    assert not (tmp_path / "brain.sqlite").exists()


def test_an_address_that_cannot_be_bound_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(*SERVE[:-1], port, folder=tmp_path)
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert "cannot be used" in refused(*SERVE, "--host", "nowhere.invalid", folder=tmp_path)
    assert "99999" in refused(*SERVE[:-1], "99999", folder=tmp_path)


async def test_a_file_that_another_server_has_open_is_told_in_one_line(tmp_path: Path) -> None:
    async with child(*SERVE, folder=tmp_path):
        said = await anyio.to_thread.run_sync(lambda: refused(*SERVE, folder=tmp_path))
    assert "brain.sqlite" in said


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Only Linux ends such connections.")
def test_the_kernel_ends_a_connection_whose_other_side_takes_nothing() -> None:
    with _bind("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_setting_that_cannot_be_used_is_told_before_anything_is_served(tmp_path: Path) -> None:
    assert "SEPTEMBER_DRAIN_SECONDS" in refused(*SERVE, folder=tmp_path, SEPTEMBER_DRAIN_SECONDS="soon")


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def newer_python() -> str | None:
    """A newer Python than this one that has what the server needs, if there is one: servers end differently there.

    It is given the package's folder, so an installed package is not for it: its neighbours are built for this Python.
    """
    if SOURCE.name == "site-packages":
        return None
    for minor in range(19, sys.version_info.minor, -1):
        found = shutil.which(os.environ.get(f"SEPTEMBER_TEST_PYTHON_3_{minor}", f"python3.{minor}"))
        needed = "import hypercorn, starlette, msgspec, aiosqlite, attrs, docstring_parser"
        if (
            found
            and subprocess.run([found, "-c", needed], capture_output=True, timeout=60, check=False).returncode == 0
        ):
            return found
    return None


@pytest.fixture(params=["this Python", "a newer Python"])
def python(request: pytest.FixtureRequest) -> str:
    if request.param == "this Python":
        return sys.executable
    if (found := newer_python()) is None:
        pytest.skip("no newer Python with the server's dependencies; set SEPTEMBER_TEST_PYTHON_3_13 to one")
    return found


async def test_a_turn_that_ends_in_the_drain_is_streamed_to_its_end(tmp_path: Path, python: str) -> None:
    async with child(*SLOW, folder=tmp_path, python=python) as served:
        async with httpx2.AsyncClient(base_url=served.url) as client:
            async with client.stream("POST", "/execute", json=GOOD) as response:
                chunks = response.aiter_text()
                seen = await read_until(chunks, "Before.")
                served.process.send_signal(signal.SIGTERM)
                refusal = await until_refused(client)
                health = await client.get("/health")
                messages = await client.get("/tasks/t/messages")
                assert served.process.stdin is not None
                await served.process.stdin.send(b"go on\n")
                async for chunk in chunks:
                    seen += chunk
        code = await served.wait(at_most=5)
    frames = parsed(seen)
    assert (code, messages.status_code) == (0, 200)
    assert (refusal.json()["error"], health.status_code) == ("SHUTTING_DOWN", 503)
    assert answer_of(frames) == "Before.After."
    assert frames[-1].data["phase"] == "completed"


async def until_refused(client: httpx2.AsyncClient) -> httpx2.Response:
    """A signal takes a moment to arrive; from then on no turn is taken."""
    with anyio.fail_after(10):
        while True:
            response = await client.post("/execute", json={"message": "", "task_id": "other"})
            health = await client.get("/health")
            if health.status_code == 503:
                return await client.post("/execute", json={"message": "Hello", "task_id": "other"})
            assert response.status_code == 400


async def test_a_turn_that_outlasts_the_drain_is_left_and_its_stream_goes_on_after_the_restart(
    tmp_path: Path, python: str
) -> None:
    async with child(*SLOW, folder=tmp_path, python=python, SEPTEMBER_DRAIN_SECONDS="0.3") as served:
        async with httpx2.AsyncClient(base_url=served.url) as client:
            async with (
                client.stream("POST", "/execute", json=GOOD) as response,
                client.stream("GET", "/execute/replay?task_id=t") as second,
            ):
                chunks, others = response.aiter_text(), second.aiter_text()
                seen = await read_until(chunks, "Before.")
                also = await read_until(others, "Before.")
                began = time.monotonic()
                served.process.send_signal(signal.SIGTERM)
                async for chunk in chunks:
                    seen += chunk
                async for chunk in others:
                    also += chunk
        code = await served.wait(at_most=10)
        took = time.monotonic() - began
    shown = parsed(seen)
    assert parsed(also) == shown
    assert code == 0
    assert took < 0.3 + 5
    rest = await after_restart(tmp_path, shown)
    assert (rest[-2].data["phase"], rest[-1].data["error"]) == ("errored", "INTERRUPTED")


async def after_restart(folder: Path, shown: list[Frame]) -> list[Frame]:
    async with child(*SERVE, folder=folder) as served, httpx2.AsyncClient(base_url=served.url) as client:
        whole = parsed((await client.get("/execute/replay?task_id=t")).text)
        rest = parsed((await client.get(f"/execute/replay?task_id=t&after={shown[-1].id}")).text)
        again = await client.post("/execute", json=GOOD)
    assert shown + rest == whole
    assert again.status_code == 200
    return rest


async def test_neither_a_client_that_does_not_read_nor_one_that_does_not_finish_holds_the_end_up(
    tmp_path: Path, python: str
) -> None:
    async with child(*SLOW, folder=tmp_path, python=python, SEPTEMBER_DRAIN_SECONDS="0.3") as served:
        port = int(served.url.rpartition(":")[2])
        async with (
            await anyio.connect_tcp("127.0.0.1", port) as deaf,
            await anyio.connect_tcp("127.0.0.1", port) as slow,
            await anyio.connect_tcp("127.0.0.1", port) as silent,
        ):
            body = json.dumps({"message": "much", "task_id": "t"})
            head = f"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            await deaf.send((head + body).encode())
            assert b" 200 " in await deaf.receive(100)
            await slow.send(head.encode() + b"{")
            await silent.send(b"GET /health HTTP/1.1\r\n")
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            code = await served.wait(at_most=15)
            took = time.monotonic() - began
    assert code == 0
    assert took < 0.3 + 5
    assert [line for line in served.lines if line["level"] == "ERROR"] == []


async def test_a_client_that_drips_its_headers_is_closed_before_it_is_through(tmp_path: Path) -> None:
    seconds = 1.5
    shorter = f"from september_engine.http import serve; serve.HEADER_SECONDS = {seconds}"
    program = f"{shorter}; from september_engine.__main__ import main; raise SystemExit(main())"
    async with child("-c", program, *SERVE[2:], folder=tmp_path) as served:
        port = int(served.url.rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as dripping:
            began, said = time.monotonic(), b""
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(seconds + 9):
                for letter in itertools.cycle(b"GET /health HTTP/1.1\r\nX-Slow: " + b"a" * 10_000):
                    await dripping.send(bytes([letter]))
                    with anyio.move_on_after(0.1):
                        said += await dripping.receive()
            took = time.monotonic() - began
    assert b" 200 " not in said
    assert seconds - 1 < took < seconds + 8
    assert 1 < HEADER_SECONDS <= 10  # what it is, where a test cannot wait


async def test_a_tool_that_does_not_stop_does_not_keep_the_process(tmp_path: Path, python: str) -> None:
    async with child(*SLOW, folder=tmp_path, python=python, SEPTEMBER_DRAIN_SECONDS="0.3") as served:
        async with httpx2.AsyncClient(base_url=served.url) as client:
            async with client.stream("POST", "/execute", json={**GOOD, "message": "stubborn"}) as response:
                chunks = response.aiter_text()
                seen = await read_until(chunks, "tool_call\n")
                began = time.monotonic()
                served.process.send_signal(signal.SIGTERM)
                async for chunk in chunks:
                    seen += chunk
        code = await served.wait(at_most=10)
        took = time.monotonic() - began
    assert (code, served.lines[-1]["level"]) == (0, "WARNING")
    assert took < 0.3 + 5
    assert (await after_restart(tmp_path, parsed(seen)))[-1].data["error"] == "INTERRUPTED"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_what_a_tool_started_keeps_neither_the_port_nor_a_connection(tmp_path: Path, end: signal.Signals) -> None:
    pids: list[int] = []
    try:
        async with child(FORKING, "0", folder=tmp_path) as served, httpx2.AsyncClient(base_url=served.url) as client:
            port = int(served.url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as open_before:
                await open_before.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await open_before.receive()
                frames = parsed((await client.post("/execute", json=GOOD)).text)
                pids = next(frame.data["output"] for frame in frames if frame.event == "tool_result")
                served.process.send_signal(end)
                await served.wait(at_most=15)
                with anyio.fail_after(15), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    while True:
                        await open_before.receive()
        async with child(FORKING, str(port), folder=tmp_path) as again:
            for pid in pids:
                os.kill(pid, signal.SIGTERM)  # raises where it is gone: they have lived through this
            async with httpx2.AsyncClient(base_url=again.url) as client:
                assert (await client.get("/health")).status_code == 200
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with child(*SLOW, folder=tmp_path, SEPTEMBER_DRAIN_SECONDS="600") as served:
        async with httpx2.AsyncClient(base_url=served.url) as client:
            async with client.stream("POST", "/execute", json=GOOD) as response:
                seen = await read_until(response.aiter_text(), "Before.")
                served.process.send_signal(signal.SIGTERM)
                await until_refused(client)
                served.process.send_signal(signal.SIGTERM)
                code = await served.wait(at_most=5)
    assert code == 128 + signal.SIGTERM
    shown = parsed(seen[: seen.rindex("\n\n") + 2])
    assert (await after_restart(tmp_path, shown))[-1].data["error"] == "INTERRUPTED"
