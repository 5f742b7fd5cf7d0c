from __future__ import annotations

from pathlib import Path

from september_engine.events import ToolResult
from september_engine.models.scripted import call, say, turn
from september_engine.tools.files import file_tools
from september_engine.tools.workspace import Workspace
from tests.engines import Bench


def test_there_are_five_and_readers_are_safe_to_repeat(workspace: Workspace) -> None:
    assert {tool.name: tool.safe_to_repeat for tool in file_tools(workspace)} == {
        "read_file": True,
        "write_file": False,
        "edit_file": False,
        "grep": True,
        "find_files": True,
    }
    assert all(tool.actions is not None and not tool.is_async for tool in file_tools(workspace))


def test_every_parameter_is_described(workspace: Workspace) -> None:
    for tool in file_tools(workspace):
        assert tool.description
        assert [name for name, schema in tool.input_schema["properties"].items() if "description" not in schema] == []


def test_they_say_where_they_work_and_can_be_told_what_to_leave_alone(root: Path) -> None:
    other = root.parent / "other"
    other.mkdir()
    (other / "brain.sqlite").touch()
    for workspace, more in ((Workspace(root), False), (Workspace(root, also=(other,)), True)):
        for tool in file_tools(workspace):
            assert tool.roots == workspace.roots
            assert (
                tool.description.endswith(
                    f"The workspace has further folders, whose files have absolute paths: {other}."
                )
                is more
            )
            assert tool.confined
    read, *others = file_tools(workspace)
    assert read.hide is not None
    read.hide([str(other / "brain.sqlite")])
    find = next(tool for tool in others if tool.name == "find_files")
    assert find(pattern="*", path=str(other)) == "Nothing matches '*'."


async def test_an_engine_runs_them(bench: Bench, workspace: Workspace, root: Path) -> None:
    script = [
        turn(call("write_file", path="poem.txt", content="to be\nor not\n")),
        turn(call("edit_file", path="poem.txt", old_text="or not", new_text="or not to be")),
        turn(call("read_file", path="poem.txt")),
        turn(call("grep", pattern="not")),
        turn(call("find_files", pattern="*.txt")),
        turn(call("read_file", path="../outside/secret.txt")),
        say("Done."),
    ]
    async with bench.running(script, tools=file_tools(workspace)) as engine:
        results = [event async for event in engine.execute("Go.", task_id="t") if isinstance(event, ToolResult)]
    assert [result.output for result in results[:5]] == [
        "Created poem.txt: 13 bytes, 2 lines.",
        "Changed poem.txt:\n@@ -1,2 +1,2 @@\n to be\n-or not\n+or not to be",
        "to be\nor not to be",
        "poem.txt:2:or not to be",
        "poem.txt",
    ]
    assert results[5].error is not None
    assert results[5].error.reason == "outside_root"
    assert (root / "poem.txt").read_text() == "to be\nor not to be\n"
