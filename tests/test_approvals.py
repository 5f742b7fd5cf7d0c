"""What a person approved is done, exactly; nobody is asked about what cannot be done, or what nobody may allow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine import Engine, builtin_tools
from september_engine.events import HitlRequest, ToolResult
from september_engine.messages import JSON
from september_engine.models.scripted import ScriptedModel, Step, call, say, turn
from september_engine.permissions import Action, Ask, Policy, Read, Rule, Write, beyond
from september_engine.tools import ToolError
from september_engine.tools.files import file_tools
from september_engine.tools.workspace import Workspace
from tests.sandbox.backends import sandbox_or_skip

Seen = list[HitlRequest | ToolResult]


@pytest.fixture
def place() -> Iterator[Path]:
    """A workspace `ws`, and `out` beside it; not below /tmp, which sandboxes have for themselves."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(os.path.realpath(name))
        (place / "ws").mkdir()
        (place / "out" / "deep").mkdir(parents=True)
        (place / "out" / "f").write_text("old\n")
        (place / "out" / "other").write_text("other\n")
        yield place


def write(path: object, content: str = "new\n", **more: JSON) -> Step:
    return call("write_file", path=str(path), content=content, **more)


async def told(
    place: Path,
    *calls: Step,
    answer: str = "yes",
    remember: bool = False,
    sandbox: str | None = None,
    policy: Policy | None = None,
    meanwhile: Callable[[], object] = lambda: None,
    **options: Any,
) -> Seen:
    """The requests and results of a turn that makes these calls, one after the other."""
    walls = None if sandbox is None else sandbox_or_skip(sandbox)
    model = ScriptedModel([*(turn(each) for each in calls), say("Done.")])
    seen: Seen = []
    tools = builtin_tools(place / "ws", sandbox=walls, **options)
    async with Engine(":memory:", tools=tools, model=model, policy=policy) as engine:
        async for event in engine.execute("Go on.", task_id="t"):
            if isinstance(event, HitlRequest | ToolResult):
                seen.append(event)
            if isinstance(event, HitlRequest):
                meanwhile()
                await engine.respond("t", answer, request_id=event.request_id, remember=remember)
    return seen


def kinds(seen: Seen) -> list[str]:
    """ "asked", "done", or why a call ended in an error."""
    return [
        "asked" if isinstance(event, HitlRequest) else event.error.reason if event.error else "done" for event in seen
    ]


# ── file tools ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_outside_is_written_where_the_question_says_and_the_next_call_asks_again(place: Path) -> None:
    out = place / "out"
    seen = await told(place, write(out / "n"), write(out / "m"), write(out / "p/q/r"))
    assert kinds(seen) == ["asked", "done"] * 3
    (first, *_) = seen
    assert isinstance(first, HitlRequest)
    assert first.question.endswith(f"A yes allows this call, and no other, writing {out}/n.")
    assert [(out / name).read_text() for name in ("n", "m", "p/q/r", "other")] == ["new\n"] * 3 + ["other\n"]


async def test_a_no_leaves_everything_as_it_is(place: Path) -> None:
    assert kinds(await told(place, write(place / "out/p/n"), answer="no")) == ["asked", "permission_denied"]
    assert sorted(os.listdir(place / "out")) == ["deep", "f", "other"]


