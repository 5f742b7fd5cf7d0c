"""The ways people read our streams, each with its own parser, against a real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx2
import pytest

from september_engine import tool
from september_engine.events import timestamp
from september_engine.models.scripted import ScriptedModel, call, hold, say, think, turn

from ..http.server import KEY, Served, answer_of, engine_with, parsed, serving

SAID = (
    'Line one\nline two\r\nCR \r alone, "quotes", back\\slash, \u2028 \u2029 \u0085 \x0b \x1c, '
    'é 漢 😀, data: {"a":1}\n\nevent: x\n\n'
)
"""Everything that a parser could take for the end of a line, of a frame, or of a name."""

Seen: TypeAlias = list[tuple[str, dict[str, Any]]]
Reader: TypeAlias = Callable[[Served, str, dict[str, Any] | None], Awaitable[Seen]]


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word}:\n\nfound"


def model() -> ScriptedModel:
    return ScriptedModel([turn(think("Hm.\n\nI see."), call("lookup", word="a\r\n\r\nb")), say(SAID)], piece=7)


async def by_lines(served: Served, path: str, body: dict[str, Any] | None) -> Seen:
    """Line by line; `data:` lines matter, and the `event:` line before them."""
    seen: Seen = []
    name = ""
    async with stream(served, path, body) as response:
        async for line in response.aiter_lines():
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                seen.append((name, json.loads(line[5:])))
    return seen


async def by_blank_lines(served: Served, path: str, body: dict[str, Any] | None) -> Seen:
    """A buffer that is split at two line feeds, whatever the chunks are."""
    seen: Seen = []
    buffer = b""
    async with stream(served, path, body) as response:
        async for chunk in in_pieces(response.aiter_bytes()):
            buffer += chunk
            while b"\n\n" in buffer:
                frame, _, buffer = buffer.partition(b"\n\n")
                fields = dict(line.split(": ", 1) for line in frame.decode().split("\n"))
                seen.append((fields["event"], json.loads(fields["data"])))
    assert buffer == b""
    return seen


async def by_a_library(served: Served, path: str, body: dict[str, Any] | None) -> Seen:
    """A parser of the WHATWG's event streams that is not ours."""
    method = "GET" if body is None else "POST"
    async with served.client.sse(path, method=method, json=body) as source:
        return [(event.event, json.loads(event.data)) async for event in source]


READERS: dict[str, Reader] = {
    "lines": by_lines,
    "blank lines": by_blank_lines,
    "a library": by_a_library,
}


def stream(served: Served, path: str, body: dict[str, Any] | None) -> Any:
    return served.client.stream("GET" if body is None else "POST", path, json=body)


async def in_pieces(chunks: AsyncIterator[bytes], size: int = 3) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def held_against_the_script(seen: Seen) -> None:
    assert "".join(data["text"] for name, data in seen if name == "text_delta") == SAID
    assert "".join(data["text"] for name, data in seen if name == "thinking_delta") == "Hm.\n\nI see."
    (called,) = [data for name, data in seen if name == "tool_call"]
    (result,) = [data for name, data in seen if name == "tool_result"]
    assert (called["tool"], called["input"]) == ("lookup", {"word": "a\r\n\r\nb"})
    assert (result["tool_call_id"], result["output"]) == (called["tool_call_id"], "a\r\n\r\nb:\n\nfound")
    assert (seen[0][0], seen[0][1]["phase"]) == ("thread_lifecycle", "started")
    assert (seen[-1][0], seen[-1][1]["phase"]) == ("thread_lifecycle", "completed")
    assert [name for name, data in seen if "text" in data] == [
        name for name, _ in seen if name in ("text_delta", "thinking_delta")
    ]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
async def test_every_way_of_reading_sees_the_same_turn_and_its_replay(read: Reader) -> None:
    async with serving(engine_with(model(), tools=[lookup])) as served:
        seen = await read(served, "/execute", {"message": "Hello", "task_id": "t"})
        replayed = await read(served, "/execute/replay?task_id=t&after=0", None)
    held_against_the_script(seen)
    assert replayed == seen


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
async def test_a_turn_that_fails_is_read_to_its_error(read: Reader) -> None:
    async with serving(engine_with(ScriptedModel([]))) as served:
        seen = await read(served, "/execute", {"message": "Hello", "task_id": "t"})
    assert [name for name, _ in seen[-2:]] == ["thread_lifecycle", "error"]
    assert seen[-1][1]["error"] == "LLM_PROVIDER_ERROR"


