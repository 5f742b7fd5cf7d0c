"""What commands would do, as the policy sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._bash import actions_of
from september_engine.permissions import Action, Network, Read, Run, Unknown, Write

from .corpora import HOME, ROOT


def actions(command: str) -> tuple[Action, ...]:
    return actions_of(command, cwd=ROOT, home=HOME)


def written(command: str) -> set[str]:
    """The paths that are written, without the workspace's beginning."""
    effects = [effect for one in actions(command) for effect in (one.effects if isinstance(one, Run) else (one,))]
    return {one.path.removeprefix(f"{ROOT}/") for one in effects if isinstance(one, Write)}


def doubts(command: str) -> list[str]:
    return [
        one.why if isinstance(one, Unknown) else one.unknown
        for one in actions(command)
        if isinstance(one, Unknown) or (isinstance(one, Run) and one.unknown)
    ]


def test_a_command_is_its_decoded_words_and_what_comes_of_them() -> None:
    assert actions("c'p' -r src/ \"build/a b\" > log 2>&1") == (
        Write(path=f"{ROOT}/log"),
        Run(
            argv=("cp", "-r", "src/", "build/a b"), effects=(Read(path=f"{ROOT}/src"), Write(path=f"{ROOT}/build/a b"))
        ),
    )


def test_code_of_the_workspace_is_opaque_and_known() -> None:
    assert actions("pytest -q") == (Run(argv=("pytest", "-q"), opaque=True),)


def test_what_reaches_the_network_says_whom_where_that_is_certain() -> None:
    hosts = {command: [one for one in effects(command) if isinstance(one, Network)] for command in HOSTS}
    assert hosts == {command: [Network(host=host)] for command, host in HOSTS.items()}


HOSTS = {
    "curl -s https://Example.org:8443/a?b": "example.org",
    "curl localhost:8000": "localhost",
    'curl "https://example.org/$x"': "example.org",
    'curl "https://example.org$x"': "*",
    "curl https://example.org/$x": "*",
    "curl 'https://{a,b}.example.org/'": "*",
    "git push origin main": "*",
    "git fetch git@example.org:x/y.git": "example.org",
    "git clone https://example.org/x.git": "example.org",
    "pip install attrs": "*",
    "ping example.org": "example.org",
    "cat < /dev/tcp/example.org/80": "example.org",
}


def effects(command: str) -> list[Action]:
    return [effect for one in actions(command) for effect in (one.effects if isinstance(one, Run) else (one,))]


def test_what_is_not_understood_is_said_and_the_rest_is_judged_all_the_same() -> None:
    assert actions("mystery --now; rm x") == (
        Run(argv=("mystery", "--now"), unknown="the program mystery is not known"),
        Run(argv=("rm", "x"), effects=(Write(path=f"{ROOT}/x"),)),
    )


def test_nothing_is_nothing() -> None:
    assert actions("") == actions("# only a remark") == actions("\n\n") == ()


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("cd src && touch x", {"src/x"}),
        ("cd src; touch x", {"src/x", "x"}),
        ("cd src || touch x", {"x"}),
        ("cd src && cd app && touch x; touch y", {"src/app/x", "src/app/y", "src/y", "y"}),
        ("(cd src && touch x); touch y", {"src/x", "y"}),
        ("cd src | cat; touch x", {"x"}),
        ("cd src & touch x", {"x"}),
        ("! cd src && touch x", {"x"}),
        ("{ cd src; }; touch x", {"src/x", "x"}),
        ("if cd src; then touch x; else touch y; fi", {"src/x", "y"}),
        ("until cd src; do touch x; done; touch y", None),
        ("while true; do cd src; break; cd ..; done; touch x", None),
        ("cd src && cat a > x", {"src/x"}),
        ("cd src > x", {"x"}),
        ("echo $(cd src && touch x) > y", {"src/x", "y"}),
        ("sh -c 'cd src; touch x'; touch y", {"src/x", "x", "y"}),
        ("git -C src add .; touch y", {"src", "y"}),
    ],
)
def test_the_folder_is_followed_into_all_that_may_be(command: str, paths: set[str] | None) -> None:
    if paths is None:
        assert doubts(command) == ["there are too many states in which it may run"]
    else:
        assert written(command) == paths


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("d=build; mkdir $d", {"build"}),
        ('false && d=src; mkdir "x$d"', None),
        ("for f in a b; do touch $f; done", {"a", "b"}),
        ('for f in src/*; do rm "$f"; done', {"src"}),
        ("for f in src/*; do rm $f; done", None),
        ('x=$(ls); rm "$x"', None),
        ('read -r x; rm "$x"', None),
        ("x=a; (x=b; touch $x); touch $x", {"a", "b"}),
        ("x=a; x=b y=$(touch $x)", {"b"}),
        ("x=a; x=b > $x", None),
    ],
)
def test_variables_are_known_only_where_they_are_certain(command: str, paths: set[str] | None) -> None:
    assert written(command) == paths if paths is not None else doubts(command)


