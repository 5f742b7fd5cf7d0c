"""Words, decoded by us and by bash itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._bash.doubt import NotUnderstood
from september_engine._bash.grammar import parse
from september_engine._bash.syntax import Commands, Simple
from september_engine._bash.values import Argument, World, absolute, alternatives, expand

from ..programs import unicode_names

BASH = shutil.which("bash") or "/bin/bash"
WORLD = World("/home/dev/project", (("name", Argument("", value="a b")), ("plain", Argument("", value="x.y"))))


def arguments(words: str, world: World = WORLD) -> list[Argument]:
    """What the words come to; raises `NotUnderstood`."""
    node, _ = parse(f"printf {words}")
    assert isinstance(node, Commands)
    command = node.items[0][0]
    if len(node.items) != 1 or not isinstance(command, Simple) or command.redirects:
        raise NotUnderstood("more than one command")
    return [expand(one, world, home="/home/dev") for word in command.words[1:] for one in alternatives(word)]


def value(word: str) -> str | None:
    return arguments(word)[0].value


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("a", "a"),
        (r"a\ b", "a b"),
        ("'a b'\"c\"d", "a bcd"),
        (r"'a\'", "a\\"),
        (r'"a\b\"\$\\"', 'a\\b"$\\'),
        ('"a\\\nb"', "ab"),
        (r"$'\x72\155\u0021\n\''", "rm!\n'"),
        ('""', ""),
        ("foo$", "foo$"),
        ('"foo$"', "foo$"),
        ("HEAD@{1}", "HEAD@{1}"),
        ("~", "/home/dev"),
        ("~/x", "/home/dev/x"),
        ("'~'", "~"),
        ("a~", "a~"),
        ("$HOME/x", "/home/dev/x"),
        ('"${PWD}"', "/home/dev/project"),
        ('"$name"', "a b"),
        ("$plain", "x.y"),
        ("'*'", "*"),
        (r"\*", "*"),
        ("[", "["),
    ],
)
def test_what_bash_would_make_of_a_word(word: str, means: str) -> None:
    assert value(word) == means


@pytest.mark.parametrize(
    "word", ["$x", "*.py", "a?", "[ab]", "{1..3}", "{a,{b,c}}", "$name", "$(ls)", '"$(ls)"', "a=~/x", "$1"]
)
def test_what_cannot_be_told_without_running_has_no_value(word: str) -> None:
    assert value(word) is None


@pytest.mark.parametrize(
    "word",
    [
        "~root",
        "~+",
        "`ls`",
        "$(( 1 ))",
        "$[1]",
        "${x:-y}",
        '$"x"',
        "<(ls)",
        r"$'\cx'",
        r"$'\0'",
        r"$'\xff'",
        "a\\\nb",
        "'a",
        '"a',
        "x[0]",
    ],
)
def test_what_is_not_decoded_is_refused(word: str) -> None:
    with pytest.raises(NotUnderstood):
        value(word)


def test_simple_braces_are_the_words_they_stand_for() -> None:
    assert [one.value for one in arguments("src/{a,b}.py {,x} {a}")] == ["src/a.py", "src/b.py", "x", "{a}"]


@pytest.mark.parametrize(
    ("word", "folder"),
    [
        ("src/*.py", "/home/dev/project/src"),
        ("*.py", "/home/dev/project"),
        ("../*", "/home/dev"),
        ("/etc/*", "/etc"),
        ("src/*/x", "/home/dev/project/src"),
        ("src/*/../x", None),
        ("src/.*", None),
        ("src/.?", None),
        ("src/$x", None),
        ('"$x"', None),
        ("$x/src", None),
    ],
)
def test_the_matches_of_a_pattern_are_below_the_folder_it_begins_in(word: str, folder: str | None) -> None:
    assert arguments(word)[0].path("/home/dev/project") == folder


def test_a_loop_variable_keeps_what_is_known_of_its_pattern() -> None:
    inside = WORLD.with_name("f", Argument("", begins="src/", stays=True))
    for word, folder in [
        ('"$f"', "/src"),
        ('"$f.bak"', "/src"),
        ('"out/$f"', "/out/src"),
        ('"$f/../.."', None),
        ("$f", None),
    ]:
        path = arguments(word, inside)[0].path("/p")
        assert path == (f"/p{folder}" if folder else None)


@pytest.mark.parametrize(
    ("path", "is_"),
    [
        ("x", "/a/b/x"),
        ("/x/./y//z/", "/x/y/z"),
        ("..", "/a"),
        ("../../..", "/"),
        ("x/../..", "/a"),
        (".", "/a/b"),
        ("/", "/"),
    ],
)
def test_paths_are_followed_as_text(path: str, is_: str) -> None:
    assert absolute(path, "/a/b") == is_


PIECES = st.one_of(
    st.text(st.sampled_from("ab/.-_=:,%+@^!é~#"), min_size=1, max_size=4),
    st.sampled_from(
        [
            "$",
            "{",
            "}",
            "*",
            "?",
            "[",
            "]",
            "{a,b}",
            "{1..2}",
            "~",
            "~/",
            "$HOME",
            "${HOME}",
            "$PWD",
            '"$HOME"',
            "$x",
            "\\\n",
        ]
    ),
    st.text(st.sampled_from('ab $`\\"*~{,}é\n\t#;|&<>()'), max_size=5).map(lambda text: f"'{text}'"),
    st.text(st.sampled_from("ab $'\\`*~{,}é\n#;|&<>()!"), max_size=5).map(lambda text: f'"{text}"'),
    st.sampled_from("$`\\\"'* ~{,}é#;|&<>()ab!").map(lambda one: f"\\{one}"),
    st.lists(
        st.sampled_from([*'ab "$', "\\n", "\\x41", "\\101", "\\'", "\\\\", "\\u0042", "\\e", "\\q"]), max_size=4
    ).map(lambda parts: f"$'{''.join(parts)}'"),
)
WORDS = st.lists(PIECES, min_size=1, max_size=5).map("".join)


@unicode_names
@given(st.lists(WORDS, min_size=4, max_size=12))
def test_bash_decodes_words_as_we_do(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    decoded: dict[str, list[str]] = {}
    world = World("/empty")
    for word in words:
        try:
            values = [one.value for one in arguments(word, world)]
        except NotUnderstood:
            continue
        known = [one for one in values if one is not None]
        if len(known) == len(values):
            decoded[word] = known
    assert told_by_bash(decoded, tmp_path_factory.getbasetemp()) == list(decoded.values())


def told_by_bash(words: dict[str, list[str]], folder: Path) -> list[list[str]]:
    """What bash makes of each word, one record a word, each with a first word that keeps it from being empty."""
    if not words:
        return []
    script = "\n".join(f"printf '%s\\0' '' {word}\nprintf '\\001\\0'" for word in words)
    (folder / "empty").mkdir(exist_ok=True)
    run = subprocess.run(
        [BASH, "-c", f"PWD=/empty\n{script}"],
        cwd=folder / "empty",
        env={"HOME": "/home/dev", "LANG": "C.UTF-8", "PATH": ""},
        capture_output=True,
        check=False,
    )
    records = run.stdout.decode().split("\0\x01\0")
    return [record.split("\0")[1:] for record in records[:-1]]
