from __future__ import annotations

import sys

import pytest

from september_engine._bash import actions_of, tree
from september_engine._bash.doubt import NotUnderstood
from september_engine._bash.grammar import parse
from september_engine.errors import ConfigurationError


@pytest.mark.parametrize(
    "command",
    [
        "é; ls",
        "a && b | c > d || ! e; f & g",
        "[ -f x ] && [[ -d y ]]",
        "for f in $(ls); do wc; done",
        "cat <<E && x\nb\nE\ny",
        "> f a",
    ],
)
def test_both_readers_find_the_same_commands(command: str) -> None:
    assert tree.starts_of(command) == parse(command)[1]


@pytest.mark.parametrize(
    "command", ["f() { ls; }", "cat <(ls)", "a=(1 2)", "case x in x) ls;; esac", "echo $((1))", "unset x", "echo 'x"]
)
def test_what_is_not_on_the_list_of_kinds_is_refused(command: str) -> None:
    with pytest.raises(NotUnderstood):
        tree.starts_of(command)


def test_twenty_thousand_substitutions_inside_each_other_are_no_trouble() -> None:
    with pytest.raises(NotUnderstood):
        tree.starts_of("$(" * 20_000)
    assert tree.starts_of("$(" * 20_000 + "ls" + ")" * 20_000)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tree._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_bash", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'september-engine\[sandbox\]'"):
        actions_of("ls", cwd="/", home="/")
    monkeypatch.undo()
    assert actions_of("ls", cwd="/", home="/")