async def test_a_file_outside_is_edited_and_replaced(place: Path) -> None:
    edit = call("edit_file", path="../out/f", old_text="old", new_text="edited")
    seen = await told(place, edit, write(place / "out/other", overwrite=True))
    assert kinds(seen) == ["asked", "done"] * 2
    assert [(place / "out" / name).read_text() for name in ("f", "other")] == ["edited\n", "new\n"]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda out: write(out / "f"), "exists"),
        (lambda out: write(out / "deep"), "is_a_directory"),
        (lambda out: write(f"{out}/new/"), "is_a_directory"),
        (lambda out: write(out / "f/n"), "not_a_directory"),
        (lambda out: write("/dev/null", overwrite=True), "not_a_file"),
        (lambda out: write("/proc/n"), "permission_denied"),
        (lambda out: write("/sys/kernel/n"), "permission_denied"),
        (lambda out: write(out / "n", "x" * 10_000_001), "too_large"),
        (lambda out: write(out / "loop/n"), "link_loop"),
        (lambda out: call("edit_file", path=str(out / "none"), old_text="a", new_text="b"), "not_found"),
        (lambda out: call("edit_file", path=str(out / "f"), old_text="a", new_text="b"), "no_match"),
        (lambda out: call("edit_file", path=str(out / "f"), old_text="", new_text="b"), "no_match"),
        (lambda out: call("edit_file", path=str(out / "deep"), old_text="a", new_text="b"), "is_a_directory"),
        (lambda out: call("edit_file", path=str(out / "binary"), old_text="a", new_text="b"), "not_text"),
        (lambda out: call("write_file", path=3, content="x"), "invalid_input"),
        (lambda out: write("a\0b"), "invalid_path"),
        (lambda out: write(out / "n\0"), "invalid_path"),
        (lambda out: write("~/n"), "outside_root"),
        (lambda out: write(out / ".env"), "protected"),
        (lambda out: write(out / "repo/.git/hooks/pre-commit"), "protected"),
        (lambda out: write(out / "brain.sqlite", overwrite=True), "protected"),
        (lambda out: call("read_file", path=str(out / "f")), "outside_root"),
        (lambda out: call("grep", pattern="o", path=str(out)), "outside_root"),
        (lambda out: call("find_files", pattern="*", path=str(out)), "outside_root"),
    ],
)
async def test_nobody_is_asked_about_what_cannot_be_done(
    place: Path, made: Callable[[Path], Step], reason: str
) -> None:
    out = place / "out"
    (out / "binary").write_bytes(b"\xff\xfe\0a")
    (out / "loop").symlink_to("loop")
    model = ScriptedModel([turn(made(out)), say("Done.")])
    seen: Seen = []
    async with Engine(out / "brain.sqlite", tools=builtin_tools(place / "ws", sandbox=None), model=model) as engine:
        async for event in engine.execute("Go on.", task_id="t"):
            if isinstance(event, HitlRequest | ToolResult):
                seen.append(event)
    assert kinds(seen) == [reason]


async def test_a_link_in_the_workspace_leads_out_only_after_a_yes_to_where_it_leads(place: Path) -> None:
    (place / "ws" / "link").symlink_to(place / "out")
    asked, done = await told(place, write("link/n"))
    assert isinstance(asked, HitlRequest)
    assert f"writing {place}/out/n." in asked.question
    assert kinds([done]) == ["done"]
    assert (place / "out/n").read_text() == "new\n"


@pytest.mark.parametrize("written", ["ws/link/n", "out/way/n"])
async def test_what_leads_elsewhere_by_the_time_of_the_answer_is_left_alone(place: Path, written: str) -> None:
    (place / "secret").mkdir()
    (place / "ws" / "link").symlink_to(place / "out")

    def swap() -> None:
        link = place / Path(written).parent
        link.unlink(missing_ok=True)
        link.symlink_to(place / "secret")

    assert kinds(await told(place, write(place / written), meanwhile=swap)) == ["asked", "changed"]
    assert os.listdir(place / "secret") == []


async def test_what_arose_after_the_question_is_an_honest_error(place: Path) -> None:
    def appear() -> None:
        (place / "out/n").write_text("somebody's")

    assert kinds(await told(place, write(place / "out/n"), meanwhile=appear)) == ["asked", "exists"]
    assert (place / "out/n").read_text() == "somebody's"


async def test_always_opens_the_same_again_and_nothing_more(place: Path) -> None:
    out = place / "out"
    calls = (write(out / "n"), write(out / "n", overwrite=True), write(out / "m"))
    assert kinds(await told(place, *calls, remember=True)) == ["asked", "done", "done", "asked", "done"]


async def test_calls_of_one_message_have_an_opening_each(place: Path) -> None:
    out = place / "out"
    model = ScriptedModel([turn(write(out / "n"), write(out / "m"), write("in")), say("Done.")])
    async with Engine(":memory:", tools=builtin_tools(place / "ws", sandbox=None), model=model) as engine:
        asked: list[HitlRequest] = []
        async for event in engine.execute("Go on.", task_id="t"):
            if isinstance(event, HitlRequest):
                asked.append(event)
            if len(asked) == 2 and isinstance(event, HitlRequest):
                await engine.respond("t", "yes", request_id=asked[1].request_id)
                await engine.respond("t", "no", request_id=asked[0].request_id)
    assert ((out / "n").exists(), (out / "m").read_text()) == (False, "new\n")


