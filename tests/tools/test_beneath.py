from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine.tools import _beneath
from september_engine.tools._beneath import Names, Outside, Place, spot_at, way


def found(root: Path, *names: str) -> Names:
    with spot_at(Place(str(root), names)) as spot:
        assert spot.place.root == str(root)
        return spot.place.names


@pytest.fixture
def maze(root: Path) -> Path:
    """Folders and links of every kind."""
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside\n")
    links = {
        "out": "../outside",
        "out_file": "../outside/secret.txt",
        "absolute_out": "/",
        "absolute_in": f"{root}/a/b",
        "beside": f"{root}x/a",
        "to_root": str(root),
        "to_b": "a/b",
        "up_and_down": "a/../a/b/../../a",
        "above": "a/../../root/a",
        "far_above": "../../../../../../../../../../../../../../a",
        "in_and_out": f"{root}/../outside",
        "loop": "loop",
        "ping": "pong",
        "pong": "ping",
        "chain": "to_b",
        "dangling": "nothing",
        "magic": "/proc/self/cwd",
        "a/b/back": "../..",
        "a/b/out": "../../../outside",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    other = root.parent / "other"
    (other / "b").mkdir(parents=True)
    (other / "b/file").write_text("other\n")
    (root / "to_other").symlink_to("../other")
    (root / "a/other_b").symlink_to(f"{other}/b")
    for name, target in {"to_root": "../root/a", "back": f"{root}/to_other/b", "out": "../outside"}.items():
        (other / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("names", "real"),
    [
        ((), ()),
        (("a",), ("a",)),
        (("a", "b", "file"), ("a", "b", "file")),
        (("to_b", "file"), ("a", "b", "file")),
        (("to_b",), ("a", "b")),
        (("chain", "file"), ("a", "b", "file")),
        (("absolute_in", "file"), ("a", "b", "file")),
        (("to_root", "a", "new"), ("a", "new")),
        (("to_root",), ()),
        (("up_and_down", "b"), ("a", "b")),
        (("above", "b"), ("a", "b")),
        (("a", "b", "back", "to_b", "back", "x"), ("x",)),
        (("dangling",), ("nothing",)),
        (("a", "new"), ("a", "new")),
    ],
)
def test_links_that_stay_inside_are_followed_to_real_names(
    way: str, maze: Path, names: Sequence[str], real: Names
) -> None:
    assert found(maze, *names) == real


@pytest.mark.parametrize(
    "names",
    [
        ("out",),
        ("out", "secret.txt"),
        ("out_file",),
        ("absolute_out", "etc"),
        ("beside",),
        ("far_above",),
        ("in_and_out",),
        ("magic",),
        ("a", "b", "out", "secret.txt"),
        ("to_b", "back", "out"),
    ],
)
def test_links_that_lead_out_are_not(way: str, maze: Path, names: Sequence[str]) -> None:
    with pytest.raises(Outside):
        found(maze, *names)


@pytest.mark.parametrize("names", [("loop",), ("ping", "x"), ("a", "b", *["back", "a", "b"] * 41, "file")])
def test_links_without_end_are_given_up(way: str, maze: Path, names: Sequence[str]) -> None:
    with pytest.raises(OSError) as caught:
        found(maze, *names)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("missing", "x"), FileNotFoundError),
        (("a", "b", "file", "x"), NotADirectoryError),
        (("dangling", "x"), FileNotFoundError),
    ],
)
def test_errors_are_those_of_the_system(way: str, maze: Path, names: Sequence[str], error: type[OSError]) -> None:
    with pytest.raises(error):
        found(maze, *names)


def test_a_way_may_be_longer_than_the_system_takes_in_one_piece(way: str, root: Path) -> None:
    names = ["d" * 200] * 30
    made: list[Place] = []
    with spot_at(Place(str(root), (*names, "file")), make=made.append) as spot:
        os.close(os.open(spot.name, os.O_CREAT | os.O_WRONLY, dir_fd=spot.folder))
    assert len(made) == 30
    assert found(root, *names, "file") == (*names, "file")


