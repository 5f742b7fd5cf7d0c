"""A turn in a notebook's cell: shown once, kept up to date there, and answered with a click."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import IPython
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from september_engine import BlockingEngine, Engine, Settings, tool
from september_engine.errors import TurnFailed
from september_engine.events import HitlRequest, TextDelta
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.streams import Turn
from september_engine.tools.ask_user import ask_user
from tests.engines import Bench, careful, echo, held, ticks, until
from tests.examples.test_notebook import ThisPython
from tests.programs import environment

PAGE = "text/markdown"


class Kernel:
    """What IPython is to us inside of a kernel."""

    def __init__(self) -> None:
        self.kernel = object()
        self.published: list[dict[str, Any]] = []
        self.display_pub: Any = self

    def publish(self, **message: Any) -> None:
        self.published.append(message)

    def outputs(self) -> dict[str, dict[str, str]]:
        """What the notebook shows now, by display id; each was shown once before it was updated."""
        shown: dict[str, dict[str, str]] = {}
        for message in self.published:
            id = message.get("transient", {}).get("display_id", "")
            assert message.get("update", False) is (id in shown)
            shown[id] = message["data"]
        return shown

    def page(self) -> str:
        [page] = [data[PAGE] for data in self.outputs().values() if data.get(PAGE)]
        return page


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    return kernel


@pytest.fixture(params=["buttons", "no buttons"])
def buttons(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    if request.param == "no buttons":
        monkeypatch.setitem(sys.modules, "anywidget", None)
    yield request.param == "buttons"


async def shows(kernel: Kernel, bench: Bench, words: str) -> None:
    while words not in kernel.page():
        await bench.clock.advance(1)
        await ticks(1)


async def test_a_turn_is_shown_once_and_updated_in_its_place(kernel: Kernel, buttons: bool) -> None:
    bench, gate = Bench(), anyio.Event()

    @tool
    async def weigh(what: str) -> str:
        """Weigh it."""
        return "<3> kilos ![x](https://e.org)"

    script = [
        turn(say("I **weigh** it <script>."), call("weigh", what="it")),
        call("careful", at="home\n\n[x](javascript:1)"),
        say("Three kilos.", hold=gate, at=1),
    ]
    async with bench.running(script, tools=[weigh, careful]) as engine:
        one = engine.execute("How <b>heavy</b>?", task_id="t")
        one._ipython_display_()
        assert kernel.page() == "The turn has not begun."
        await shows(kernel, bench, "engine.respond")
        page = kernel.page()
        assert page.startswith(
            "> How &lt;b>heavy&lt;/b>?\n\nI **weigh** it &lt;script>.\n\n<p>● <code>weigh(what=it)</code> → "
        )
        assert "<p>● <code>careful(at=home &#91;x&#93;(javascript:1))</code> …</p>" in page
        assert "![" not in page and "](" not in page
        assert "home&#10;&#10;&#91;x&#93;(javascript:1)</pre>" in page
        await engine.respond("t", "yes")
        await shows(kernel, bench, "Three")
        assert "Three kilos" not in kernel.page() and "engine.respond" not in kernel.page()
        gate.set()
        await one
        assert kernel.page().endswith("did home &#91;x&#93;(javascript:1)</p>\n\nThree kilos.")
        assert len(kernel.outputs()) == (2 if buttons else 1)
        assert all("widget" not in kind for data in kernel.outputs().values() for kind in data)
        before = len(kernel.published)
        for _ in range(10):
            await bench.clock.advance(1)
            await ticks(5)
        assert len(kernel.published) == before


async def test_updates_are_no_more_than_a_few_in_a_second(kernel: Kernel) -> None:
    bench, gate = Bench(), anyio.Event()
    async with bench.running([say("word " * 200, hold=gate, at=190)]) as engine:
        one = engine.execute("go", task_id="t")
        one._ipython_display_()
        await until(one, TextDelta)
        await ticks(300)
        assert len(kernel.published) <= 4
        gate.set()
        await one
        assert kernel.page().count("word") == 200


async def test_a_click_answers_and_the_buttons_go(kernel: Kernel) -> None:
    bench = Bench()
    script = [turn(call("careful"), call("ask_user", question="<b>Which?</b>")), say("Done.")]
    async with bench.running(script, tools=[careful, ask_user]) as engine:
        one = engine.execute("go", task_id="t")
        one._ipython_display_()
        await until(one, HitlRequest)
        await shows(kernel, bench, "Which?")
        widget = one._displays[0]._buttons
        asked = {request["kind"]: request for request in widget.requests}
        widget._handle_custom_msg({"what": "is this?"}, [])
        widget._handle_custom_msg({"request_id": asked["permission"]["request_id"], "answer": "perhaps"}, [])
        widget._handle_custom_msg({"request_id": asked["permission"]["request_id"], "answer": "yes"}, [])
        widget._handle_custom_msg({"request_id": asked["question"]["request_id"], "answer": "This."}, [])
        widget._handle_custom_msg({"request_id": asked["question"]["request_id"], "answer": "That."}, [])
        assert (await one).text == "Done."
        assert widget.requests == []


async def test_a_turn_that_has_ended_or_failed_is_shown_as_it_is(kernel: Kernel, bench: Bench) -> None:
    async with bench.running([say("Hello.")]) as engine:
        one = engine.execute("go", task_id="t")
        await one
        one._ipython_display_()
        assert kernel.page() == "> go\n\nHello."
        kernel.published.clear()
        failed = engine.execute("go", task_id="t")
        failed._ipython_display_()
        with pytest.raises(TurnFailed):
            await failed
        assert kernel.page().endswith("The script has no further answer: all 1 were given.")
        kernel.published.clear()
        never = engine.execute("go", task_id="t", edit_message_id="unknown")
        never._ipython_display_()
        await shows(kernel, bench, "unknown")
    one._ipython_display_()


async def test_outside_of_a_kernel_it_is_shown_in_another_form(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.running(echo) as engine:
        one = engine.execute("<b>Hi</b>", task_id="t")
        await one
        with pytest.raises(NotImplementedError):
            one._ipython_display_()
        bundle = one._repr_mimebundle_()
        assert bundle["text/plain"] == repr(one)
        assert bundle[PAGE] == "> &lt;b>Hi&lt;/b>\n\nYou said: &lt;b>Hi&lt;/b>"
        assert "&lt;b&gt;Hi" in bundle["text/html"] and "<b>" not in bundle["text/html"]


def test_without_await_it_is_the_same_and_the_last_state_is_there_with_the_result(kernel: Kernel) -> None:
    model = ScriptedModel([call("careful"), say("Done.")])
    with BlockingEngine(":memory:", model=model, tools=[careful], settings=Settings()) as engine:
        one = engine.execute("go", task_id="t")
        one._ipython_display_()
        said: list[str] = []

        def answers(request: HitlRequest) -> str:
            said.append(request.question)
            return "yes"

        one.result(on_request=answers)
        assert kernel.page().endswith("did it</p>\n\nDone.")
        assert one._repr_mimebundle_()["text/plain"] == repr(one)


def test_who_waits_in_a_cell_is_told_in_the_cell(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    with BlockingEngine(
        ":memory:", model=ScriptedModel([call("careful")]), tools=[careful], settings=Settings()
    ) as engine:
        one = engine.execute("go", task_id="t")
        for event in one:
            if isinstance(event, HitlRequest):
                break

        def publish(**message: Any) -> None:
            kernel.published.append(message)
            engine.cancel("t")

        kernel.display_pub = SimpleNamespace(publish=publish)
        with pytest.raises(TurnFailed):
            one.result()
    [message] = kernel.published
    assert "engine.respond(" in message["data"]["text/html"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("way", ["result", "read"])
async def test_a_cell_whose_wait_is_cancelled_says_that_the_turn_goes_on(
    kernel: Kernel, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    async def read(one: Turn[None]) -> None:
        async for _ in one:
            pass

    async with Engine(":memory:", model=ScriptedModel([held("Hello you", at=1)]), settings=Settings()) as engine:
        one = engine.execute("go", task_id="t")
        work: Coroutine[Any, Any, object] = one.result() if way == "result" else read(one)
        waits = asyncio.create_task(work)
        async for event in one:
            if isinstance(event, TextDelta):
                break
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        said = capsys.readouterr().err
        assert "the turn on task 't' goes on" in said
        assert "await engine.turn('t')" in said
        assert "await engine.cancel('t')" in said
        await engine.cancel("t")
        with pytest.raises(TurnFailed):
            await one
    assert capsys.readouterr().err == ""


CELLS = [
    """
