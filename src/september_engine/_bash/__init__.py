"""The shell policy: what a bash command would do, as actions that `permissions` can judge. Pure and total.

    text.check      what no reader of a command can see is refused first
    grammar.parse   our strict subset of bash, word by word
    tree.starts_of  tree-sitter's second opinion: it must find the same commands in the same places
    shell           walks the commands in every state the shell may be in, and asks the table about each
    table           the programs that are known, and what their words make them do

1. Nothing falls open: what is not known to be harmless becomes `Unknown`, and `Unknown` asks a person.
2. Words are decoded as bash decodes them, or not at all.
3. Paths are followed as text. Symbolic links are for the sandbox, which is the boundary; this is advice to people.
"""

from __future__ import annotations

from .shell import actions_of

__all__ = ["actions_of"]
