from __future__ import annotations

import base64
import copy
from typing import Any

import msgspec
import pytest

from september_engine import BlockingEngine, Settings, TurnResult, Usage, tool
from september_engine._notebook import Requests, turn_card
from september_engine._turn.facts import TurnStarted
from september_engine._turn.limits import Limits
from september_engine.errors import TurnFailed
from september_engine.events import HitlRequest
from september_engine.messages import Content
from september_engine.models.prices import Price, PriceList
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.tools.ask_user import ask_user
from tests._context.pictures import document, image, jpeg, png, url
from tests.engines import Bench, until


@tool(requires_permission=True)
async def send(text: str, count: int) -> str:
    """Send it."""
    return "sent"


async def test_what_waits_shows_itself_with_the_call_that_answers_it() -> None:
    tricky = "<script>alert(1)</script>\u202e\x1b[2K"
    script = turn(call("send", text=tricky, count=2), call("ask_user", question="Which <b>night</b>?"))
    async with Bench().running(ScriptedModel([script]), tools=[send, ask_user]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
        requests = await engine.pending()
        shown = requests._repr_html_()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[2K" in shown
        assert "<script>" not in shown
        assert "<th>count</th><td><pre>2</pre></td>" in shown
        assert "<th>always</th><td>allow send: every call</td>" in shown
        assert "Which &lt;b&gt;night&lt;/b&gt;?" in shown
        for request in requests:
            assert f"request_id=&#x27;{request.request_id}&#x27;)" in shown
        assert shown.count("or &quot;no&quot;") == 1


def test_nothing_waits() -> None:
    assert Requests()._repr_html_() == "<p>Nothing waits for a person.</p>"


async def test_a_turn_shows_its_images_its_words_and_what_tools_drew(bench: Bench) -> None:
    @tool
    async def draw() -> list[Any]:
        """Draw."""
        return [image(png(7, 7))]

    model = ScriptedModel([call("draw", id="c"), say("Two <b>charts</b>.")])
    async with bench.running(model, tools=[draw]) as engine:
        media: list[Any] = [jpeg(3, 2), document(), url("https://e.org/<a>.png")]
        one = engine.execute("What <is> it?", task_id="t", media=media)
        assert one._repr_html_() == "<p>The turn has not begun.</p>"
        await one
        shown = one._repr_html_()
    assert shown.count("<img ") == 2
    assert f'src="data:image/jpeg;base64,{base64.b64encode(jpeg(3, 2)).decode()}"' in shown
    assert f"data:image/png;base64,{base64.b64encode(png(7, 7)).decode()}" in shown
    assert 'alt="image/jpeg, 3 × 2, ' in shown
    assert "application/pdf, 9 bytes" in shown
    assert "https://e.org/&lt;a&gt;.png" in shown
    assert "What &lt;is&gt; it?" in shown
    assert "Two &lt;b&gt;charts&lt;/b&gt;." in shown


async def test_what_a_turn_came_to_shows_the_same_and_what_it_cost(bench: Bench) -> None:
    prices = PriceList({"scripted": Price(input=1, output=1)})
    used = turn(say("I <see>."), usage=Usage(input_tokens=1_200, output_tokens=34))
    async with bench.running([used], prices=prices) as engine:
        result = await engine.execute("Look", task_id="t", media=[png(7, 7)])
    shown = result._repr_html_()
    assert f"data:image/png;base64,{base64.b64encode(png(7, 7)).decode()}" in shown
    assert "Look" in shown and "I &lt;see&gt;." in shown
    assert shown.endswith("<p><small>end_turn, 1,200 tokens in, 34 out, 0.001234 USD</small></p>")
    # what is only for a notebook is no part of the value
    again = msgspec.convert(msgspec.json.decode(msgspec.json.encode(result)), TurnResult[None])
    assert again == result == copy.copy(result)
    assert "I &lt;see&gt;." in again._repr_html_() and "<img" not in again._repr_html_()
    assert "card" not in repr(result)
    unknown = msgspec.structs.replace(result, cost_usd=None)
    assert "cost unknown" in unknown._repr_html_()


async def test_a_turn_that_failed_says_why() -> None:
    async with Bench().running([]) as engine:
        one = engine.execute("Hi", task_id="t")
        with pytest.raises(TurnFailed):
            await one
        assert "script" in one._repr_html_()


async def test_a_card_holds_so_much_and_names_what_is_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("september_engine._notebook.CARD_CHARS", 50)
    async with Bench().running([say("I see.")]) as engine:
        one = engine.execute("Look", task_id="t", media=[png(3, 2), png(4, 2)])
        await one
        shown = one._repr_html_()
    assert shown.count("<img ") == 1
    assert "<small>image/png, 4 × 2, 33 bytes</small>" in shown


def test_without_await_a_turn_shows_the_same() -> None:
    with BlockingEngine(":memory:", model=ScriptedModel([say("I see.")]), settings=Settings()) as engine:
        one = engine.execute("Look", task_id="t", media=[png()])
        assert "<img " in one.result()._repr_html_()
        assert "<img " in one._repr_html_()


def test_a_media_type_cannot_break_out_of_its_place() -> None:
    source = {"type": "stored", "sha256": "s", "media_type": 'image/png"><script>', "width": 1, "height": 1, "bytes": 1}
    fact = TurnStarted(
        at=0,
        turn_id="turn",
        task_id="t",
        message_id="m",
        content=[{"type": "image", "source": source}],
        prefix="p",
        limits=Limits(),
    )
    shown = turn_card([fact], lambda sha256: "AAAA")
    assert "<script" not in shown and "<img" not in shown


def test_a_content_shows_itself() -> None:
    shown = Content(media_type="image/png", data=png(2, 2))._repr_mimebundle_()
    assert shown["image/png"] == base64.b64encode(png(2, 2)).decode()
    words = "<Content application/pdf, 1,200 bytes>"
    assert Content(media_type="application/pdf", data=b" " * 1200)._repr_mimebundle_() == {"text/plain": words}
