"""The command line, through `main` and as people run it."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from september_engine import BlockingEngine, Engine, Settings, _cli
from september_engine._cli import main
from september_engine._doctor import Finding
from september_engine.http import serve as serving
from september_engine.models import choice
from september_engine.store._lock import FileLock
from september_engine.testing.messages_server import MessagesServer, hang, reply, text, tool_use

from .programs import ROOT, SECONDS, environment, matches, run, unicode_names
from .sandbox.backends import sandbox_or_skip

AT_ONCE = "from september_engine.models import choice; choice.OFFLINE_PACE = 0.0"
MODULE = ("-c", f"{AT_ONCE}; from september_engine.__main__ import main; raise SystemExit(main())")
"""`python -m september_engine` with an offline model that does not take its time."""
WORDS = "How many words are in 'to be or not to be'?"
ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, without a repository above it that could be asked about."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(choice, "OFFLINE_PACE", 0.0)
    for name in environment_names():
        monkeypatch.delenv(name)
    return tmp_path


def environment_names() -> list[str]:
    return [name for name in os.environ if name not in environment() and name != "PYTHONPATH"]


@contextmanager
def started(*arguments: str, cwd: Path, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs meanwhile; it is gone afterwards, whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-m", "september_engine", *arguments],
        cwd=cwd,
        env=environment({"PYTHONUNBUFFERED": "1", **extra}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_demo_runs_a_turn_and_says_that_it_was_offline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"offline · brain.sqlite · task demo\n> {WORDS}\n\nOffline model: no API key is set")
    assert "● word_count(text=to be or not to be) → 6\n" in said
    assert re.search(r"\nend_turn · \d+ tokens in, \d+ out\n", said)
    assert said.endswith("For Claude: ANTHROPIC_API_KEY=… and the same command.\n")


@pytest.mark.parametrize("message", ["", "  "])
def test_a_blank_message_is_refused_before_anything_is_said(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", message]) == 2
    assert capsys.readouterr() == ("", "september_engine: message is required and must not be blank.\n")


@pytest.mark.parametrize(
    ("into", "code", "says"),
    [
        (">&-", 2, "september_engine: The output is closed: there is nothing to write to.\n"),
        (">/dev/full", 1, "september_engine: the output cannot be written: No space left on device\n"),
    ],
)
def test_an_output_that_takes_nothing_is_said_in_one_line(into: str, code: int, says: str, folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    command = ["sh", "-c", f'exec "$0" "$@" {into}', sys.executable, *MODULE, "demo", "Hello"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", says)


def test_ctrl_c_while_the_program_loads_is_no_traceback(folder: Path) -> None:
    load = "import runpy, sys; sys.modules['september_engine._cli'] = None; sys.meta_path.insert(0, Interrupts())"
    interrupts = "class Interrupts:\n def find_spec(self, name, path, target=None):\n"
    interrupts += "  if name == 'september_engine._cli': raise KeyboardInterrupt\n"
    program = f"import september_engine\n{interrupts}{load}\ndel sys.modules['september_engine._cli']\n"
    program += "runpy.run_module('september_engine', run_name='__main__')"
    done = run("-c", program, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_demo_is_stored_and_goes_on_with_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "Hello", "--task", "mine"]) == 0
    assert main(["demo", "Hello again", "--task", "mine"]) == 0
    with BlockingEngine("brain.sqlite", settings=Settings()) as engine:
        assert [message.content[0]["text"] for message in engine.messages("mine") if message.role == "user"] == [
            "Hello",
            "Hello again",
        ]


def test_demo_asks_about_the_repository_that_it_stands_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = folder / ".git" / "logs"
    logs.mkdir(parents=True)
    (logs / "HEAD").write_text(f"{'0' * 40} {'8' * 40} Ada <a@example.org> 1700000000 +0000\tcommit: First\n")
    assert main(["demo"]) == 0
    said = capsys.readouterr().out
    assert "> Find the latest commit and summarise it." in said
    assert f"git_log gave: {'8' * 40}" in said


def test_demo_as_a_program_works_without_git_and_without_colours_in_a_pipe(folder: Path) -> None:
    (folder / "bin").mkdir()
    done = run(*MODULE, "demo", cwd=folder, extra={"PATH": str(folder / "bin")})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "word_count gave: 6" in done.stdout
    assert ESCAPE not in done.stdout


@pytest.mark.parametrize(
    ("extra", "coloured"), [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)]
)
def test_demo_in_a_terminal_has_colours_unless_they_are_not_wanted(
    extra: dict[str, str], coloured: bool, folder: Path
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, *MODULE, "demo", "Hello"], cwd=folder, env=environment(extra), stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        while chunk := read_terminal(ours):
            said += chunk
        assert process.wait(SECONDS) == 0
    os.close(ours)
    assert (ESCAPE.encode() in said) is coloured
    assert b"Offline model:" in said


def read_terminal(terminal: int) -> bytes:
    """What comes; b"" at the end, which Linux tells by an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


