"""A coding agent: it runs the tests of a repository, finds the bug, repairs it, and runs them again, in a sandbox.

The model is a small program that reads what the tools answer: it looks for the function that a failing test names,
and tries its repairs until the tests pass. The tools, the sandbox and the loop are what Claude would get. Commands
need bubblewrap or Landlock (Linux); where neither works, the example says what to install.

It prints:

    bash        python3 -m unittest
                exit code 1, failed: test_a_short_last_page
    grep        def pages\\b
                shop/paging.py:4:def pages(items: int, size: int) -> int:
    read_file   shop/paging.py
                6 lines
    edit_file   shop/paging.py
                -    return items // size
                +    return items // size + 1
    bash        python3 -m unittest
                exit code 1, failed: test_full_pages, test_nothing_to_show
    edit_file   shop/paging.py
                -    return items // size + 1
                +    return -(-items // size)
    bash        python3 -m unittest
                exit code 0, failed: nothing
    bash        git push
                ? May bash run with this input? It uses the network: some host.
                ! no: I push it myself, when I have looked at it.
                permission_denied: I push it myself, when I have looked at it.
    > The tests pass. pages in shop/paging.py was wrong; 2 repairs were tried. I did not push it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import msgspec

from september_engine import Engine, ToolCall, ToolResult, builtin_tools
from september_engine.errors import ConfigurationError
from september_engine.events import HitlRequest
from september_engine.messages import JSON, tool_uses
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, say

REPOSITORY = {
    "shop/__init__.py": "",
    "shop/paging.py": '''"""Lists that are shown a page at a time."""


def pages(items: int, size: int) -> int:
    """How many pages it takes to show so many items."""
    return items // size
''',
    "tests/__init__.py": "",
    "tests/test_paging.py": """import unittest

from shop.paging import pages


class Pages(unittest.TestCase):
    def test_full_pages(self):
        self.assertEqual(pages(20, 10), 2)

    def test_a_short_last_page(self):
        self.assertEqual(pages(21, 10), 3)

    def test_nothing_to_show(self):
        self.assertEqual(pages(0, 10), 0)
""",
}

TESTS = "python3 -m unittest"


@attrs.frozen
class Done:
    """A call that has its result."""

    tool: str
    input: dict[str, JSON]
    result: str


def history(request: ModelRequest) -> list[Done]:
    calls = [use for message in request.prompt.messages for use in tool_uses(message["content"])]
    results = {
        block["tool_use_id"]: block["content"]
        for message in request.prompt.messages
        for block in message["content"]
        if block["type"] == "tool_result"
    }
    return [Done(use["name"], use["input"], str(results[use["id"]])) for use in calls]


def programmer(request: ModelRequest) -> Step | Answer:
    """What to do next, by what the tools have answered so far."""
    done = history(request)
    match done[-1:]:
        case []:
            return call("bash", command=TESTS)
        case [Done("bash", {"command": "git push"})]:
            return say(f"{conclusion(done)} I did not push it.")
        case [Done("bash", result=result)]:
            return after_tests(msgspec.json.decode(result, type=dict[str, JSON]), done)
        case [Done("grep", result=result)]:
            return call("read_file", path=result.partition(":")[0])
        case [Done("read_file")]:
            return next_repair(done)
        case [Done("edit_file")]:
            return call("bash", command=TESTS)
    return say("This tool is new to me.")


def after_tests(report: dict[str, JSON], done: list[Done]) -> Step:
    if report["exit_code"] == 0:
        return call("bash", command="git push")
    if any(one.tool == "read_file" for one in done):
        return next_repair(done)
    blamed = re.search(r"self\.assert\w+\((\w+)\(", str(report["output"]))
    if blamed is None:
        return say(f"I do not understand these tests: {report['output']}")
    return call("grep", pattern=rf"def {blamed[1]}\b")


def next_repair(done: list[Done]) -> Step:
    """A division that loses its rest may be one too small, or have to be rounded up."""
    read = next(one for one in done if one.tool == "read_file")
    division = re.search(r"return (\w+) // (\w+)$", read.result, re.M)
    if division is None:
        return say(f"I see nothing that I could repair in {read.input['path']}.")
    items, size = division.groups()
    tries = [division[0], f"return {items} // {size} + 1", f"return -(-{items} // {size})"]
    tried = sum(one.tool == "edit_file" for one in done)
    if tried + 1 == len(tries):
        return say("Nothing that I know of makes the tests pass.")
    return call("edit_file", path=read.input["path"], old_text=tries[tried], new_text=tries[tried + 1])


def conclusion(done: list[Done]) -> str:
    found = next(one for one in done if one.tool == "grep").result
    path, _, line = found.split("\n")[0].split(":", 2)
    tried = sum(one.tool == "edit_file" for one in done)
    name = line.removeprefix("def ").partition("(")[0]
    return f"The tests pass. {name} in {path} was wrong; {tried} repairs were tried."


async def main(database: str, repository: Path) -> None:
    for name, text in REPOSITORY.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    try:
        tools = builtin_tools(repository)
    except ConfigurationError as error:
        print(error.message)
        return
    async with Engine(database, model=ScriptedModel(programmer), tools=tools) as engine:
        turn = engine.execute("The tests fail. Find out why, and repair it.", task_id="repair")
        async for event in turn:
            match event:
                case ToolCall(tool=tool, input=input):
                    print(f"{tool:<12}{input.get('command') or input.get('pattern') or input['path']}")
                case HitlRequest(question=question):
                    answer = "I push it myself, when I have looked at it."
                    report(f"? {question}", f"! no: {answer}")
                    await engine.respond("repair", "no", feedback=answer)
                case ToolResult():
                    report(*told(event))
        print(f"> {(await turn).text}")


def report(*lines: str) -> None:
    for line in lines:
        print(f"{'':12}{line}")


def told(result: ToolResult) -> Iterator[str]:
    """The result in short."""
    match result:
        case ToolResult(error=error) if error is not None:
            yield f"{error.reason}: {error.message}"
        case ToolResult(tool="bash", output={"output": str(output), "exit_code": code}):
            failed = re.findall(r"^(?:FAIL|ERROR): (\w+)", output, re.M)
            yield f"exit code {code}, failed: {', '.join(failed) or 'nothing'}"
        case ToolResult(tool="edit_file", output=str(diff)):
            yield from re.findall(r"^[-+].*", diff, re.M)
        case ToolResult(tool="read_file", output=str(text)):
            yield f"{len(text.splitlines())} lines"
        case ToolResult(output=output):
            yield str(output)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite", Path(folder, "repository")))