async def test_an_answer_after_a_restart_opens_what_was_shown(place: Path) -> None:
    script = ScriptedModel([turn(write(place / "out/n")), say("Done.")])
    tools = builtin_tools(place / "ws", sandbox=None)
    async with Engine(place / "brain.sqlite", tools=tools, model=script) as engine:
        async for event in engine.execute("Go on.", task_id="t"):
            if isinstance(event, HitlRequest):
                break
    async with Engine(place / "brain.sqlite", tools=tools, model=ScriptedModel([say("Done.")])) as engine:
        await engine.respond("t", "yes")
        results = [event async for event in engine.replay(task_id="t") if isinstance(event, ToolResult)]
    assert kinds([*results]) == ["done"]
    assert (place / "out/n").read_text() == "new\n"


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "roots", "said"),
    [
        (None, ("out",), ["done"]),
        (Rule(effect="allow", write="**/out/*"), (), ["done"]),
        (Rule(effect="allow", tool="write_file"), (), ["outside_root"]),
        (Rule(effect="deny", write="**/out/**"), (), ["permission_denied"]),
        (Rule(effect="ask", write="**/out/**"), ("out",), ["asked", "done"]),
    ],
)
async def test_what_the_host_allows_by_name_is_done_and_what_it_denies_is_refused_at_once(
    place: Path, rule: Rule | None, roots: tuple[str, ...], said: list[str]
) -> None:
    policy = Policy(rules=() if rule is None else (rule,), roots=tuple(f"{place}/{root}" for root in roots))
    assert kinds(await told(place, write(place / "out/n"), policy=policy)) == said


async def test_reading_outside_that_a_rule_asks_about_is_done(place: Path) -> None:
    policy = Policy(rules=(Rule(effect="ask", read="**/out/**"), Rule(effect="ask", read="**/out")))
    calls = (
        call("read_file", path=str(place / "out/f")),
        call("grep", pattern="other", path=str(place / "out")),
        call("find_files", pattern="*", path=str(place / "out")),
    )
    seen = await told(place, *calls, policy=policy)
    assert kinds(seen) == ["asked", "done"] * 3
    read, searched, listed = (event.output for event in seen if isinstance(event, ToolResult))
    assert read == "old\n" or read == "old"
    assert searched == f"{place}/out/other:1:other"
    assert f"{place}/out/f" in str(listed)


def test_a_remembered_call_speaks_for_what_it_did_and_not_for_where_a_link_leads_now() -> None:
    policy, input = Policy(), {"command": "x"}
    asked = policy.judge("bash", input, [Write(path="/out/link"), Write(path="/out/f")], declared="It asks.")
    assert isinstance(asked, Ask)
    again = [Write(path="/out/link"), Write(path="/secret")]
    assert isinstance(policy.judge("bash", input, again, declared="It asks.", remembered=asked.remember), Ask)
    assert policy.opened("bash", input, again, again, roots=(), remembered=asked.remember) == ()
    same = again[:1]
    assert policy.opened("bash", input, same, same, roots=(), remembered=asked.remember) == tuple(same)


def test_what_is_beyond_some_folders() -> None:
    actions: list[Action] = [
        Read(path="/"),
        Read(path="/ws/a"),
        Read(path="/out/f"),
        Write(path="/out/f"),
        Read(path="/b"),
    ]
    assert beyond(actions, ["/ws"]) == (Write(path="/out/f"), Read(path="/b"))


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def walls(request: pytest.FixtureRequest) -> str:
    sandbox_or_skip(request.param)
    return str(request.param)


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("echo new > OUT/n && cat OUT/n", {"n": "new\n"}),
        ("rm -rf OUT/deep", {"deep": ...}),
        ("mv OUT/f OUT/g && cp OUT/other OUT/h", {"f": ..., "g": "old\n", "h": "other\n"}),
        ("sed -i s/old/new/ OUT/f && cd OUT && mkdir -p a/b && echo 1 > a/b/c", {"f": "new\n", "a": None}),
    ],
)
async def test_an_approved_command_is_done(place: Path, walls: str, command: str, left: dict[str, object]) -> None:
    out = place / "out"
    seen = await told(place, call("bash", command=command.replace("OUT", str(out))), sandbox=walls)
    assert kinds(seen) == ["asked", "done"]
    assert isinstance(seen[1], ToolResult)
    assert isinstance(seen[1].output, dict)
    assert seen[1].output["exit_code"] == 0, seen[1].output
    now = {each.name: each.read_text() if each.is_file() else None for each in out.iterdir()}
    then: dict[str, object] = {"deep": None, "f": "old\n", "other": "other\n", **left}
    assert now == {name: text for name, text in then.items() if text is not ...}


