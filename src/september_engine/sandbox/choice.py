"""choice: which sandbox runs commands, tried once; or why none can, and what would help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

from ..errors import ConfigurationError
from .base import Sandbox
from .bubblewrap import Bubblewrap
from .landlock import Landlock
from .unconfined import Unconfined

__all__ = ["Availability", "Wanted", "choose_sandbox", "report"]

Wanted: TypeAlias = Literal["auto", "bubblewrap", "landlock", "off"]

Made: TypeAlias = Callable[[Sequence[str]], Sandbox]

STRONGEST_FIRST: Mapping[str, Made] = {
    "bubblewrap": lambda readable: Bubblewrap(readable=readable),
    "landlock": lambda readable: Landlock(readable=readable),
}


@attrs.frozen
class Availability:
    """Whether a kind of sandbox works here; where it does not, `problem` says why and what would help."""

    name: str
    problem: str | None

    @property
    def works(self) -> bool:
        return self.problem is None


def choose_sandbox(
    wanted: Wanted = "auto", *, readable: Sequence[str] = (), among: Mapping[str, Made] = STRONGEST_FIRST
) -> Sandbox:
    """The sandbox of this name; with "auto" the strongest that works here. It is tried by running a command.

    "off" is no sandbox at all, and for the host's own code to say: no request and no model can.

    Args:
        readable: Folders that commands may read beside the system's own, such as a toolchain outside of /usr.
        among: What there is to choose from, the strongest first.

    Takes some 100 ms, and blocks: call it at the start. Raises `ConfigurationError` with what was tried, why it failed,
    and what to install.
    """
    if wanted == "off":
        return Unconfined()
    problems: list[str] = []
    for name in among if wanted == "auto" else (wanted,):
        try:
            return among[name](readable)
        except ConfigurationError as error:
            problems.append(error.message)
    raise ConfigurationError(
        f"There is no sandbox to run shell commands in, so they are not run. {' '.join(problems)} Install bubblewrap "
        "(Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap; Alpine: apk add bubblewrap), or pass "
        'sandbox="off" to give commands all the rights of this program.'
    )


def report(*, among: Mapping[str, Made] = STRONGEST_FIRST) -> list[Availability]:
    """What works here, the strongest first: the first that works is what "auto" takes. Blocks, as `choose_sandbox`."""
    return [Availability(name, _problem(made)) for name, made in among.items()]


def _problem(made: Made) -> str | None:
    try:
        made(())
    except ConfigurationError as error:
        return error.message
    return None
