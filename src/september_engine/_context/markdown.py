"""Markdown of a model or a tool, made safe to show where it is rendered by somebody else's renderer.

A notebook trusts the output of its own cells: raw HTML in it runs. So no `<` of the text is left: not one, because no
two renderers agree on what is code. What looks like code becomes HTML of ours, with every special character as an
entity; that is harmless wherever a renderer thinks the code ends. Links lead only to the web and to mail, and images
are left as text, because a model could put what it knows into their address.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from .text import clean

__all__ = ["harmless", "literal"]

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_DESTINATION = re.compile(r"\](\(|:)(?=\s*(\S*))")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_SAFE = ("http:", "https:", "mailto:")


def harmless(text: str) -> str:
    """The same text to read, without anything that could run or be fetched. Never raises."""
    return "\n".join(_blocks(clean(text).split("\n")))


def literal(text: str) -> str:
    """Text as it is, inside of HTML or Markdown, on one line: every character that means something is an entity."""
    return "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in clean(text))


def _blocks(lines: list[str]) -> Iterator[str]:
    """The lines, with each fenced block that would mean something outside of a fence as HTML of ours."""
    code: list[str] = []
    fence = ""
    for line in lines:
        found = _FENCE.match(line)
        if not fence and found is not None:
            fence, code = found[1], [line]
        elif fence:
            code.append(line)
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                yield from _fenced(code, closed=True)
                fence = ""
        else:
            yield _line(line)
    if fence:
        yield from _fenced(code, closed=False)


def _fenced(code: list[str], *, closed: bool) -> Iterator[str]:
    if not any(mark in line for line in code for mark in ("<", "](", "]:", "![")):
        yield from code
        return
    body = code[1:-1] if closed else code[1:]
    yield f"\n<pre><code>{literal(chr(10).join(body))}</code></pre>\n"


def _line(line: str) -> str:
    pieces: list[str] = []
    end = 0
    for span in _CODE_SPAN.finditer(line):
        pieces += [_plain(line[end : span.start()]), f"<code>{literal(span[2].strip())}</code>"]
        end = span.end()
    return "".join([*pieces, _plain(line[end:])])


def _plain(text: str) -> str:
    return _DESTINATION.sub(_kept, text.replace("<", "&lt;").replace("![", "!\\["))


def _kept(found: re.Match[str]) -> str:
    """The start of a link's address, or that with a backslash which makes it no link."""
    address = re.sub(r"[\\\x00-\x20]", "", html.unescape(html.unescape(found[2])))
    scheme = _SCHEME.match(address)
    if not address or (scheme is not None and scheme[0].lower() not in _SAFE):
        return f"]\\{found[1]}"
    return found[0]
