"""Approval: a person says yes, no, or "always for this task"; a rule says no for good.

The model here follows a script. It proposes; what happens is decided by the rules and by the person.

It prints:

    empty {'folder': '/srv/books/2024'}
      ? May empty run with this input? It writes outside of the allowed folders: /srv/books/2024.
      ! no: 2024 is still open. Take 2014.
      = permission_denied: 2024 is still open. Take 2014.
    empty {'folder': '/srv/books/2014'}
      ? May empty run with this input? It writes outside of the allowed folders: /srv/books/2014.
      ! yes
      = /srv/books/2014 is empty
    empty {'folder': '/srv/ledger/2014'}
      = permission_denied: Not run: The ledger is kept for ever.
    send_mail {'text': '2014 is empty.', 'to': 'Ada'}
      ? May send_mail run with this input? send_mail needs a person's permission.
      ! yes, and always in this task (allow send_mail: every call)
      = sent to Ada
    send_mail {'text': '2014 is empty.', 'to': 'Bob'}
      = sent to Bob
    > The books of 2014 are empty, and Ada and Bob know.
    In another task:
    send_mail {'text': '2014 is empty.', 'to': 'Eve'}
      ? May send_mail run with this input? send_mail needs a person's permission.
      ! no
      = permission_denied: A person did not allow this.
    > Then I do not write to Eve.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import msgspec

from september_engine import Engine, ToolCall, ToolResult, tool
from september_engine.events import HitlRequest
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.permissions import Policy, Rule, Write


@tool(requires_permission=True)
def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


@tool(actions=lambda input: [Write(path=input["folder"])])
def empty(folder: str) -> str:
    """Remove everything in a folder."""
    return f"{folder} is empty"  # no real folder is touched by this example


POLICY = Policy(
    roots=("/srv/books/drafts",),
    rules=(Rule(effect="deny", write="/srv/ledger/**", reason="The ledger is kept for ever."),),
)

SCRIPT = [
    call("empty", folder="/srv/books/2024"),
    call("empty", folder="/srv/books/2014"),
    call("empty", folder="/srv/ledger/2014"),
    call("send_mail", to="Ada", text="2014 is empty."),
    call("send_mail", to="Bob", text="2014 is empty."),
    say("The books of 2014 are empty, and Ada and Bob know."),
    call("send_mail", to="Eve", text="2014 is empty."),
    say("Then I do not write to Eve."),
]


class Reply(msgspec.Struct):
    answer: str
    feedback: str | None = None
    remember: bool = False


PERSON = [Reply("no", "2024 is still open. Take 2014."), Reply("yes"), Reply("yes", remember=True), Reply("no")]


async def main(database: str) -> None:
    person = iter(PERSON)
    async with Engine(database, model=ScriptedModel(SCRIPT), tools=[send_mail, empty], policy=POLICY) as engine:
        await attend(engine, "Make room, and tell the others.", "books", person)
        print("In another task:")
        await attend(engine, "Tell Eve, too.", "mail", person)


async def attend(engine: Engine, message: str, task_id: str, person: Iterator[Reply]) -> None:
    """Watch a turn, and answer what it asks."""
    turn = engine.execute(message, task_id=task_id)
    async for event in turn:
        match event:
            case ToolCall():
                print(event.tool, dict(sorted(event.input.items())))
            case HitlRequest():
                print(f"  ? {event.question}")
                reply = next(person)
                print(f"  ! {told(reply, event)}")
                await engine.respond(
                    task_id,
                    reply.answer,
                    request_id=event.request_id,
                    feedback=reply.feedback,
                    remember=reply.remember,
                )
            case ToolResult(error=None):
                print(f"  = {event.output}")
            case ToolResult(error=error) if error is not None:
                print(f"  = {error.reason}: {error.message}")
    print(f"> {(await turn).text}")


def told(reply: Reply, request: HitlRequest) -> str:
    if reply.remember:
        return f"{reply.answer}, and always in this task ({', '.join(request.remember or ())})"
    return f"{reply.answer}: {reply.feedback}" if reply.feedback else reply.answer


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
