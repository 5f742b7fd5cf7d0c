"""The documentation runs, and its links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import september_engine
from september_engine.models import choice

from ..programs import ROOT
from ..sandbox.backends import sandbox_or_skip
from .pages import PageFailed, blocks_of, links_of, needs_sandbox, pages, prompt_problem, run_page, slugs_of

PACKAGE = Path(september_engine.__file__).parent
PAGES = pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_runs_and_prints_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if needs_sandbox(page):
        sandbox_or_skip("auto")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choice, "OFFLINE_PACE", 0.0)
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for target in links_of(page):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        aim = (page.parent / path).resolve() if path else page
        if aim.is_relative_to(ROOT / "src"):  # where the wheel is tested, the source is the installed one
            aim = PACKAGE.parent / aim.relative_to(ROOT / "src")
        if not aim.exists() or (anchor and anchor not in slugs_of(aim)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in links_of(page) if "://" not in target)
        todo += [(page.parent / target).resolve() for target in targets if target]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page.resolve() not in reached] == []


def test_every_block_says_its_language() -> None:
    assert [
        f"{block.page.name}:{block.line}" for page in PAGES for block in blocks_of(page) if not block.language
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_can_be_pasted_at_a_prompt(page: Path) -> None:
    """The prompt of `python -m asyncio` compiles line by line: a statement ends at the first blank line in it."""
    assert [
        f"{page.name}:{block.line}: {problem}"
        for block in blocks_of(page)
        if block.language == "python" and (problem := prompt_problem(block.text))
    ] == []


# ── the runner itself ────────────────────────────────────────────────────────────────────────────────────────────


def a_page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_a_page_that_shows_something_else_than_it_prints_fails(tmp_path: Path) -> None:
    with pytest.raises(PageFailed, match=r"page\.md:2 printed"):
        run_page(a_page(tmp_path, "```python\nprint(1)\n```\n\n```text\n2\n```\n"))


def test_a_block_that_raises_fails_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PageFailed, match=r"page\.md:4 raised ZeroDivisionError"):
        run_page(a_page(tmp_path, "# A\n\n```python\n1 / 0\n```\n"))


def test_names_live_on_and_await_stands_at_the_top_level(tmp_path: Path) -> None:
    first = "```python\nimport asyncio\nready = asyncio.Event()\n```\n"
    then = "```python\nready.set()\nawait ready.wait()\nprint('turn_1 ended')\n```\n```text\nturn_… ended\n```\n"
    run_page(a_page(tmp_path, first + then))


def test_a_block_that_is_marked_is_left_out(tmp_path: Path) -> None:
    run_page(a_page(tmp_path, "<!-- no-run: it needs a key -->\n```python\nraise SystemExit\n```\n"))


def test_a_page_says_that_it_needs_a_sandbox(tmp_path: Path) -> None:
    assert needs_sandbox(a_page(tmp_path, "# A\n\n<!-- needs: a sandbox -->\n"))
    assert not needs_sandbox(a_page(tmp_path, "# A\n"))


def test_a_block_inside_of_a_list_is_run(tmp_path: Path) -> None:
    with pytest.raises(PageFailed, match="ZeroDivisionError"):
        run_page(a_page(tmp_path, "1. First:\n\n   ```python\n   if True:\n       1 / 0\n   ```\n"))


def test_links_in_code_are_not_links_and_headings_are_anchors(tmp_path: Path) -> None:
    page = a_page(tmp_path, "# What it's for\n[a](b.md#c) `[no](x)`\n```text\n[no](y)\n# no\n```\n")
    assert list(links_of(page)) == ["b.md#c"]
    assert slugs_of(page) == {"what-its-for"}
