from __future__ import annotations

from september_engine import tool
from september_engine._notebook import Requests
from september_engine.events import HitlRequest
from september_engine.models.scripted import ScriptedModel, call, turn
from september_engine.tools.ask_user import ask_user
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
