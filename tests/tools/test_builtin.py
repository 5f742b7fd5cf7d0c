"""The built-in tools, through the whole engine: what runs, what asks, and what stays out of reach."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest

from september_engine import Engine, Settings, builtin_tools
from september_engine.errors import ConfigurationError
from september_engine.events import Event, HitlRequest, ToolResult
from september_engine.models.scripted import ScriptedModel, Step, call, say
from september_engine.permissions import Policy, Rule
from september_engine.sandbox.unconfined import Unconfined
from september_engine.tools import builtin
from tests.sandbox.backends import sandbox_or_skip
from tests.tools.test_bash import Recorder

NAMES = ["bash", "read_file", "write_file", "edit_file", "grep", "find_files", "ask_user"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


async def events_of(store: Path, tools: Any, *steps: Step, policy: Policy | None = None) -> list[Event]:
    """The events of one turn, up to its end or to the first question."""
    engine = Engine(store, model=ScriptedModel([*steps, say("Done.")]), tools=tools, policy=policy, settings=Settings())
    seen: list[Event] = []
    async with engine:
        async for event in engine.execute("Go", task_id="t"):
            seen.append(event)
            if isinstance(event, HitlRequest):
                break
        await engine.aclose(drain=0)
    return seen


def results(events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, ToolResult)]


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
async def test_it_works_in_its_folder_without_asking_anybody(root: Path, tmp_path: Path, name: str) -> None:
    (root / "run_tests.py").write_text("import calc; assert calc.add(2, 2) == 4, calc.add(2, 2); print('all well')\n")
    (root / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    tools = builtin_tools(root, sandbox=sandbox_or_skip(name))
    assert [tool.name for tool in tools] == NAMES
    events = await events_of(
        tmp_path / "brain.sqlite",
        tools,
        call("bash", command="python3 run_tests.py"),
        call("grep", pattern="return"),
        call("edit_file", path="calc.py", old_text="a - b", new_text="a + b"),
        call("bash", command="python3 run_tests.py && git init -q . 2>/dev/null; ls > /dev/null"),
    )
    assert not [event for event in events if isinstance(event, HitlRequest)]
    first, found, edited, last = results(events)
    assert first.output["exit_code"] == 1
    assert "AssertionError: 0" in first.output["output"]
    assert "calc.py" in str(found.output)
    assert edited.error is None
    assert last.output["output"] == "all well\n"


async def test_the_engine_keeps_its_tools_from_its_own_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for name in (".env", "more.env"):
        (root / name).write_text("LLM_API_KEY=s3cret")
    (root / "sub").mkdir()
    (root / "sub" / "more.env").write_text("s3cret")
    store = root / "data" / "brain.sqlite"
    walls = sandbox_or_skip("bubblewrap")
    steps = [
        call("bash", command="cat .env more.env sub/more.env data/*; ls -la data"),
        call("read_file", path="data/brain.sqlite"),
        call("read_file", path="data/brain.sqlite-wal"),
        call("read_file", path=".env"),
        call("grep", pattern="LLM.API.KEY"),
        call("write_file", path="data/brain.sqlite.lock", content="x", overwrite=True),
    ]
    tools = builtin_tools(root, sandbox=walls, hidden=["more.env", root / "sub" / "more.env"])
    bash, *others = results(await events_of(store, tools, *steps, policy=Policy(roots=(str(root),))))
    assert "s3cret" not in bash.output["output"]
    assert "SQLite format" not in bash.output["output"]
    assert [str(each.error and each.error.reason) for each in others[:3]] == ["protected"] * 3
    assert "LLM_API_KEY" not in str(others[3].output)
    assert others[4].error is not None


async def test_what_it_asks_about(root: Path, tmp_path: Path) -> None:
    tools = builtin_tools(root, sandbox=sandbox_or_skip("bubblewrap"))

    async def asked(command: str, **policy: Any) -> str | None:
        store = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite"
        events = await events_of(
            store, tools, call("bash", command=command), policy=Policy(**policy) if policy else None
        )
        return next((event.question for event in events if isinstance(event, HitlRequest)), None)

    assert await asked("rm -rf build; touch here /tmp/there") is None
    with tempfile.TemporaryDirectory(dir="/var/tmp") as outside:  # what nobody may write is not asked about
        said = str(await asked(f"echo hi > {outside}/motd"))
        assert f"It writes outside of the allowed folders: {outside}/motd." in said
    assert "network: example.org" in str(await asked("curl https://example.org"))
    assert await asked("curl http://127.0.0.1:9", hosts=("127.0.0.1",)) is None
    assert "the program mystery is not known" in str(await asked("mystery --now"))
    assert await asked("mystery --now", rules=(Rule(effect="allow", run="mystery **"),)) is None
    assert await asked("make test") is None


async def test_with_the_sandbox_off_code_that_nobody_has_looked_at_asks(root: Path, tmp_path: Path) -> None:
    (root / "Makefile").write_text("test:\n\ttouch ran\n")
    events = await events_of(tmp_path / "a", builtin_tools(root, sandbox="off"), call("bash", command="make test"))
    (request,) = (event for event in events if isinstance(event, HitlRequest))
    assert "there is no sandbox" in request.question
    assert not (root / "ran").exists()
    walls = builtin_tools(root, sandbox=sandbox_or_skip("landlock"))
    assert not any(
        isinstance(event, HitlRequest)
        for event in await events_of(tmp_path / "b", walls, call("bash", command="make test"))
    )
    assert (root / "ran").exists()


async def test_several_folders(root: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    events = await events_of(
        tmp_path / "brain.sqlite",
        builtin_tools(root, also=[more], sandbox=sandbox_or_skip("bubblewrap")),
        call("bash", command=f"echo one > {more}/one; pwd"),
        call("read_file", path=f"{more}/one"),
        call("write_file", path=f"{more}/two", content="two"),
        call("write_file", path=f"{tmp_path}/three", content="three"),
    )
    ran, read, *_ = results(events)
    assert ran.output["output"] == f"{root}\n"
    assert "one" in str(read.output)
    assert (more / "two").read_text() == "two"
    assert not (tmp_path / "three").exists()


def test_without_a_sandbox_it_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_works(wanted: str) -> None:
        raise ConfigurationError("There is no sandbox. Install bubblewrap.")

    monkeypatch.setattr(builtin, "choose_sandbox", nothing_works)
    with pytest.raises(ConfigurationError, match="Install bubblewrap"):
        builtin_tools(root)
    assert [tool.name for tool in builtin_tools(root, sandbox=None)] == NAMES[1:]
    assert builtin_tools(root, sandbox=Unconfined())[0].name == "bash"


def test_without_its_parser_it_says_so_at_the_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> None:
        raise ConfigurationError("pip install 'september-engine[sandbox]'")

    monkeypatch.setattr(builtin, "actions_of", missing)
    with pytest.raises(ConfigurationError, match="sandbox]"):
        builtin_tools(root, sandbox="off")


async def test_without_a_sandbox_git_does_not_take_its_settings_from_the_workspace(root: Path, tmp_path: Path) -> None:
    (root / ".gitconfig").write_text('[core]\nfsmonitor = "touch ran; false"\n')
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (result,) = results(
        await events_of(tmp_path / "a", builtin_tools(root, sandbox="off"), call("bash", command="git status --short"))
    )
    assert result.output["exit_code"] == 0
    assert not (root / "ran").exists()


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
async def test_the_folder_does_not_become_a_repository_beside_its_git(root: Path, name: str) -> None:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    bash = builtin_tools(root, sandbox=sandbox_or_skip(name))[0]
    settings = r"printf '[core]\nbare = false\nworktree = %s\nfsmonitor = \"touch ran; false\"\n' $PWD > config"
    told = await bash(f"mv .git/HEAD .git/H; echo 'ref: refs/heads/x' > HEAD; mkdir objects refs; {settings}")
    assert "HEAD was removed" in str(told["notes"])
    subprocess.run(["git", "status"], cwd=root, check=False, capture_output=True)
    assert not (root / "ran").exists()


async def test_a_folder_that_is_a_bare_repository_stays_one(root: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(root)], check=True)
    bash = builtin_tools(root, sandbox=sandbox_or_skip("bubblewrap"))[0]
    assert "notes" not in await bash("ls")
    assert (root / "HEAD").exists()


@pytest.mark.parametrize(("network", "opened"), [("judged", True), ("off", False)])
async def test_a_command_gets_the_environment_and_the_network_that_were_given(
    root: Path, network: Literal["judged", "off"], opened: bool
) -> None:
    recorder = Recorder()
    bash = builtin_tools(root, sandbox=recorder, environment={"CI": "1"}, network=network)[0]
    await bash("curl https://example.org")
    assert recorder.jobs[0].environment["CI"] == "1"
    assert recorder.jobs[0].network == opened
