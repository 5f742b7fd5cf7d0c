"""Images and documents in a turn: files that are read, contents stored once, and nothing unusable in the log."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine import Limits, ToolResult, tool
from september_engine._media.files import read_media
from september_engine.errors import (
    ConfigurationError,
    EngineClosed,
    InvalidRequest,
    MessageNotFound,
    ModelError,
    TaskBusy,
    TaskNotFound,
)
from september_engine.errors import TurnFailed as TurnFailedError
from september_engine.models.scripted import ScriptedModel, call, fail, say
from september_engine.store.sqlite import SQLiteStore
from september_engine.tools.read_file import read_file_tool
from september_engine.tools.workspace import Workspace
from tests._context.pictures import document, gif, image, jpeg, png, url, webp
from tests._media.files import noise, opened, pdf, picture
from tests.engines import Bench, FlakyStore, careful, soon, ticks, until

TEXT = {"type": "text", "text": "What is it?"}
DIGEST = hashlib.sha256(png()).hexdigest()


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    path = tmp_path / "chart.png"
    path.write_bytes(png())
    return path


def sent(model: ScriptedModel, request: int = 0, message: int = 0) -> Any:
    return model.requests[request].prompt.messages[message]["content"]


async def test_a_file_is_read_and_sent_and_its_content_is_given_back(bench: Bench, chart: Path) -> None:
    model = ScriptedModel([say("A chart.")])
    async with bench.running(model) as engine:
        await engine.execute("What is it?", task_id="t", media=[chart, png(), document()], direct=True)
        assert sent(model) == [image(), image(), document(), TEXT]
        [asked, _] = await engine.messages("t")
        source = asked.content[0]["source"]
        assert source == {
            "type": "stored",
            "media_type": "image/png",
            "sha256": DIGEST,
            "bytes": 33,
            "width": 1,
            "height": 1,
        }
        assert (await engine.media("t", source["sha256"])).data == png()
        with pytest.raises(TaskNotFound):
            await engine.media("other", DIGEST)
        with pytest.raises(MessageNotFound):
            await engine.media("t", "0" * 64)


async def test_a_file_that_changes_or_goes_is_still_what_it_was(bench: Bench, chart: Path) -> None:
    model = ScriptedModel([say("A chart."), say("Still that.")])
    async with bench.running(model) as engine:
        await engine.execute("What is it?", task_id="t", media=[chart])
        chart.unlink()
    async with bench.running(model) as engine:  # nothing is in memory
        await engine.execute("And now?", task_id="t")
    assert sent(model, 1) == sent(model, 0) == [image(), TEXT]


async def test_who_gives_an_answer_again_is_shown_the_picture_again(bench: Bench, chart: Path) -> None:
    model = ScriptedModel([say("Some."), say('{"value":3}')])
    async with bench.running(model) as engine:
        result = await engine.execute("How many?", task_id="t", media=[chart], output=int)
    assert result.output == 3
    assert [block["type"] for block in sent(model, 1)] == ["image", "text"]
    assert sent(model, 1) == sent(model, 0)


async def test_a_picture_that_no_budget_is_left_for_does_not_stay_in_the_thread(bench: Bench, chart: Path) -> None:
    async with bench.running([say("Hello")], limits=Limits(task_tokens=1)) as engine:
        await engine.execute("Hi", task_id="t")
        with pytest.raises(TurnFailedError, match="task_tokens"):
            await engine.execute("What is it?", task_id="t", media=[chart])
    model = ScriptedModel([say("Hello again")])
    async with bench.running(model) as engine:
        await engine.execute("Hi again", task_id="t")
    assert not any("source" in block for message in range(3) for block in sent(model, 0, message))


async def test_a_turn_returns_at_once_and_a_file_that_cannot_be_used_comes_from_its_first_use(tmp_path: Path) -> None:
    store = FlakyStore()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.bmp").write_bytes(b"BM\0\0")
    async with Bench(store=store).running([say("Hello")]) as engine:
        for name, says in (("none.png", "cannot be read"), ("pipe", "is not a file"), ("a.bmp", "is not a PNG")):
            one = engine.execute("Look", task_id="t", media=[tmp_path / name])
            with pytest.raises(InvalidRequest, match=says) as refused:
                await one
            assert str(tmp_path / name) in refused.value.message
            assert refused.value.details["index"] == 0
        assert store.appended == []
        assert (await engine.execute("Hi", task_id="t")).text == "Hello"


async def test_a_file_that_does_not_come_holds_up_neither_the_end_nor_other_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def waits(one: Any) -> Any:
        answers.wait(20)
        return read_media(one)

    monkeypatch.setattr("september_engine._wiring.read_media", waits)
    async with Bench().running([say("Hello")]) as engine:
        stuck = engine.execute("Look", task_id="stuck", media=[tmp_path / "slow.png"])
        with pytest.raises(TaskBusy):
            engine.execute("Look", task_id="stuck")
        assert (await engine.execute("Hi", task_id="t")).text == "Hello"
        await engine.aclose(drain=0)
        with pytest.raises(EngineClosed):
            await stuck
    answers.set()


async def test_text_is_no_path() -> None:
    async with Bench().running([]) as engine:
        with pytest.raises(InvalidRequest, match=r"media\[0\]: is text; for a file, pass its path as in Path\("):
            engine.execute("Look", task_id="t", media=["chart.png"])  # type: ignore[list-item]


async def test_one_content_is_stored_once_and_goes_with_its_last_task(tmp_path: Path, chart: Path) -> None:
    bench = Bench(store=SQLiteStore(tmp_path / "brain.sqlite"))
    async with bench.running(lambda request: say("A chart.")) as engine:
        for task_id in ("one", "two", "one"):
            await engine.execute("What is it?", task_id=task_id, media=[chart, image()])
        await engine.delete("one")
        assert (await engine.media("two", DIGEST)).data == png()
        await engine.delete("two")
    with closing(sqlite3.connect(tmp_path / "brain.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM blobs").fetchone() == (0,)


async def test_no_fact_and_no_event_holds_a_content() -> None:
    @tool
    async def draw() -> list[Any]:
        """Draw."""
        return [{"type": "text", "text": "Drawn:"}, image(png(7, 7))]

    store = FlakyStore()
    model = ScriptedModel([call("draw", id="c"), say("There it is.")])
    async with Bench(store=store).running(model, tools=[draw]) as engine:
        turn = engine.execute("Draw.", task_id="t", media=[jpeg(), document()])
        shown = await until(turn, ToolResult)
        await turn
        assert shown.output[1]["source"]["type"] == "stored"
        digest = shown.output[1]["source"]["sha256"]
        assert (await engine.media("t", digest)).data == png(7, 7)
    bodies = [row.body for batch in store.appended for row in batch.facts]
    bodies += [row.body for batch in store.appended for row in batch.events]
    assert not any(b'"base64"' in body or b'"data"' in body for body in bodies)
    with_blobs = [len(batch.blobs) for batch in store.appended if batch.blobs]
    assert with_blobs == [2, 1]
    [result] = sent(model, 1, 2)
    assert result["content"][1] == image(png(7, 7))


async def test_a_picture_with_an_answer_reaches_the_model(bench: Bench, chart: Path) -> None:
    model = ScriptedModel([call("careful", id="c"), say("I see.")])
    async with bench.running(model, tools=[careful]) as engine:
        turn = engine.execute("go", task_id="t")
        while not await engine.pending():
            await ticks(1)
        with pytest.raises(InvalidRequest, match=r"none\.png cannot be read"):
            await engine.respond("t", "yes", content_blocks=[chart.with_name("none.png")])
        await engine.respond("t", "yes", content_blocks=[chart, {"type": "text", "text": "Like this."}])
        await turn
        assert (await engine.media("t", DIGEST)).data == png()
    assert sent(model, 1, 2)[1:] == [image(), {"type": "text", "text": "Like this."}]


async def test_an_edit_brings_its_own_and_a_retry_keeps_what_was_there(bench: Bench, chart: Path) -> None:
    model = ScriptedModel(lambda request: say("A picture."))
    async with bench.running(model) as engine:
        first = await engine.execute("What is it?", task_id="t", media=[chart])
        missing = chart.with_name("none.png")
        await engine.execute("unused", task_id="t", retry_message_id=first.user_message_id, media=[missing])
        await engine.execute("What is it?", task_id="t", edit_message_id=first.user_message_id, media=[gif()])
    assert sent(model, 1) == sent(model, 0) == [image(), TEXT]
    assert sent(model, 2) == [image(gif(), "image/gif"), TEXT]


# ── nothing unusable enters the log (J11) ────────────────────────────────────────────────────────────────────────────

UNUSABLE: dict[str, Any] = {
    "a bomb": image(png(60_000, 60_000)),
    "a bomb as WebP": image(webp(16_384, 16_384), "image/webp"),
    "no size": image(png(0, 0)),
    "svg": image(b"<svg/>", "image/svg+xml"),
    "svg that says it is PNG": image(b"<svg/>"),
    "another type than it says": image(jpeg()),
    "a document that is none": document(b"MZ"),
    "an internal address": url("https://169.254.169.254/latest/meta-data"),
    "this machine": url("https://localhost/a.png"),
    "a file by its URL": url("file:///etc/passwd"),
    "no base64": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}},
    "a reference of its own": {
        "type": "image",
        "source": {"type": "stored", "media_type": "image/png", "sha256": DIGEST},
    },
}


@pytest.mark.parametrize("block", UNUSABLE.values(), ids=UNUSABLE)
async def test_what_cannot_be_used_is_refused_before_anything_is_stored(block: Any) -> None:
    store = FlakyStore()
    async with Bench(store=store).running([]) as engine:
        with pytest.raises(InvalidRequest) as refused:
            await engine.execute("Look", task_id="t", media=[image(), block])
        assert refused.value.details["index"] == 1
        assert refused.value.status == 400
        await ticks(20)
        assert store.appended == []


@pytest.mark.parametrize("block", UNUSABLE.values(), ids=UNUSABLE)
async def test_of_a_tool_it_is_said_and_not_stored(block: Any) -> None:
    @tool
    async def draw() -> Any:
        """Draw."""
        return [block, {"type": "text", "text": "Drawn."}]

    model = ScriptedModel([call("draw", id="c"), say("I see nothing.")])
    store = FlakyStore()
    async with Bench(store=store).running(model, tools=[draw]) as engine:
        await engine.execute("Draw.", task_id="t")
    assert not any(batch.blobs for batch in store.appended)
    assert "left out" in json.dumps(sent(model, 1, 2)) or isinstance(sent(model, 1, 2)[0]["content"], str)


HEADERS = st.sampled_from(
    [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X", b"%PDF-"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(bytes.__add__, HEADERS, st.binary(max_size=40)))
async def test_whatever_the_bytes_the_turn_is_refused_or_its_request_is_valid(data: bytes) -> None:
    """A scripted model refuses what the API would, and the log is checked at the end."""
    async with Bench().running([say("Hm.")]) as engine:
        try:
            await engine.execute("Look", task_id="t", media=[data])
        except InvalidRequest:
            assert await engine.tasks() == []


# ── switches ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_photograph_that_is_too_large_is_made_smaller_where_that_is_wanted(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(picture(9000, 90, "image/jpeg"))
    block = image(photo.read_bytes(), "image/jpeg")

    @tool
    async def shoot() -> list[Any]:
        """Take a photograph."""
        return [block]

    async with Bench().running([], tools=[shoot]) as engine:
        for given in (photo, block):
            with pytest.raises(InvalidRequest, match="9000 x 90 pixels"):
                await engine.execute("Look", task_id="t", media=[given])
    model = ScriptedModel([call("shoot", id="c"), say("A wall.")])
    async with Bench().running(model, tools=[shoot], media_image_resize_enabled=True) as engine:
        await engine.execute("Look", task_id="t", media=[photo, block])
        [asked, _, results, _] = await engine.messages("t")
        sources = [each["source"] for each in (*asked.content[:2], *results.content[0]["content"])]
        assert [(one["width"], one["height"]) for one in sources] == [(2000, 20)] * 3
        assert len({one["sha256"] for one in sources}) == 1
        assert opened((await engine.media("t", sources[0]["sha256"])).data).size == (2000, 20)


async def test_a_large_picture_in_a_folder_is_looked_at_as_the_setting_says(tmp_path: Path) -> None:
    (tmp_path / "wall.png").write_bytes(noise(1500, 1200))
    read_file = read_file_tool(Workspace(tmp_path))
    for shrinks, kind in ((False, "text"), (True, "image")):
        model = ScriptedModel([call("read_file", path="wall.png"), say("A wall.")])
        async with Bench().running(model, tools=[read_file], media_image_resize_enabled=shrinks) as engine:
            await engine.execute("Look", task_id="t")
            [_, _, results, _] = await engine.messages("t")
        shown = results.content[0]["content"][1]
        assert shown["type"] == kind
        assert shrinks or shown["text"].startswith("[image left out: source.data is ")


async def test_looking_in_full_refuses_what_headers_do_not_tell() -> None:
    async with Bench().running([], media_presend_validation_enabled=True) as engine:
        for index, data in enumerate((png(5, 5), b"%PDF-1.7\n")):
            with pytest.raises(InvalidRequest, match=rf"media\[{index}\]: the content is damaged or cut off"):
                await engine.execute("Look", task_id="t", media=[*[picture()] * index, data])


async def test_a_switch_without_its_package_is_told_when_the_engine_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="september-engine"):
        Bench().engine(media_image_resize_enabled=True)


REFUSED = fail(ModelError("messages.0.content.0: could not process image", bad_history=True, suspect="media"))


async def test_a_picture_that_the_provider_refuses_ends_the_turn_and_is_left_out(bench: Bench) -> None:
    model = ScriptedModel([*[REFUSED] * 4, say("Hello.")])
    async with bench.running(model) as engine:
        with pytest.raises(TurnFailedError, match="was left out"):
            await engine.execute("What is it?", task_id="t", media=[png()])
        assert (await engine.execute("Hi", task_id="t")).text == "Hello."
    assert all(sent(model, request)[0] == image() for request in range(4))
    assert sent(model, 4) == [{"type": "text", "text": "Hi"}]


async def test_with_recovery_the_turn_goes_on_without_it(bench: Bench) -> None:
    model = ScriptedModel([REFUSED, say("I cannot see it.")])
    async with bench.running(model, media_error_recovery_enabled=True) as engine:
        assert (await engine.execute("What is it?", task_id="t", media=[png()])).text == "I cannot see it."
    assert [block["type"] for block in sent(model, 1)] == ["text", "text"]


async def test_pictures_of_before_never_keep_a_thread_from_going_on(bench: Bench) -> None:
    model = ScriptedModel([say("A chart."), REFUSED, say("Another one.")])
    async with bench.running(model) as engine:
        await engine.execute("What is it?", task_id="t", media=[png()])
        assert (await engine.execute("And this?", task_id="t", media=[gif()])).text == "Another one."
    assert [block["type"] for block in sent(model, 2, 0)] == ["text", "text"]
    assert sent(model, 2, 2)[0] == image(gif(), "image/gif")


async def test_a_replay_shows_no_content(bench: Bench) -> None:
    async with bench.running([say("A chart.")]) as engine:
        await engine.execute("What is it?", task_id="t", media=[png()])
        events = await soon(engine.replay(task_id="t"))
    assert "base64" not in repr(events)


async def test_as_many_pages_as_the_provider_takes_are_not_refused_on_a_guess(bench: Bench) -> None:
    model = ScriptedModel([say("A long paper.")], context_window=200_000)
    async with bench.running(model) as engine:
        assert (await engine.execute("Sum it up.", task_id="t", media=[pdf(100)])).text == "A long paper."


async def test_more_pages_than_one_request_takes_are_refused_and_old_ones_give_way_to_new_ones(bench: Bench) -> None:
    model = ScriptedModel([say("One."), say("Another.")], context_window=None)
    async with bench.running(model) as engine:
        with pytest.raises(InvalidRequest, match=r"media\[1\]: there are 700 pages of PDF; at most 600"):
            await engine.execute("Compare.", task_id="t", media=[pdf(350), pdf(350)])
        await engine.execute("The first.", task_id="t", media=[pdf(350)])
        await engine.execute("The second.", task_id="t", media=[pdf(350)])
    kinds = [block["type"] for message in model.requests[-1].prompt.messages for block in message["content"]]
    assert kinds.count("document") == 1
    assert kinds[-2] == "document"