async def test_an_event_source_goes_on_where_it_was_by_the_last_id_it_saw() -> None:
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(say("One."), hold(gate), say("Two."))]))) as served:
        await served.engine.execute("Hello", task_id="t").started()
        url = "/execute/replay?task_id=t&after=0"
        first: list[httpx2.ServerSentEvent] = []
        async with served.client.sse(url) as source:
            async for event in source:
                first.append(event)
                if event.event == "text_delta":
                    break
        gate.set()
        async with served.client.sse(url, headers={"Last-Event-ID": first[-1].id}) as source:
            second = [event async for event in source]
        whole = await served.replay("task_id=t")
    assert [int(event.id) for event in first + second] == [frame.id for frame in whole]
    assert all(timestamp(int(event.id)).startswith("20") for event in first)


async def test_curl_shows_the_stream_as_it_comes() -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(say("Before."), hold(gate), say("After."))]))) as served:
        body = json.dumps({"message": "Hello", "task_id": "t"})
        command = [curl, "-N", "-sS", "--fail", f"{served.url}/execute", "-H", f"X-Engine-Key: {KEY}", "-d", body]
        async with await anyio.open_process(command) as process:
            assert process.stdout is not None
            seen = b""
            while b"Before." not in seen:
                seen += await process.stdout.receive()
            assert b"After." not in seen
            gate.set()
            async for chunk in process.stdout:
                seen += chunk
            assert await process.wait() == 0
    text = seen.decode()
    assert text.startswith("id: ")
    assert '\nevent: text_delta\ndata: {"text":"' in text
    assert '"phase":"completed"' in text.split("\n\n")[-2]
    assert text.endswith("}\n\n")


async def test_curl_sends_a_large_body_after_asking_whether_it_may(tmp_path: Path) -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    (tmp_path / "body.json").write_text(json.dumps({"message": "x" * 3_000_000, "task_id": "t"}))
    async with serving(engine_with()) as served:
        command = [curl, "-N", "-sS", f"{served.url}/execute", "-H", "Expect: 100-continue"]
        command += ["-H", f"X-Engine-Key: {KEY}", "--data-binary", f"@{tmp_path / 'body.json'}"]
        done = await anyio.run_process(command)
    assert done.stdout.endswith(b"\n\n")
    assert b'"phase":"completed"' in done.stdout


async def test_fetch_in_node_reads_the_turn_and_its_replay() -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    script = str(Path(__file__).with_name("fetch.mjs"))
    async with serving(engine_with(model(), tools=[lookup])) as served:
        body = json.dumps({"message": "Hello", "task_id": "t"})
        live = await anyio.run_process([node, script, f"{served.url}/execute", KEY, body])
        replayed = await anyio.run_process([node, script, f"{served.url}/execute/replay?task_id=t&after=0", KEY])
        whole = await served.replay("task_id=t")
    seen = json.loads(live.stdout)
    assert (seen["status"], seen["left"], seen["text"]) == (200, "", SAID)
    assert seen["events"] == [{"id": frame.id, "event": frame.event} for frame in whole]
    assert json.loads(replayed.stdout) == seen


async def test_a_client_that_speaks_http_2_gets_a_long_stream_whole() -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    text = "x" * 3_000_000
    async with serving(engine_with(ScriptedModel([say(text)], piece=50_000))) as served:
        command = [curl, "-N", "-sS", "--http2-prior-knowledge", "-w", "%{stderr}%{http_version}"]
        command += [f"{served.url}/execute", "-H", f"X-Engine-Key: {KEY}"]
        done = await anyio.run_process([*command, "-d", json.dumps({"message": "Hello", "task_id": "a/b"})])
        task = await anyio.run_process([*command[:-3], f"{served.url}/tasks/a%2Fb", *command[-2:]])
    assert (done.stderr, task.stderr) == (b"2", b"2")
    assert answer_of(parsed(done.stdout.decode())) == text
    assert json.loads(task.stdout)["task_id"] == "a/b"
