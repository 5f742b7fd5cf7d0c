"""Commands under a watcher: a small process of our own, `_confined`, that runs one command and leaves nothing of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from . import _confined
from ._order import Order, Report
from ._process import memory_file, outcome_of, run_child
from .base import Job, Outcome, SandboxFailed

__all__ = ["BARE_PYTHON", "check", "run_watched"]

BARE_PYTHON = os.path.realpath(sys.executable)
"""Of a virtual environment, the Python that it was made from: it starts faster, and no more is needed."""

CHECK_SECONDS = 10
REPORT_BYTES = 1 << 16

_PACKAGE = _confined.__name__.rpartition(".")[0]

_ENTRY = """
import sys
kind = type(sys)
parts = {package!r}.split(".")
for count in range(1, len(parts) + 1):
    module = kind(".".join(parts[:count]))
    module.__path__ = [{folder!r}] if count == len(parts) else []
    sys.modules[module.__name__] = module
from {package}._confined import main
main({order}, {status})
"""
"""By the back door: the front door of our package would load all of it, at many times the cost of most commands."""


def _command(python: str, order: int, status: int) -> list[str]:
    folder = str(Path(_confined.__file__).parent)
    code = _ENTRY.format(package=_PACKAGE, folder=folder, order=order, status=status)
    return [python, "-I", "-S", "-E", "-X", "utf8", "-c", code]


async def run_watched(job: Job, order: Order, *, python: str) -> Outcome:
    """Run what is ordered. Cancelling kills everything. Raises `SandboxFailed`."""
    with ExitStack() as stack:
        told, says = os.pipe()
        stack.callback(os.close, told)
        grip = _Watch(says)
        stack.callback(grip.close)
        file = memory_file(order.dump())
        stack.callback(os.close, file)
        end = await run_child(_command(python, file, says), job=job, files=(file, says), grip=grip)
        grip.close()
        data = os.read(told, REPORT_BYTES)
    if not data and end.timed_out:  # before the watcher had begun to watch
        return outcome_of(end, -signal.SIGKILL)
    if not data:
        said = b"".join(end.kept.parts()[:2]).decode(errors="replace").strip()
        raise SandboxFailed(f"The watcher of the command ended by itself (code {end.code}): {said}")
    report = Report.load(data)
    if report.failed:
        raise SandboxFailed(f"The command could not be confined: {report.failed}.")
    notes = [f"{path} is protected: what the command did to it was undone." for path in report.put_back]
    notes += [f"{path} was not opened for this command: what it made there is gone." for path in report.gone]
    return outcome_of(end, -signal.SIGKILL if report.code is None else report.code, tuple(notes))


def check(order: Order, *, python: str) -> str | None:
    """Whether this can be run here, tried at once: why not, or None. The order's command must end with 0."""
    told, says = os.pipe()
    file = memory_file(order.dump())
    try:
        done = subprocess.run(
            _command(python, file, says),
            env={},
            cwd="/",
            pass_fds=(file, says),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
        os.set_blocking(told, False)
        data = os.read(told, REPORT_BYTES)
    except BlockingIOError:
        data = b""
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        for each in (told, says, file):
            os.close(each)
    report = Report.load(data) if data else Report(code=done.returncode or 1)
    said = (done.stderr + done.stdout).decode(errors="replace").strip()[-300:]
    return report.failed or (None if report.code == 0 else f"exit code {report.code} {said}".strip())


class _Watch:
    """The hold on a watcher: told to stop, it kills the rest."""

    def __init__(self, says: int) -> None:
        self._says: int | None = says

    async def begin(self) -> None:
        self.close()

    async def stop(self, child: subprocess.Popen[bytes]) -> None:
        child.send_signal(signal.SIGTERM)

    async def gone(self) -> None:
        return

    def close(self) -> None:
        """Our copy of the end that the watcher writes to."""
        says, self._says = self._says, None
        if says is not None:
            os.close(says)