@pytest.mark.parametrize(
    ("command", "opens", "left"),
    [
        ("echo new > file", "f", {"f": "new\n"}),
        ("cp a folder/n", "n", {"n": "A\n"}),
        ("cp a folder", "", {"a": "A\n"}),
        ("rm folder/f", "f", {"f": None}),
        ("mv a folder/", "", {"a": "A\n"}),
        ("ln -sf a file", None, {"f": "old\n"}),
        ("rm -r folder", None, {"f": "old\n"}),
        ("mv file moved", None, {"f": "old\n"}),
    ],
)
async def test_a_command_leads_out_through_a_link_only_after_a_yes_to_where_it_leads(
    place: Path, walls: str, command: str, opens: str | None, left: dict[str, str | None]
) -> None:
    (place / "ws" / "a").write_text("A\n")
    (place / "ws" / "folder").symlink_to(place / "out")
    (place / "ws" / "file").symlink_to(place / "out/f")
    seen = await told(place, call("bash", command=command), sandbox=walls)
    assert kinds(seen) == (["done"] if opens is None else ["asked", "done"])
    if isinstance(seen[0], HitlRequest):
        assert f"allowed folders: {place / 'out' / (opens or '')}." in seen[0].question
    end = seen[-1]
    assert isinstance(end, ToolResult)
    assert isinstance(end.output, dict)
    assert end.output["exit_code"] == 0
    out = place / "out"
    assert {name: (out / name).read_text() if (out / name).exists() else None for name in left} == left


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
async def test_what_is_not_understood_says_that_a_yes_opens_nothing(place: Path, name: str) -> None:
    asked, _ = await told(place, call("bash", command="python3 -c 'print(1)'"), sandbox=name)
    assert isinstance(asked, HitlRequest)
    assert asked.question.endswith("A yes opens nothing outside of the workspace.")


async def test_always_opens_what_a_command_may_read_for_the_same_command_alone(place: Path) -> None:
    out = place / "out"
    same, other = f"echo 1 > {out}/n; cat {out}/other", f"cat {out}/other"
    calls = [call("bash", command=command) for command in (same, same, other)]
    seen = await told(place, *calls, sandbox="landlock", remember=True)
    assert kinds(seen) == ["asked", "done", "done", "done"]
    outputs = [str(event.output) for event in seen if isinstance(event, ToolResult)]
    assert ["other\\n" in output for output in outputs] == [True, True, False]


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
async def test_a_program_in_an_approved_command_reaches_nothing_else_and_says_what_to_do(
    place: Path, name: str
) -> None:
    (place / "ws/steal.sh").write_text(f"echo bad > {place}/out/other\nrm {place}/out/f\n")
    seen = await told(
        place,
        call("bash", command=f"echo 1 > {place}/out/n; sh steal.sh"),
        call("bash", command=f"python3 -c \"open('{place}/out/m', 'w')\""),
        sandbox=name,
    )
    assert kinds(seen) == ["asked", "done", "asked", "done"]
    assert [(place / "out" / each).read_text() for each in ("n", "f", "other")] == ["1\n", "old\n", "other\n"]
    assert isinstance(seen[3], ToolResult)
    assert f"not open to this command: {place}/out/m. A person is asked before a command that itself" in str(
        seen[3].output
    )


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("cd / && rm -rf *", "sandboxed"),
        ("apt-get install -y hello", "sandboxed"),
        ("sudo rm x", "sandboxed"),
        ("rm -rf PLACE", "sandboxed"),
        ("dd if=/dev/zero of=/dev/sda", "sandboxed"),
        ("echo x > PLACE/out/.env", "protected"),
        ("cat .env > PLACE/out/n", "protected"),
        ("rm -rf PLACE/out", "protected"),
        ("echo x > .git/hooks/pre-commit", "protected"),
        ("git config core.pager x", "protected"),
        ("rm -rf .git", "protected"),
        ("echo x > PLACE/out/repo/.git/config", "protected"),
        ("echo x > PLACE/out/f/n", "not_a_directory"),
        ("echo x > PLACE/link/n", "sandbox_failed"),
        ("curl https://example.org > PLACE/out/n", "network_off"),
        ("echo 'a\0b' > PLACE/out/n", "invalid_input"),
    ],
)
async def test_nobody_is_asked_about_a_command_that_cannot_be_done(
    place: Path, name: str, command: str, reason: str
) -> None:
    (place / "link").symlink_to("out")
    (place / "out/brain.sqlite").write_text("")
    tool, *_ = builtin_tools(place / "ws", sandbox=sandbox_or_skip(name), network="off")
    assert tool.hide is not None
    assert tool.check is not None
    assert tool.actions is not None
    tool.hide([f"{place}/out/brain.sqlite"])
    input: dict[str, JSON] = {"command": command.replace("PLACE", str(place))}
    with pytest.raises(ToolError) as caught:
        tool.check(input, beyond(tool.actions(input), tool.roots))
    assert caught.value.reason == reason
    (result,) = await told(
        place, call("bash", **input), sandbox=name, network="off", hidden=[place / "out/brain.sqlite"]
    )
    assert kinds([result]) == [reason]


