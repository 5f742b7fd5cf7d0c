"""Kill a process at an exact point, some hundred times in a few seconds.

A fork server imports the engine once; each trial is a fork of it that runs one workload and ends by SIGKILL where it
passes a named crash point for the n-th time. What the trial saw of the world before it died is in its folder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from september_engine._seams import CrashPoint

__all__ = ["Workload", "passes_of", "spread", "survives"]

Workload = Callable[[Path, CrashPoint], None]
"""Runs to its end in a folder, passing the crash point on to what it starts. A function of a module."""


class _Kill:
    """Ends the process at the n-th pass of one point; counts all passes."""

    def __init__(self, name: str | None, nth: int) -> None:
        self.counts: Counter[str] = Counter()
        self._at = (name, nth)

    def __call__(self, name: str, /) -> None:
        self.counts[name] += 1
        if (name, self.counts[name]) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def _trial(workload: Workload, folder: Path, name: str | None, nth: int) -> None:
    kill = _Kill(name, nth)
    workload(folder, kill)
    (folder / "passes.json").write_text(json.dumps(kill.counts))


def _run(workload: Workload, folder: Path, name: str | None, nth: int) -> int:
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([workload.__module__])
    process = context.Process(target=_trial, args=(workload, folder, name, nth))
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"the workload hangs ({name}, pass {nth})")
    return process.exitcode


def passes_of(workload: Workload, folder: Path) -> dict[str, int]:
    """How often an undisturbed run passes each point."""
    assert _run(workload, folder, None, 0) == 0
    passes: dict[str, int] = json.loads((folder / "passes.json").read_text())
    return passes


def survives(workload: Workload, folder: Path, name: str, nth: int) -> bool:
    """Run with a kill; whether the run got through, because it passed the point less often this time."""
    code = _run(workload, folder, name, nth)
    assert code in (0, -signal.SIGKILL), f"the workload failed by itself with {code}"
    return code == 0


def spread(count: int, most: int) -> Iterator[int]:
    """At most so many of the passes 1 to count, the first and the last among them."""
    step = max((count - 1) / max(most - 1, 1), 1.0)
    yield from sorted({1 + round(number * step) for number in range(min(count, most))})
