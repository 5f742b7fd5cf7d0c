"""No sandbox, because the host's own code said so: a command with all the rights of the engine.

What remains is order: a clean environment, rlimits, an end in time, and nothing left behind. Linux only, for that.
"""

from __future__ import annotations

import os
import sys

from ..errors import ConfigurationError
from ._order import Order
from ._process import limits_of
from ._watched import BARE_PYTHON, run_watched
from .base import Job, Outcome

__all__ = ["Unconfined"]


class Unconfined:
    """Runs commands without any walls. `python` runs their watcher. Raises `ConfigurationError` where it cannot."""

    name = "off"
    confines = False
    scratch = ()

    def __init__(self, *, python: str = BARE_PYTHON) -> None:
        if not sys.platform.startswith("linux"):
            raise ConfigurationError("Shell commands can only be watched over on Linux; elsewhere, they are not run.")
        self._python = python

    async def run(self, job: Job, /) -> Outcome:
        """As the port says, but that nothing is protected, hidden or kept from the network."""
        order = Order(
            parent=os.getpid(),
            argv=job.argv,
            cwd=job.cwd,
            environment=dict(job.environment),
            limits=limits_of(job),
        )
        return await run_watched(job, order, python=self._python)