async def test_with_a_key_the_same_command_uses_claude(folder: Path) -> None:
    script = [reply(tool_use("word_count", {"text": "to be"})), reply(text("Two words, says Claude."))]
    async with MessagesServer(script, api_key="a-key") as server:
        extra = {"ANTHROPIC_API_KEY": "a-key", "ANTHROPIC_BASE_URL": server.url}
        done = await anyio.to_thread.run_sync(lambda: run(*MODULE, "demo", cwd=folder, extra=extra))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("claude-opus-5-5 · brain.sqlite")
        assert "● word_count(text=to be) → 2\nTwo words, says Claude.\n" in done.stdout
        assert "ffline" not in done.stdout
        assert [tool["name"] for tool in server.requests[0].body["tools"]] == [
            "git_log", "word_count", "note", "read_result",
        ]  # fmt: skip
        assert server.refusals == []


async def test_a_key_in_a_dotenv_file_does_as_well_and_is_never_shown(folder: Path) -> None:
    async with MessagesServer([reply(text("Hello from Claude."))], api_key="s3cret-key") as server:
        (folder / ".env").write_text(f"ANTHROPIC_API_KEY=s3cret-key\nANTHROPIC_BASE_URL={server.url}\n")
        done = await anyio.to_thread.run_sync(lambda: run(*MODULE, "demo", "Hello", cwd=folder))
        assert "Hello from Claude." in done.stdout
        assert "s3cret" not in done.stdout + done.stderr


async def test_a_key_that_the_provider_refuses_ends_the_turn_and_the_program_with_1(folder: Path) -> None:
    async with MessagesServer([], api_key="the-right-one") as server:
        extra = {"ANTHROPIC_API_KEY": "a-wrong-one", "ANTHROPIC_BASE_URL": server.url}
        done = await anyio.to_thread.run_sync(lambda: run(*MODULE, "demo", "Hello", cwd=folder, extra=extra))
        assert done.returncode == 1
        assert "✗ LLM_AUTH: " in done.stdout
        assert "a-wrong-one" not in done.stdout + done.stderr


async def test_ctrl_c_ends_the_demo_with_130_and_the_thread_goes_on_later(folder: Path) -> None:
    async with MessagesServer([reply(text("Let me think.\n"), hang()), reply(text("Here I am."))]) as server:
        extra = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.url}
        with started("demo", "Hello", cwd=folder, **extra) as process:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            await anyio.to_thread.run_sync(lambda: next(line for line in lines if line == "Let me think.\n"))
            process.send_signal(signal.SIGINT)
            _, complaints = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=SECONDS))
        assert process.returncode == 130
        assert complaints == ""
        again = await anyio.to_thread.run_sync(lambda: run(*MODULE, "demo", "Are you there?", cwd=folder, extra=extra))
        assert "Here I am." in again.stdout
        assert server.refusals == []


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    command = f"'{sys.executable}' -m september_engine demo 'Hello' | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout == "offline · brain.sqlite · task demo\n"
    assert done.stderr == ""


