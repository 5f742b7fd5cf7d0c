from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from september_engine.errors import ConfigurationError, EngineClosed, StoreCorrupt
from september_engine.events import Heartbeat, TextDelta, encode
from september_engine.http.sse import SEND_AT, SSEResponse, event_frame, frames
from september_engine.store.base import EventRow

from .server import parsed

texts = st.text(st.characters(exclude_categories=["Cs"]))


def row(ts: int, text: str = "x") -> EventRow:
    return EventRow(ts=ts, turn_id="turn_1", type="text_delta", body=encode(TextDelta(text=text)))


def test_a_frame_is_an_id_a_name_one_line_of_data_and_a_blank_line() -> None:
    assert b"".join(frames([row(1777293296123, "Hello")])) == (
        b'id: 1777293296123\nevent: text_delta\ndata: {"text":"Hello"}\n\n'
    )


def test_what_is_no_place_to_go_on_from_has_no_id() -> None:
    assert b"".join(frames([row(0)])) == b'event: text_delta\ndata: {"text":"x"}\n\n'
    assert event_frame(Heartbeat(timestamp="now")) == b'event: heartbeat\ndata: {"timestamp":"now"}\n\n'


def test_an_event_of_another_release_goes_out_as_it_was_stored() -> None:
    stored = EventRow(ts=7, turn_id="turn_1", type="dream", body=b'{"of":"sheep"}')
    assert b"".join(frames([stored])) == b'id: 7\nevent: dream\ndata: {"of":"sheep"}\n\n'


@given(st.lists(texts, max_size=20))
def test_whatever_is_said_the_frames_are_one_each_for_every_way_of_splitting(said: list[str]) -> None:
    sent = b"".join(frames([row(place + 1, text) for place, text in enumerate(said)]))
    read = parsed(sent.decode())
    assert [(frame.id, frame.data["text"]) for frame in read] == list(enumerate(said, 1))
    lines = [line for line in sent.decode().splitlines() if line.startswith("data:")]
    assert [json.loads(line[5:])["text"] for line in lines] == said


@given(st.lists(st.integers(0, 3 * SEND_AT), max_size=6))
def test_pages_are_cut_to_what_one_send_takes_and_nothing_is_lost_or_held_back(sizes: list[int]) -> None:
    rows = [row(place + 1, "x" * size) for place, size in enumerate(sizes)]
    parts = list(frames(rows))
    assert b"".join(parts) == b"".join(part for each in rows for part in frames([each]))
    assert all(part.endswith(b"\n\n") for part in parts)
    assert all(len(part) >= SEND_AT for part in parts[:-1])
    assert all(part.rpartition(b"id: ")[0].__len__() < SEND_AT for part in parts)


def test_a_page_of_small_events_is_one_send() -> None:
    assert len(list(frames([row(place + 1) for place in range(500)]))) == 1
    assert list(frames([])) == []


# ── the response ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Client:
    """What an ASGI server is to an application, by hand."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = anyio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def respond(pages: AsyncIterator[Sequence[EventRow]], client: Client, **options: Any) -> None:
    response = SSEResponse(pages, now=lambda: 1.5, headers={}, **options)
    await response({"type": "http", "method": "GET"}, client.receive, client.send)


async def test_each_page_is_sent_as_it_comes_and_an_empty_one_is_a_heartbeat() -> None:
    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        yield [row(1), row(2)]
        yield ()
        yield [row(3)]

    client = Client()
    await respond(pages(), client, first=event_frame(Heartbeat(timestamp="first")))
    start, *bodies = client.sent
    assert start["status"] == 200
    assert [len(parsed(body["body"].decode())) for body in bodies] == [1, 2, 1, 1, 0]
    assert [body.get("more_body", False) for body in bodies] == [True] * 4 + [False]
    assert parsed(bodies[2]["body"].decode())[0].data == {"timestamp": "1970-01-01T00:00:01.500Z"}


async def test_a_client_that_leaves_ends_a_stream_that_waits() -> None:
    waiting, left = anyio.Event(), anyio.Event()

    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        yield [row(1)]
        try:
            waiting.set()
            await anyio.sleep_forever()
        finally:
            left.set()

    client = Client()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(respond, pages(), client)
            await waiting.wait()
            client.gone.set()
    assert left.is_set()


async def test_a_client_that_leaves_ends_a_stream_whose_send_waits() -> None:
    class Stuck(Client):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if message.get("body"):
                self.gone.set()
                await anyio.sleep_forever()

    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        while True:
            yield [row(1)]

    client = Stuck()
    with anyio.fail_after(10):
        await respond(pages(), client)
    assert len(parsed(client.text)) == 1


async def test_a_client_that_does_not_read_is_cut_off_and_its_body_never_ends() -> None:
    class Stalled(Client):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if len(self.sent) == 4:
                await anyio.sleep_forever()

    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        for ts in range(1, 100):
            yield [row(ts)]

    client = Stalled()
    with anyio.fail_after(10):
        await respond(pages(), client, send_seconds=0.01)
    assert [frame.id for frame in parsed(client.text)] == [1, 2, 3]
    assert all(message.get("more_body", True) for message in client.sent)


async def test_a_connection_that_breaks_under_a_send_ends_its_stream_quietly(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Client):
        async def send(self, message: Message) -> None:
            if message.get("body"):
                raise TimeoutError(110, "Connection timed out")

    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        while True:
            yield [row(1)]

    with anyio.fail_after(10):
        await respond(pages(), Broken())
    assert "broke off" not in caplog.text


async def test_a_stream_that_has_nothing_to_say_for_long_is_not_cut_off() -> None:
    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        yield [row(1)]
        await anyio.sleep(0.1)
        yield [row(2)]

    client = Client()
    await respond(pages(), client, send_seconds=0.01)
    assert [frame.id for frame in parsed(client.text)] == [1, 2]
    assert client.sent[-1].get("more_body", False) is False


async def test_a_client_that_leaves_is_noticed_in_a_flood_of_pages() -> None:
    """Neither the pages nor the sends ever wait here: somebody must give the others a turn."""

    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        while True:
            yield [row(place + 1) for place in range(100)]

    client = Client()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(respond, pages(), client)
            while len(client.sent) < 3:
                await anyio.lowlevel.checkpoint()
            client.gone.set()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreCorrupt("A page fails its checksum."), "INTERNAL_ERROR"),
        (ValueError("a bug"), "INTERNAL_ERROR"),
        (ConfigurationError("No."), "INTERNAL_ERROR"),
        (EngineClosed("Another engine has the store now."), "SHUTTING_DOWN"),
    ],
)
async def test_a_stream_that_cannot_go_on_ends_with_an_error_event(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def pages() -> AsyncIterator[Sequence[EventRow]]:
        yield [row(1)]
        raise error

    client = Client()
    await respond(pages(), client)
    read = parsed(client.text)
    assert [frame.event for frame in read] == ["text_delta", "error"]
    assert (read[1].id, read[1].data["error"]) == (None, code)
    assert "a bug" not in client.text
    assert client.sent[-1].get("more_body", False) is False
    assert ("broke off" in caplog.text) == isinstance(error, ValueError)
