"""Notebook: what a cell shows of what waits for a person. Plain HTML, no script; everything in it is escaped."""

from __future__ import annotations

import html

import msgspec

from ._context.text import visible
from .events import HitlRequest

__all__ = ["Requests"]


class Requests(list[HitlRequest]):
    """The requests that wait for a person, oldest first. A notebook shows each with the call that answers it."""

    def _repr_html_(self) -> str:
        if not self:
            return "<p>Nothing waits for a person.</p>"
        return "".join(map(_card, self))


def _card(request: HitlRequest) -> str:
    rows = [
        f"<tr><th>{_shown(name)}</th><td><pre>{_shown(_text(value))}</pre></td></tr>"
        for name, value in (request.input or {}).items()
    ]
    rows += [f"<tr><th>always</th><td>{_shown(rule)}</td></tr>" for rule in request.remember or ()]
    answer, other = ('"yes"', '  # or "no", feedback="…"') if request.kind == "permission" else ('"…"', "")
    code = f"engine.respond({request.task_id!r}, {answer}, request_id={request.request_id!r}){other}"
    return (
        f"<p><b>{_shown(request.question)}</b><br><small>task {_shown(request.task_id)}, "
        f"since {_shown(request.created_at)}</small></p>"
        f"<table>{''.join(rows)}</table><pre>{_shown(code)}</pre>"
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _shown(text: str) -> str:
    return html.escape(visible(text))