@unicode_names
def test_an_output_that_knows_no_umlauts_gets_question_marks(folder: Path) -> None:
    done = run(*MODULE, "demo", "Grüße", cwd=folder, extra={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "> Gr??e" in done.stdout


# ── what cannot begin ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "extra", "problem"),
    [
        (["demo"], {"MAX_TOKENS": "many"}, "MAX_TOKENS: 'many' must be a whole number from 1 to 1000000"),
        (["demo"], {"LLM_PROVIDER": "anthropic"}, "Set ANTHROPIC_API_KEY"),
        (["demo", "  "], {}, "message is required and must not be blank"),
        (["demo", "--task", ""], {}, "task_id is required"),
        (["demo"], {"SQLITE_DB_PATH": "."}, "cannot be opened"),
        (["serve", "--host", "0.0.0.0", "--port", "0"], {}, "Set ENGINE_API_KEY"),
        (["serve", "--host", "no.such.host.invalid"], {}, "cannot be used"),
    ],
)
def test_what_cannot_begin_is_told_in_words_and_ends_with_2(
    arguments: list[str],
    extra: dict[str, str],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in extra.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("september_engine: ")
    assert problem in captured.err
    assert "Traceback" not in captured.err


def test_a_second_engine_on_the_file_is_told_who_has_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = FileLock(folder / "brain.sqlite")
    lock.acquire()
    assert main(["demo"]) == 2
    lock.release()
    assert "open in another engine in this process" in capsys.readouterr().err


def test_serve_offers_the_built_in_tools_over_the_allowed_roots_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    served: list[tuple[Engine, dict[str, Any]]] = []

    def serve(engine: Engine, **options: Any) -> int:
        served.append((engine, options))
        return 0

    monkeypatch.setattr(serving, "serve_engine", serve)
    monkeypatch.setattr(_cli, "embedder_here", lambda: (None, "Install it again."))
    monkeypatch.setattr(_cli, "tools_in", lambda roots: ([], f"Install something for {len(roots)} folders."))
    monkeypatch.setenv("ALLOWED_ROOTS", f"{folder},{folder.parent}")
    assert main(["serve", "--port", "0"]) == 0
    ((engine, options),) = served
    assert engine.settings.allowed_roots == (folder, folder.parent)
    assert options["warnings"] == [
        "there is no bash tool: Install something for 2 folders.",
        "memory recalls by words alone: Install it again.",
    ]


SHOP = """
from september_engine import Engine, tool

@tool
def opening_hours() -> str:
    \"\"\"When the shop is open.\"\"\"
    return "9 to 18"

engine = Engine("shop.sqlite", tools=[opening_hours])
"""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """What `serve` would serve, without serving it."""
    engines: list[Engine] = []

    def serve(engine: Engine, **_: Any) -> int:
        engines.append(engine)
        return 0

    monkeypatch.setattr(serving, "serve_engine", serve)
    monkeypatch.setattr(_cli, "embedder_here", lambda: (None, None))
    return engines


def test_serve_takes_its_database_model_and_system_prompt(served: list[Engine], folder: Path) -> None:
    (folder / "prompt.txt").write_text("\ufeffYou sell hats: Hüte.\n", encoding="utf-8")
    assert main(["serve", "--db", "hats.sqlite", "--model", "claude-x", "--system", "prompt.txt"]) == 0
    assert served[0].settings.sqlite_db_path == Path("hats.sqlite")
    assert served[0]._models._asked_for[0] == "claude-x"
    assert served[0]._system == "You sell hats: Hüte."


@pytest.mark.parametrize(
    ("arguments", "variable", "on"),
    [
        ([], None, True),
        ([], "true", True),
        ([], "false", False),
        (["--memory", "off"], "true", False),
        (["--memory", "on"], "false", True),
    ],
)
def test_serve_remembers_unless_it_is_told_not_to(
    arguments: list[str], variable: str | None, on: bool, served: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("SEPTEMBER_MEMORY", variable)
    assert main(["serve", *arguments]) == 0
    assert ("remember" in served[0]._tools) is on


def test_the_database_that_is_named_wins_over_a_database_url(
    served: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEPTEMBER_DATABASE_URL", "postgresql://localhost/brain")
    assert main(["serve"]) == 2
    assert main(["serve", "--db", "here.sqlite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--db", "postgresql://localhost/brain"], "--db takes a path: this release has no store but SQLite."),
        (["--db", " "], "--db is empty."),
        (["--model", ""], "--model is empty."),
        (["--system", "nowhere.txt"], "--system: nowhere.txt cannot be read: No such file or directory."),
        (["--system", "."], "--system: . cannot be read: Is a directory."),
        (["--system", "empty.txt"], "--system: empty.txt is empty."),
        (["--system", "latin.txt"], "--system: latin.txt is not UTF-8 text."),
        (["shop:engine", "--db", "x", "--memory", "off"], "leave out --db, --memory."),
        (["shop:engine", "--system", "empty.txt", "--model", "x"], "leave out --model, --system."),
        (["shop"], "'shop' does not name an engine. Write module:engine"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_words(
    arguments: list[str], problem: str, served: list[Engine], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.txt").write_text(" \n")
    (folder / "latin.txt").write_bytes(b"\xfc")
    (folder / "shop.py").write_text(SHOP)
    assert main(["serve", *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert served == []


def test_the_library_without_its_server_still_has_its_demo(folder: Path) -> None:
    script = (
        "import sys; sys.modules['starlette'] = sys.modules['hypercorn'] = None\n"
        "from september_engine._cli import main\n"
        "codes = [main(['demo', 'Hello']), main(['serve'])]\n"
        "assert codes == [0, 2], codes"
    )
    done = run("-c", script, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "september-engine[server]" in done.stderr


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_says_what_there_is_and_what_would_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = "Install it, and allow what it needs; " * 5
    found = [Finding("SQLite", True, "3.50.0"), Finding("bubblewrap", False, "does not work", advice)]
    monkeypatch.setattr(_cli, "examine", lambda: iter(found))
    assert main(["doctor"]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert (first, second) == ("✓ SQLite      3.50.0", "– bubblewrap  does not work")
    assert all(line.startswith(" " * 14) and len(line) <= 110 for line in rest)
    assert " ".join(line.strip() for line in rest) == advice.strip()


def test_doctor_as_a_program_needs_no_settings(folder: Path) -> None:
    done = run(*MODULE, "doctor", cwd=folder, extra={"MAX_TOKENS": "many"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"^✓ Python +3\.\d+", done.stdout, re.MULTILINE)
    assert re.search(r"^. bubblewrap +(works|does not work)", done.stdout, re.MULTILINE)
    assert re.search(r"^. landlock +(works|does not work)", done.stdout, re.MULTILINE)


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["demo", "serve", "durable turns"]),
        (["demo", "--help"], ["--task", "message"]),
        (["serve", "--help"], ["--host", "127.0.0.1", "--port", "8000"]),
        (["--version"], ["september-engine "]),
    ],
)
def test_help_helps(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert [word for word in words if word not in said] == []


def test_without_a_command_there_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "run one turn in this terminal" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["dance"], ["serve", "--port", "many"]])
def test_what_is_not_a_command_ends_with_2_and_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m september_engine" in capsys.readouterr().err


# ── serve ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_serve_takes_the_readmes_curl_and_ends_on_a_signal(folder: Path) -> None:
    with started("serve", "--port", "0", cwd=folder) as process:
        assert process.stdout is not None
        announced = process.stdout.readline()
        url = re.search(r"http://[\d.]+:\d+", announced)
        assert url is not None, announced
        assert "offline" in announced
        answer = httpx2.post(f"{url[0]}/execute", json={"message": "Hello!", "task_id": "first"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        frames = answer.text.split("\n\n")
        assert re.fullmatch(
            r'id: \d{13}\nevent: thread_lifecycle\ndata: \{"phase":"started","task_id":"first",.*\}', frames[0]
        )
        readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("curl -N")[2].partition("```text\n")[2]
        for told, frame in zip(readme.partition("\n```")[0].split("\n\n"), frames, strict=False):
            assert matches(re.sub(r"id: \d{13}", "id: …", told), frame)
        replayed = httpx2.get(f"{url[0]}/execute/replay", params={"task_id": "first", "after": frames[0][4:17]})
        assert replayed.text == answer.text.partition("\n\n")[2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_serve_serves_a_programs_own_engine(folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    with started("serve", "shop:engine", "--port", "0", cwd=folder) as process:
        assert process.stdout is not None
        url = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        assert url is not None
        answer = httpx2.post(f"{url[0]}/execute", json={"message": "Use opening_hours.", "task_id": "t"})
        assert "9 to 18" in answer.text
        assert httpx2.post(f"{url[0]}/memory/episodes/search", json={"query": "Monday"}).status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert (folder / "shop.sqlite").exists()


# ── people and files ─────────────────────────────────────────────────────────────────────────────────────────────


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_demo_works_on_the_files_of_a_folder_but_not_on_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "poem.txt").write_text("Tyger Tyger, burning bright")
    assert main(["demo", "read the file poem.txt", "--files", "."]) == 0
    assert "burning bright" in capsys.readouterr().out
    assert main(["demo", "read the file brain.sqlite", "--files", "."]) == 0
    assert "SQLite format" not in capsys.readouterr().out


def test_demo_runs_commands_in_the_folder_or_says_why_not(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_or_skip("auto")
    assert main(["demo", "Run `echo 42 | rev`", "--files", "."]) == 0
    said = capsys.readouterr().out
    assert "output: 24" in said
    assert "There is no bash tool" not in said
    monkeypatch.setattr(_cli, "tools_in", lambda folders: ([], "Install bubblewrap."))
    assert main(["demo", "Hello", "--files", "."]) == 0
    assert "There is no bash tool. Install bubblewrap." in capsys.readouterr().out


def test_demo_asks_and_takes_the_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    typed(monkeypatch, "The second one.\n")
    assert main(["demo", "Ask the user the question 'Which door?'", "--files", "."]) == 0
    said = capsys.readouterr().out
    assert "? Which door?\n> " in said
    assert "ask_user gave: The second one." in said


def test_demo_asks_again_what_nobody_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    typed(monkeypatch, "")
    assert main(["demo", "Ask the user the question 'Which door?'", "--files", "."]) == 1
    assert "The request stays open; the same command asks again." in capsys.readouterr().out
    typed(monkeypatch, "The first one.\n")
    assert main(["demo", "Something else", "--files", "."]) == 0
    said = capsys.readouterr().out
    assert "This task waits for an answer.\n\n? Which door?\n> " in said
    assert "ask_user gave: The first one." in said
    assert "Now say it again" in said
