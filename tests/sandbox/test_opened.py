"""What a job opens outside of its folders: exactly these names, however they are changed, and nothing beside them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from september_engine.sandbox._stage import stage_problem, staged
from september_engine.sandbox.base import OpeningSandbox, Sandbox, SandboxFailed

from .backends import bash_job, shell

NEW = {"deep": None, "deep/x": "x", "f": "old\n", "other": "other\n"}


@pytest.fixture
def place() -> Iterator[Path]:
    """A workspace `ws` and something outside of it; not below /tmp, which sandboxes have for themselves."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(os.path.realpath(name))
        (place / "ws").mkdir()
        (place / "ws" / "a").write_text("A\n")
        (place / "out" / "deep").mkdir(parents=True)
        for path, text in NEW.items():
            if text is not None:
                (place / "out" / path).write_text(text)
        yield place


def found(place: Path) -> dict[str, str | None]:
    out = place / "out"
    return {str(path.relative_to(out)): path.read_text() if path.is_file() else None for path in sorted(out.rglob("*"))}


async def opening(sandbox: Sandbox, place: Path, command: str, *names: str, removed: tuple[str, ...] = ()) -> int:
    paths = tuple(f"{place}/out/{name}" for name in names)
    outcome = await shell(
        sandbox,
        command.replace("OUT", f"{place}/out"),
        place / "ws",
        opened=paths,
        removed=tuple(f"{place}/out/{name}" for name in removed),
    )
    return outcome.exit_code


@pytest.mark.parametrize(
    ("command", "opened", "removed", "changed"),
    [
        ("echo new > OUT/f && grep new OUT/f", ("f",), (), {"f": "new\n"}),
        ("echo new > OUT/n && grep new OUT/n", ("n",), (), {"n": "new\n"}),
        ("echo x | tee -a OUT/f && truncate -s 5 OUT/f", ("f",), (), {"f": "old\nx"}),
        ("sed -i s/old/new/ OUT/f", ("f",), (), {"f": "new\n"}),
        ("cp a OUT/f && cp a OUT/n", ("f", "n"), (), {"f": "A\n", "n": "A\n"}),
        ("mv a OUT/n", ("n",), (), {"n": "A\n"}),
        ("mv OUT/f got && grep old got", ("f",), ("f",), {"f": ...}),
        ("mv OUT/f OUT/n", ("f", "n"), ("f",), {"f": ..., "n": "old\n"}),
        ("rm OUT/f", ("f",), ("f",), {"f": ...}),
        ("rm -r OUT/deep", ("deep",), ("deep",), {"deep": ..., "deep/x": ...}),
        ("mv OUT/deep got && grep x got/x", ("deep",), ("deep",), {"deep": ..., "deep/x": ...}),
        ("mkdir OUT/q && echo w > OUT/q/w && ls OUT/q", ("q",), (), {"q": None, "q/w": "w\n"}),
        ("mkdir -p OUT/q/r && echo w > OUT/q/r/w", ("q/r",), (), {"q": None, "q/r": None, "q/r/w": "w\n"}),
        ("echo y > OUT/deep/y && rm OUT/deep/x", ("deep",), (), {"deep/x": ..., "deep/y": "y\n"}),
        ("cd OUT && echo hi > f", ("f",), (), {"f": "hi\n"}),
        ("touch OUT/n && chmod 600 OUT/n", ("n",), (), {"n": ""}),
        ("cp a OUT/deep", ("deep",), (), {"deep/a": "A\n"}),
        ("mv -t OUT/deep a", ("deep",), (), {"deep/a": "A\n"}),
        ("mv OUT/f OUT/n && (set -C; echo w > OUT/t) && mv OUT/t OUT/f", ("f", "n"), (), {"f": "w\n", "n": "old\n"}),
        (
            "(set -C; echo w > OUT/t) && python3 -c 'import os; os.chmod(\"OUT/t\", 384)' && mv OUT/t OUT/n",
            ("n",),
            (),
            {"n": "w\n"},
        ),
        ("sed -i.bak s/old/new/ OUT/f", ("f", "f.bak"), (), {"f": "new\n", "f.bak": "old\n"}),
        ("gzip -n OUT/f && gunzip OUT/f.gz", ("f", "f.gz"), ("f", "f.gz"), {}),
        ("ln -sf other OUT/f && test -L OUT/f", ("f",), (), {"f": "other\n"}),
        ("python3 -c \"open('OUT/n', 'x').write('p')\"", ("n",), (), {"n": "p"}),
    ],
)
async def test_what_was_opened_is_made_changed_and_removed(
    sandbox: Sandbox,
    place: Path,
    command: str,
    opened: tuple[str, ...],
    removed: tuple[str, ...],
    changed: dict[str, object],
) -> None:
    assert await opening(sandbox, place, command, *opened, removed=removed) == 0
    left: dict[str, object] = {**NEW, **changed}
    assert found(place) == {name: text for name, text in left.items() if text is not ...}
    assert [name for name in os.listdir(place / "out") if name.startswith(".september")] == []


