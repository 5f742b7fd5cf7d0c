"""Display: a turn in the output of a notebook's cell, shown once and updated in its place until it ends.

IPython is never imported: only a program that runs in its kernel has one to show things to. An update goes to the
output that a display id names, wherever the kernel is by then, so nothing is shown twice and the last state is what
the notebook's file keeps. With anywidget installed there are buttons for what waits for a person.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

import msgspec

from ._seams import Clock
from .events import HitlRequest

__all__ = ["Display", "follow", "in_kernel", "show"]

Bundle: TypeAlias = Mapping[str, str]

SECONDS = 0.25
"""Between two updates."""

BUTTONS = """
function render({ model, el }) {
  const draw = () => {
    el.replaceChildren(...model.get("requests").map((request) => {
      const line = document.createElement("p");
      line.append(request.question + " ");
      const send = (answer) => model.send({ request_id: request.request_id, answer });
      if (request.kind === "permission") {
        for (const answer of ["yes", "no"]) {
          const button = document.createElement("button");
          button.textContent = answer;
          button.onclick = () => send(answer);
          line.append(button, " ");
        }
      } else {
        const field = document.createElement("input");
        field.onkeydown = (event) => { if (event.key === "Enter" && field.value.trim()) send(field.value); };
        line.append(field);
      }
      return line;
    }));
  };
  model.on("change:requests", draw);
  draw();
}
export default { render };
"""
"""Text goes in as text, never as HTML: a model may have written the question."""


def in_kernel() -> Any:
    """IPython's shell, where this is a kernel of a notebook; else None."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def show(value: Any) -> bool:
    """Show a value's HTML in the cell that runs; False where this is no kernel."""
    shell = in_kernel()
    if shell is None:
        return False
    shell.display_pub.publish(data={"text/plain": repr(value), "text/html": value._repr_html_()}, metadata={})
    return True


class Display:
    """One place in a notebook that shows one turn. `answer` is called with a request's id and what was clicked."""

    def __init__(self, shell: Any, answer: Callable[[str, str], None]) -> None:
        self._shell = shell
        self._id = uuid4().hex
        self._last: Bundle | None = None
        self._lock = threading.Lock()
        self._buttons = _buttons(answer)

    def update(self, bundle: Bundle, requests: Sequence[HitlRequest], *, over: bool) -> None:
        """Show this in place of what is shown. Any thread may call it; once it is `over`, the buttons go."""
        with self._lock:
            if bundle != self._last:
                self._publish(bundle, self._id, update=self._last is not None)
            if self._buttons is not None:
                if self._last is None:
                    self._publish(self._buttons._repr_mimebundle_()[0], f"{self._id}-buttons", update=False)
                self._buttons.requests = msgspec.to_builtins(list(requests))
                if over:  # what the file keeps must not need a kernel
                    self._publish({"text/plain": "", "text/markdown": ""}, f"{self._id}-buttons", update=True)
                    self._buttons = None
            self._last = bundle

    def _publish(self, bundle: Bundle, id: str, *, update: bool) -> None:
        publish = partial(
            self._shell.display_pub.publish,
            data=dict(bundle),
            metadata={},
            transient={"display_id": id},
            update=update,
        )
        if update:  # it belongs to no cell: that of the first display may have ended long ago
            Context().run(publish)
        else:
            publish()


def _buttons(answer: Callable[[str, str], None]) -> Any:
    """A widget with a button for each answer, or None without anywidget."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        return None

    class Buttons(anywidget.AnyWidget):
        _esm = BUTTONS
        requests: Any = traitlets.List([]).tag(sync=True)

    widget = Buttons()

    def clicked(_: object, content: Any, buffers: object) -> None:
        with suppress(KeyError, TypeError):  # a message that is not ours
            answer(str(content["request_id"]), str(content["answer"]))

    widget.on_msg(clicked)
    return widget


async def follow(update: Callable[[], bool], moved: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Call `update` whenever the turn has moved, but not all the time, until it returns that it is over."""
    while not update():
        await moved()
        await clock.sleep(SECONDS)