def test_who_asks_may_forbid_what_is_made(way: str, maze: Path) -> None:
    def forbid(place: Place) -> None:
        raise RuntimeError(place)

    place = Place(str(maze), ("to_b", "new", "file"))
    with pytest.raises(RuntimeError) as caught, spot_at(place, make=forbid):
        pass
    assert caught.value.args == (Place(str(maze), ("a", "b", "new")),)
    assert not (maze / "a/b/new").exists()


@pytest.mark.parametrize(
    ("names", "inside", "real"),
    [
        (("to_other",), "other", ()),
        (("to_other", "b", "file"), "other", ("b", "file")),
        (("a", "other_b", "new"), "other", ("b", "new")),
        (("to_other", "to_root", "b", "file"), "root", ("a", "b", "file")),
        (("to_other", "back", "file"), "other", ("b", "file")),
    ],
)
def test_a_link_may_lead_to_another_root(way: str, maze: Path, names: Names, inside: str, real: Names) -> None:
    place, other = Place(str(maze), names), maze.parent / "other"
    with spot_at(place, others=[str(other)]) as spot:
        assert spot.place == Place(str(maze.parent / inside), real)
        opened = os.fstat(spot.folder)
    real_folder = os.stat(os.path.join(spot.place.root, *real[:-1]))
    assert (opened.st_dev, opened.st_ino) == (real_folder.st_dev, real_folder.st_ino)
    with pytest.raises(Outside), spot_at(place):
        pass


def test_a_link_of_another_root_does_not_lead_out(way: str, maze: Path) -> None:
    place, other = Place(str(maze), ("to_other", "out", "secret.txt")), maze.parent / "other"
    with pytest.raises(Outside), spot_at(place, others=[str(other)]):
        pass


def test_the_way_to_a_path_is_as_it_is_written() -> None:
    assert way("/a", "/a") == ()
    assert way("/a", "/a/b//c/./d") == ("b", "c", "d")
    assert way("/", "/etc") == ("etc",)
    assert way("/a", "/ab") is None
    assert way("/a/b", "/a") is None


def test_no_folder_stays_open(way: str, maze: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    other = str(maze.parent / "other")
    for way_ in ("a/b/file", "to_b/file", "out", "loop", "missing/x", "to_root/a/x", "to_other/back/x", "to_other/out"):
        for others in ([], [other], [f"{other}/missing"]):
            try:
                with spot_at(Place(str(maze), tuple(way_.split("/"))), others=others):
                    pass
            except (OSError, Outside):
                continue
    assert len(os.listdir("/dev/fd")) == before


STEPS = (
    "a b file out out_file absolute_out absolute_in beside to_root to_b up_and_down above loop ping dangling magic "
    "back to_other other_b"
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(names=st.lists(st.sampled_from(STEPS.split()), max_size=8))
def test_both_ways_find_the_same_and_nothing_outside(maze: Path, names: list[str]) -> None:
    other = maze.parent / "other"
    inside = {identity(folder) for root in (maze, other) for folder, _, _ in os.walk(root)}
    openat2 = _beneath.openat2

    def outcome() -> object:
        try:
            with spot_at(Place(str(maze), tuple(names)), others=[str(other)]) as spot:
                status = os.fstat(spot.folder)
                assert (status.st_dev, status.st_ino) in inside
                assert spot.name == "." or "/" not in spot.name
                assert os.path.realpath(maze.joinpath(*names)) == os.path.join(spot.place.root, *spot.place.names)
                return spot.place
        except Outside:
            return Outside
        except OSError as error:
            return error.errno

    try:
        first = outcome()
        _beneath.openat2 = None
        assert outcome() == first
    finally:
        _beneath.openat2 = openat2


def identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