@pytest.mark.parametrize(
    "command",
    [
        "echo bad > OUT/other",
        "echo bad > OUT/zz",
        "rm -f OUT/other",
        "mv OUT/other OUT/zz",
        "mv OUT/n OUT/other",
        "ln -f OUT/n OUT/other",
        "ln -sf OUT/other OUT/n && echo bad > OUT/n",
        "ln -s OUT/other l && echo bad > l",
        "mkdir -p OUT/zz/y",
        "truncate -s 0 OUT/other",
        "sed -i s/o/bad/ OUT/other",
        "cp -f a OUT/deep/x",
        "rm -rf OUT",
        "chmod 777 OUT/other",
        "cat OUT/other > copy",
        "cd OUT && rm -f other ./other ../out/other deep/../other",
    ],
)
async def test_nothing_beside_it_is_reached(sandbox: Sandbox, place: Path, command: str) -> None:
    mode = (place / "out" / "other").stat().st_mode
    await opening(sandbox, place, f"echo n > OUT/n; {command}", "n")
    after = found(place)
    after.pop("n", None)
    assert after == NEW
    assert (place / "out" / "other").stat().st_mode == mode
    copy = place / "ws" / "copy"
    assert not copy.exists() or copy.read_text() == ""


async def test_what_was_not_opened_takes_nothing_with_it_and_is_named_where_it_is_gone(
    sandbox: Sandbox, place: Path
) -> None:
    out = place / "out"
    outcome = await shell(sandbox, f"gzip -f {out}/f; cp a {out}/zz", place / "ws", opened=(f"{out}/f",))
    assert "f" in found(place) or outcome.notes
    assert not {"f.gz", "zz"} & found(place).keys()
    assert any(f"{out}/zz was not opened for this command" in note for note in outcome.notes)


async def test_more_files_than_a_command_may_have_open_is_an_error_and_no_waiting(
    sandbox: Sandbox, place: Path
) -> None:
    assert await opening(sandbox, place, "ulimit -n 3; echo x > OUT/n", "n") != 0


async def test_it_is_open_for_one_command_and_not_for_the_next(sandbox: Sandbox, place: Path) -> None:
    assert await opening(sandbox, place, "echo 1 > OUT/f && ln OUT/f hard", "f") != 0  # no second name stays, either
    assert await opening(sandbox, place, "echo 2 > OUT/f") != 0
    await opening(sandbox, place, "echo 3 > hard; true")
    assert found(place)["f"] == "1\n"


async def test_a_folder_that_was_made_on_the_way_holds_only_what_was_opened(sandbox: Sandbox, place: Path) -> None:
    await opening(sandbox, place, "mkdir -p OUT/q/r; echo w > OUT/q/r/w; echo bad > OUT/q/bad", "q/r/w")
    assert found(place) == {**NEW, "q": None, "q/r": None, "q/r/w": "w\n"}


async def test_what_may_be_read_is_only_read(sandbox: Sandbox, place: Path) -> None:
    command = f"cp {place}/out/other got; echo bad > {place}/out/other; cat {place}/out/f"
    outcome = await shell(sandbox, command, place / "ws", readable=(f"{place}/out/other",))
    assert ((place / "ws" / "got").read_text(), outcome.exit_code) == ("other\n", 1)
    assert found(place) == NEW


async def test_a_path_through_a_link_and_one_that_holds_the_workspace_are_not_opened(
    sandbox: Sandbox, place: Path
) -> None:
    assert isinstance(sandbox, OpeningSandbox)
    (place / "link").symlink_to("out")
    for path, says in ((f"{place}/link/f", "leads elsewhere"), (str(place), "it holds the workspace")):
        job = bash_job("true", place / "ws", opened=(path,))
        assert says in (sandbox.problem(job) or "")
        with pytest.raises(SandboxFailed, match=says):
            await sandbox.run(job)
    assert sandbox.problem(bash_job("true", place / "ws", opened=(f"{place}/out/f",))) is None


async def test_what_was_moved_aside_is_there_again_when_the_command_is_killed(sandbox: Sandbox, place: Path) -> None:
    folder = f"{place}/out/deep"
    job = bash_job(f"echo y > {folder}/y; sleep 60", place / "ws", opened=(folder,), removed=(folder,), seconds=0.5)
    assert (await sandbox.run(job)).timed_out
    assert found(place) == {**NEW, "deep/y": "y\n"}


def test_what_somebody_else_made_meanwhile_is_left_alone_and_nothing_is_lost(place: Path) -> None:
    job = bash_job("true", place / "ws", opened=(f"{place}/out/n", f"{place}/out/f"))
    with staged(job) as stage:
        ((source, _),) = stage.mounts
        for name in ("n", "f"):
            (Path(source) / f"{name}.new").write_text("the command's")
            os.replace(Path(source) / f"{name}.new", Path(source) / name)
            (place / "out" / f"{name}.new").write_text("somebody's")
            os.replace(place / "out" / f"{name}.new", place / "out" / name)
    assert (found(place)["n"], found(place)["f"]) == ("somebody's", "somebody's")
    assert [note.split(" was changed")[0] for note in stage.notes] == [f"{place}/out/n", f"{place}/out/f"]
    assert (Path(source) / "n").read_text() == "the command's"


def test_where_nothing_can_stand_in_for_a_folder_it_is_said_before(place: Path) -> None:
    for path in ("/new-file", "/usr/bin/new-file"):
        assert "cannot be made, replaced or removed" in (stage_problem(bash_job("true", place, opened=(path,))) or "")
