"""The second opinion: tree-sitter's grammar of bash, with an allow-list of what its tree may hold.

Where it sees a command that ours does not see, or the other way round, one of them is wrong, and a person is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from .._extras import extra
from .doubt import NotUnderstood

if TYPE_CHECKING:
    import tree_sitter

__all__ = ["starts_of"]

COMMANDS = frozenset(("command", "declaration_command", "test_command"))
KINDS = COMMANDS | frozenset(
    """
    program list pipeline redirected_statement negated_command subshell compound_statement
    if_statement elif_clause else_clause while_statement for_statement do_group
    command_name word number string string_content raw_string ansi_c_string concatenation
    brace_expression extglob_pattern
    simple_expansion expansion variable_name special_variable_name command_substitution
    variable_assignment variable_assignments
    unary_expression binary_expression parenthesized_expression test_operator
    file_redirect file_descriptor herestring_redirect
    heredoc_redirect heredoc_start heredoc_body heredoc_end heredoc_content
    comment
    """.split()
)
"""Only what our grammar knows, too. `brace_expression` and `extglob_pattern` are words that are not decoded."""


def starts_of(text: str) -> frozenset[int]:
    """Where commands begin, in characters. Raises `NotUnderstood` for what cannot be parsed or is not allowed.

    Raises `MissingExtra` where tree-sitter is not installed.
    """
    raw = text.encode()
    root = _parser().parse(raw).root_node
    if root.has_error:
        raise NotUnderstood("it cannot be parsed for certain")
    starts: set[int] = set()
    for node in _nodes(root):
        if node.is_named and node.type not in KINDS:
            raise NotUnderstood(f"it holds a {node.type.replace('_', ' ')}")
        if node.type in COMMANDS:
            starts.add(len(raw[: node.start_byte].decode()))
    return frozenset(starts)


def _nodes(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Without recursion: the depth of a tree is its author's choice."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)


@cache
def _parser() -> tree_sitter.Parser:
    with extra("sandbox", "Judging shell commands"):
        import tree_sitter
        import tree_sitter_bash
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