import asyncio, os, signal, threading
from september_engine import BlockingEngine, Engine, Settings, tool
from september_engine.models.scripted import ScriptedModel, call, say, turn as answer

@tool(requires_permission=True)
def send(text: str) -> str:
    "Send it."
    return "sent"

def script():
    asks = answer(say("I **ask** <b>."), call("send", text="Hi"))
    return [asks, say("Done."), say("long", hold=asyncio.Event()), say("ok")]

blocking = BlockingEngine(":memory:", model=ScriptedModel(script(), strict=False), tools=[send], settings=Settings())
engine = await Engine(":memory:", model=ScriptedModel(script(), strict=False), tools=[send], settings=Settings()).open()
""",
    "first = blocking.execute('go', task_id='t')\nfirst",
    "second = engine.execute('go', task_id='t')\nsecond",
    "print(first.result(on_request=lambda request: 'yes').text)",
    "print((await second.result(on_request=lambda request: 'yes')).text)",
    """
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    blocking.execute("Write a book.", task_id="t").result()
except KeyboardInterrupt:
    print(blocking.execute("Never mind.", task_id="t").text)
""",
    """
try:
    book = engine.execute("Write a book.", task_id="t")
    await book.started()
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    await book
except asyncio.CancelledError:
    print(await engine.cancel("t"))
    print((await engine.execute("Never mind.", task_id="t")).text)
""",
    "blocking.close()\nawait engine.aclose()",
]


@pytest.mark.filterwarnings("default")  # what Jupyter's own machinery warns of is not ours
def test_in_a_real_kernel_the_file_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**environment(), "IPYTHONDIR": str(tmp_path / "ipython")})
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS])  # type: ignore[no-untyped-call]
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=60, kernel_manager_class=ThisPython, resources=folder).execute()
    _, first, second, one, two, interrupted, cancelled, _ = notebook.cells
    for cell in (first, second):
        [page, buttons] = [output["data"] for output in cell.outputs]
        assert page[PAGE] == "> go\n\nI **ask** &lt;b>.\n\n<p>● <code>send(text=Hi)</code> → sent</p>\n\nDone."
        assert buttons == {"text/plain": "", PAGE: ""}
    assert one.outputs[0]["text"] == two.outputs[0]["text"] == "I **ask** <b>.\n\nDone.\n"
    assert interrupted.outputs[0]["text"] == "ok\n"
    told, printed = cancelled.outputs
    assert "await engine.turn('t')" in told["text"]
    assert printed["text"] == "True\nok\n"
