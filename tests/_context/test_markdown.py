from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from september_engine._context.markdown import harmless, literal

OURS = re.compile(r"</?(?:pre|code)>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# Two\n\n* **bold** and [a link](https://e.org)", None),
        ("```python\nprint(1)\n```\nafter", None),
        ("a < b and <script>alert(1)</script>", "a &lt; b and &lt;script>alert(1)&lt;/script>"),
        ("`x<y>`", "<code>x&#60;y&#62;</code>"),
        ("```html\n<b>\n\n[x](y)\n```\nafter <i>", None),
        ("[x](javascript:alert(1))", "[x]\\(javascript:alert(1))"),
        ("[x](  JaVa&#115;cript\\:alert(1))", "[x]\\(  JaVa&#115;cript\\:alert(1))"),
        ("[x](java&Tab;script&colon;alert(1))", "[x]\\(java&Tab;script&colon;alert(1))"),
        ("[x]:\tdata:text/html,1", "[x]\\:\tdata:text/html,1"),
        ("[x](\njavascript:alert(1))", "[x]\\(\njavascript:alert(1))"),
        ("[x](mailto:a@e.org) [y](../z) [z](#a)", None),
        ("![x](https://e.org/?q=secret)", "!\\[x](https://e.org/?q=secret)"),
    ],
)
def test_what_runs_or_is_fetched_is_text_and_the_rest_is_as_it_was(text: str, shown: str | None) -> None:
    if "```html" in text:
        shown = f"\n<pre><code>{literal('<b>' + chr(10) * 2 + '[x](y)')}</code></pre>\n\nafter &lt;i>"
    said = harmless(text)
    assert said == (text if shown is None else shown) or (
        shown is None and said.replace("<code>code</code>", "`code`") == text
    )


PARTS = st.sampled_from([*"``` ~~~~ ` < script> ]( ]: ![ > - javascript: \\ &lt;".split(), "\n", "    "])


@given(st.lists(st.one_of(PARTS, st.text(max_size=5)), max_size=30).map("".join))
@example(" ```\n```\n<script>")
@example("- ```\n  x\n\n<script>\n```")
def test_no_tag_of_the_text_is_left_whatever_a_renderer_takes_for_code(text: str) -> None:
    said = harmless(text)
    assert "<" not in OURS.sub("", said)
    assert "![" not in said
    assert not re.search(r"\][(:]\s*javascript:", said)


def test_literal_text_is_one_line_that_means_nothing() -> None:
    assert literal("a*b\n<c>") == "a&#42;b&#10;&#60;c&#62;"
