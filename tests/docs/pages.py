"""Markdown pages as programs: their Python blocks run in order, and what they print is what the page shows.

```python          is run; names live on in the page's later blocks; `await` may stand at the top level
```text            right after it is what it prints, `…` for anything within a line
<!-- no-run: why -->  before a block leaves it out, with the reason
<!-- needs: a sandbox -->  anywhere leaves the whole page out where shell commands cannot run
"""

from __future__ import annotations

import ast
import asyncio
import codeop
import inspect
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import attrs

from ..programs import ROOT

__all__ = [
    "Block",
    "PageFailed",
    "blocks_of",
    "links_of",
    "needs_sandbox",
    "pages",
    "prompt_problem",
    "run_page",
    "slugs_of",
]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)
_NOT_RUN = re.compile(r"<!-- no-run: (?P<why>[^>]+) -->\s*\Z")
_NEEDS_SANDBOX = "<!-- needs: a sandbox -->"
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class PageFailed(AssertionError):
    """A block raised, or printed something else than the page shows."""


@attrs.frozen(kw_only=True)
class Block:
    """One fenced block. `output` is what the page shows below it, `not_run` why it is left out."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    output: str | None = None


def pages() -> list[Path]:
    """Every page for people: the README and the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        between, indent = text[end : match.start()], match["indent"]
        marked = _NOT_RUN.search(between)
        body = re.sub(f"^{indent}", "", match["text"], flags=re.M)
        if match["language"] == "text" and found and found[-1].language == "python" and not between.strip():
            found[-1] = attrs.evolve(found[-1], output=body)
        else:
            found.append(
                Block(
                    page=page,
                    line=text.count("\n", 0, match.start()) + 2,
                    language=match["language"],
                    text=body,
                    not_run=marked["why"] if marked else None,
                )
            )
        end = match.end()
    return found


def needs_sandbox(page: Path) -> bool:
    """Whether the page shows what only a machine with a sandbox can do."""
    return _NEEDS_SANDBOX in page.read_text(encoding="utf-8")


def run_page(page: Path) -> None:
    """Run the Python blocks. Blocks without `await` run outside of the event loop, as a script would."""
    names: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks_of(page):
            if block.language == "python" and block.not_run is None:
                _run(block, names, runner)


def _run(block: Block, names: dict[str, object], runner: asyncio.Runner) -> None:
    place = f"{block.page.name}:{block.line}"
    code = compile(
        "\n" * (block.line - 1) + block.text,
        str(block.page),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, names))
            else:
                exec(code, names)
    except Exception as error:
        raise PageFailed(f"{place} raised {type(error).__name__}: {error}") from error
    if block.output is not None and not _alike(block.output, printed.getvalue()):
        raise PageFailed(f"{place} printed\n{printed.getvalue()}\nbut the page shows\n{block.output}")


def _alike(shown: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


def prompt_problem(text: str) -> str | None:
    """The first line of a block that an interactive prompt refuses when it is typed line by line; None: it takes all.

    Classes have blank lines, at which a prompt ends them; they are looked at as if they had none.
    """
    text = re.sub(r"^\n(?= )", "", text, flags=re.M) if re.search(r"^class ", text, re.M) else text
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        lines.append(line)
        try:
            if compiler("\n".join(lines)) is not None:
                lines = []
        except SyntaxError:
            return line
    return None


def links_of(page: Path) -> Iterator[str]:
    """The targets of a page's links, but for those inside of code."""
    for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))):
        yield match["target"]


def slugs_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