@pytest.mark.parametrize(
    "command", ["x=1 ls", "PATH=. ls", "IFS=, read -r a", "export PATH=x", "PS4=x; ls", "http_proxy=x", "set -a"]
)
def test_what_changes_later_commands_asks(command: str) -> None:
    assert doubts(command)


@pytest.mark.parametrize(
    "command",
    [
        "CI=1 pytest",
        "export NODE_ENV=test",
        "set -euo pipefail",
        "while IFS= read -r x; do ls; done",
        "PYTHONPATH=src pytest",
    ],
)
def test_what_is_known_to_change_nothing_does_not_ask(command: str) -> None:
    assert doubts(command) == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("ls\r\n", "it holds the character U+000D, which cannot be seen"),
        ("ls\u00a0-l", "it holds the character U+00A0, which cannot be seen"),
        ("x" * 10_001, "it is longer than 10000 bytes"),
        ("é" * 6_000, "it is longer than 10000 bytes"),
        ("ls;" * 51, "it holds more than 50 commands"),
        ("echo " + "$(" * 3_000, "it is nested too deeply"),
        ("(" * 2_000, "it holds arithmetic"),
        ("{ " * 2_000, "it is nested too deeply"),
        ("if " * 2_000, "it is nested too deeply"),
        ("nice " * 1_500 + "ls", "too many programs run one another"),
        (
            "for a in 1 2 3 4; do for b in 1 2 3 4 5; do echo $a$b; done; done",
            "there are too many states in which it may run",
        ),
        ("sudo ls", "sudo: it runs something with the rights of another user"),
        ("$x ls", "which program `$x` is cannot be told"),
        ("case x in esac", "`case` is not understood here"),
        ("ls; }", "`}` is not understood here"),
        ("ls >", "the end is not understood here"),
        ("ls > | x", "`|` is not understood here"),
        ("if ls; fi", "`fi` is not understood here"),
        ("{ }", "a command is missing"),
        ("for x; do ls; done", "this `for` is not understood"),
        ("for x in a do ls", "this `for` is not understood"),
        ("[[ -v x ]]", "`-v` is not understood inside [[ ]]"),
        ("! ! ls", "`!` is not understood here"),
        ("x+=1", "it appends to a variable"),
        ("cat <<E", "a here-document has no end"),
        ("cat <<$x\nE", "the end of a here-document is not a plain word"),
        ("cat <<E\n$x\nE", "a here-document holds expansions"),
        ("ls `id`", "it holds backquotes"),
        ("rm .git/config", f"it changes {ROOT}/.git/config, which git reads and runs later"),
        ("cd /tmp && pytest", "pytest runs what /tmp says, which is not below /home/dev/project"),
    ],
)
def test_a_doubt_has_its_reason(command: str, why: str) -> None:
    assert doubts(command) == [why]


def test_what_the_two_readers_see_differently_asks() -> None:
    assert doubts("time -p ls") == []
    assert doubts("echo 2>x a2>y {fd}>z")


ANYTHING = st.text(st.sampled_from("ab $(){}[]<>|&;\"'`\\\n\t#~*?=!-/.,é\x00\r\u2028\ud800"), max_size=60)
PIECES = """
    if then else fi for in do done while { } ( ) ; && || | & ! [[ ]] [ ] $( ) "$x" 'a' x=1 > < >> << E cd .. src ls rm
    git log xargs find -exec {} + \\; env sh -c sed s/a/b/ -i awk {print} test -f export set -e read -r tar cp mv * ~ -o
    --output=x curl http://x make python -m pytest timeout 5 printf %s dd of=x ln -s split uniq '>/tmp/x' "$(rm)"
"""
SHELLISH = st.lists(st.sampled_from([*PIECES.split(), "\n"]), max_size=14).map(" ".join)


@given(st.one_of(st.text(max_size=40), ANYTHING, SHELLISH))
def test_it_has_an_answer_for_any_text(command: str) -> None:
    assert all(isinstance(one, Action) for one in actions_of(command, cwd=ROOT, home=HOME))


def test_a_rule_can_only_know_a_program_whose_words_are_known_and_never_what_changes_the_shell() -> None:
    assert actions("mystery 'a b'") == (Run(argv=("mystery", "a b"), unknown="the program mystery is not known"),)
    assert actions("docker ps") == (Run(argv=("docker", "ps"), unknown="docker: it runs programs out of reach"),)
    for command in ("mystery $x", 'mystery "$(date)"', "mystery *", "eval mystery", "exec mystery", ". mystery"):
        assert any(isinstance(one, Unknown) for one in actions(command)), command


def test_a_device_of_the_network_without_a_host_is_a_file_and_no_leave_to_talk_to_everybody() -> None:
    assert effects("echo > /dev/tcp") == [Write(path="/dev/tcp")]
    assert effects("echo > /dev/tcp/Example.org/80") == [Network(host="example.org")]
