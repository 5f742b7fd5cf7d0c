from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.tools._glob import Glob


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "src/deep/a.py", True),
        ("/*.py", "src/a.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/deep/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/very/deep/a.py", True),
        ("**/test_*", "tests/x/test_a.py", True),
        ("src/**", "src", True),
        ("src/**", "src/a/b", True),
        ("**/a/**/b", "x/a/y/z/b", True),
        ("**/a/**/b", "x/y/b", False),
        ("./src/a?.py", "src/ab.py", True),
        ("[ab].txt", "c.txt", False),
        ("[!ab].txt", "c.txt", True),
        ("*.{js,ts}", "a.ts", True),
        ("*.{js,ts{,x}}", "a.tsx", True),
        ("{src,lib}/**/*.{c,h}", "lib/x/y.h", True),
        ("*.{js,ts}", "a.py", False),
        ("*", ".hidden", True),
        ("*.PY", "a.py", False),
        ("a*b", "a\nb", True),
        ("a.b", "axb", False),
        ("{a}", "{a}", True),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: str, matches: bool) -> None:
    assert Glob(pattern).matches(path.split("/")) is matches


def test_what_is_below_a_match_is_covered() -> None:
    assert Glob("build").covers(("src", "build", "x", "y.o"))
    assert not Glob("build").matches(("src", "build", "x", "y.o"))
    assert not Glob("src/build").covers(("src", "other"))


def test_upper_and_lower_case_may_be_the_same() -> None:
    assert Glob(".git", ignore_case=True).covers((".GIT", "config"))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "it is empty"),
        ("//", "it is empty"),
        ("../*", "'..' cannot stand in it"),
        ("{a,b}" * 7, "its braces stand for more than 64 patterns"),
    ],
)
def test_what_cannot_be_a_pattern(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Glob(pattern)


def test_nothing_below_a_dead_end_can_match() -> None:
    glob = Glob("src/*.py")
    assert not glob.step(glob.start, "tests")
    assert glob.step(glob.start, "src")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 60 + "b", "a" * 250),
        ("**/a/" * 60 + "b", "a/" * 250 + "c"),
        ("[" * 500, "["),
        ("*" * 900 + "b", "a" * 250),
    ],
)
def test_no_pattern_blows_up(pattern: str, path: str) -> None:
    begin = time.perf_counter()
    Glob(pattern).matches(path.split("/"))
    assert time.perf_counter() - begin < 1.0


names = st.text(st.sampled_from("ab.[]*?{},-!\n"), min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))


@given(st.lists(names, min_size=1, max_size=4))
def test_any_pattern_is_used_or_refused(parts: list[str]) -> None:
    try:
        glob = Glob("/".join(parts))
    except ValueError:
        return
    assert glob.matches(["a", "b"]) in (True, False)


@given(st.lists(st.sampled_from(["a", "b", "**"]), min_size=2, max_size=5), st.lists(st.sampled_from("ab"), max_size=6))
def test_two_stars_stand_for_any_folders(pattern: list[str], path: list[str]) -> None:
    def matches(pattern: list[str], path: list[str]) -> bool:
        if not pattern:
            return not path
        if pattern[0] == "**":
            return matches(pattern[1:], path) or (bool(path) and matches(pattern, path[1:]))
        return bool(path) and path[0] == pattern[0] and matches(pattern[1:], path[1:])

    assert Glob("/".join(pattern)).matches(path) is matches(pattern, path)