async def test_a_link_that_was_swapped_since_the_question_keeps_a_command_from_running(place: Path) -> None:
    (place / "out/link").symlink_to("f")

    def swap() -> None:
        (place / "out/link").unlink()
        (place / "out/link").symlink_to("other")

    seen = await told(place, call("bash", command=f"echo x > {place}/out/link"), sandbox="landlock", meanwhile=swap)
    assert kinds(seen) == ["asked", "changed"]
    assert (place / "out/other").read_text() == "other\n"


# ── asked, so it can be done ─────────────────────────────────────────────────────────────────────────────────────────

NAMES = ["f", "deep", "new", "link", "dlink", "loop", ".env", ".git", "..", "locked"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)


@given(path=paths, name=st.sampled_from(["write_file", "edit_file"]), overwrite=st.booleans(), relative=st.booleans())
def test_what_is_asked_about_can_be_done_after_a_yes(path: str, name: str, overwrite: bool, relative: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(os.path.realpath(folder))
        for root in (place / "ws", place / "out"):
            (root / "deep").mkdir(parents=True)
            (root / "f").write_text("old")
            (root / "link").symlink_to(place / "out" / "f")
            (root / "dlink").symlink_to(place / "out" / "deep")
            (root / "loop").symlink_to("loop")
            (root / "locked").write_text("old")
            (root / "locked").chmod(0o400)
        tools = {tool.name: tool for tool in file_tools(Workspace(place / "ws", hidden=(".env",)))}
        tool = tools[name]
        given_path = path if relative else f"{place}/out/{path}"
        input: dict[str, JSON] = {"path": given_path, "content": "x", "overwrite": overwrite}
        if name == "edit_file":
            input = {"path": given_path, "old_text": "old", "new_text": "x"}
        assert tool.actions is not None
        assert tool.check is not None
        assert tool.opened is not None
        actions = tool.actions(input)
        if not isinstance(Policy(roots=tool.roots).judge(name, input, actions), Ask):
            return
        opens = beyond(actions, tool.roots)
        before = _files(place)
        try:
            tool.check(input, opens)
        except ToolError:
            assert _files(place) == before
            return
        assert _files(place) == before
        tool.opened(opens)(**tool.decode(input))
        changed = {path for path, _ in _files(place).items() ^ before.items()}
        assert changed <= {each for one in opens for each in _above(one.path, place)}


def _files(place: Path) -> dict[str, str]:
    return {str(each): each.read_text() if each.is_file() else "" for each in place.rglob("*") if not each.is_symlink()}


def _above(path: str, place: Path) -> Sequence[str]:
    return [path, *(str(each) for each in Path(path).parents if each != place)]
