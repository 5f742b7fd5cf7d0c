from __future__ import annotations

import copy
import errno
import hashlib
import os
import pickle
import re
import socket
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine import Engine
from september_engine._dotenv import assignments
from september_engine.errors import ConfigurationError
from september_engine.models.scripted import ScriptedModel
from september_engine.settings import KeyRing, Settings, parse_dotenv

HASH = hashlib.sha256(b"old").hexdigest()
NO_BLANKS = "visible ASCII characters without blanks"


def read(**environ: str) -> Settings:
    return Settings.from_env(environ, dotenv=None)


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(**environ)
    found: list[str] = caught.value.details["problems"]
    return found


def test_the_defaults_are_the_contracts() -> None:
    assert (
        attrs.asdict(read())
        == attrs.asdict(Settings())
        == {
            "engine_api_key": None,
            "engine_key_hash": None,
            "previous_key_hash": None,
            "key_rotated_at": None,
            "key_rotation_min_overlap": 0.0,
            "key_rotation_max_overlap": 300.0,
            "channel_state_ttl_active": 10800.0,
            "channel_state_ttl_hitl": 259200.0,
            "llm_provider": None,
            "llm_api_key": None,
            "anthropic_api_key": None,
            "anthropic_auth_token": None,
            "anthropic_base_url": None,
            "llm_model": None,
            "planner_model": None,
            "light_model": None,
            "fallback_model": None,
            "max_tokens": 4096,
            "sqlite_db_path": Path("./brain.sqlite"),
            "database_url": None,
            "durability": "full",
            "recovery": "abandon",
            "allowed_roots": (),
            "memory": True,
            "distil": False,
            "tool_use_concurrency": 10,
            "reactive_compact_enabled": True,
            "media_presend_validation_enabled": False,
            "media_image_resize_enabled": False,
            "media_error_recovery_enabled": False,
            "engine_log_level": "INFO",
            "cors_origins": (),
            "max_body_bytes": 33554432,
            "drain_seconds": 25.0,
        }
    )


def test_a_valid_image_in_base64_fits_the_default_body() -> None:
    assert Settings().max_body_bytes > 5 * 2**20 * 4 / 3


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("ENGINE_API_KEY", "sept_1_abc", "engine_api_key", "sept_1_abc"),
        ("ENGINE_KEY_HASH", HASH, "engine_key_hash", HASH),
        ("BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS", "10", "key_rotation_min_overlap", 10.0),
        ("BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS", "600", "key_rotation_max_overlap", 600.0),
        ("CHANNEL_STATE_TTL_ACTIVE", "60.5", "channel_state_ttl_active", 60.5),
        ("CHANNEL_STATE_TTL_HITL", "3600", "channel_state_ttl_hitl", 3600.0),
        ("LLM_PROVIDER", "offline", "llm_provider", "offline"),
        ("LLM_API_KEY", "k", "llm_api_key", "k"),
        ("ANTHROPIC_API_KEY", "k", "anthropic_api_key", "k"),
        ("ANTHROPIC_AUTH_TOKEN", "k", "anthropic_auth_token", "k"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:1", "anthropic_base_url", "http://127.0.0.1:1"),
        ("LLM_MODEL", "m", "llm_model", "m"),
        ("PLANNER_MODEL", "m", "planner_model", "m"),
        ("LIGHT_MODEL", "m", "light_model", "m"),
        ("FALLBACK_MODEL", "m", "fallback_model", "m"),
        ("MAX_TOKENS", "100", "max_tokens", 100),
        ("SQLITE_DB_PATH", "/data/b.sqlite", "sqlite_db_path", Path("/data/b.sqlite")),
        ("SEPTEMBER_DATABASE_URL", "postgresql://u:p@h/d", "database_url", "postgresql://u:p@h/d"),
        ("SEPTEMBER_DURABILITY", "relaxed", "durability", "relaxed"),
        ("SEPTEMBER_RECOVERY", "resume", "recovery", "resume"),
        ("ALLOWED_ROOTS", "/a, /b c,", "allowed_roots", (Path("/a"), Path("/b c"))),
        ("CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY", "3", "tool_use_concurrency", 3),
        ("REACTIVE_COMPACT_ENABLED", "false", "reactive_compact_enabled", False),
        ("MEDIA_PRESEND_VALIDATION_ENABLED", "true", "media_presend_validation_enabled", True),
        ("MEDIA_IMAGE_RESIZE_ENABLED", "true", "media_image_resize_enabled", True),
        ("SEPTEMBER_MEMORY", "false", "memory", False),
        ("SEPTEMBER_DISTIL", "true", "distil", True),
        ("MEDIA_ERROR_RECOVERY_ENABLED", "true", "media_error_recovery_enabled", True),
        ("ENGINE_LOG_LEVEL", "DEBUG", "engine_log_level", "DEBUG"),
        ("SEPTEMBER_CORS_ORIGINS", "https://a.b,http://c:8080", "cors_origins", ("https://a.b", "http://c:8080")),
        ("SEPTEMBER_MAX_BODY_BYTES", "2048", "max_body_bytes", 2048),
        ("SEPTEMBER_DRAIN_SECONDS", "0", "drain_seconds", 0.0),
    ],
)
def test_each_variable_sets_its_field(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(read(**{variable: text}), field) == value
    assert getattr(read(**{variable: f"  {text}\n"}), field) == value
    assert read(**{variable: " "}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "must_be"),
    [
        ("REACTIVE_COMPACT_ENABLED", "True", "true or false"),
        ("MEDIA_IMAGE_RESIZE_ENABLED", "1", "true or false"),
        ("MAX_TOKENS", "0", "a whole number from 1 to 1000000"),
        ("MAX_TOKENS", "1e3", "a whole number from 1 to 1000000"),
        ("MAX_TOKENS", "1_000", "a whole number from 1 to 1000000"),
        ("MAX_TOKENS", "9" * 5000, "a whole number from 1 to 1000000"),
        ("CHANNEL_STATE_TTL_ACTIVE", "nan", "seconds, from 1 to 3.16224e+08"),
        ("CHANNEL_STATE_TTL_HITL", "-inf", "seconds, from 1 to 3.16224e+08"),
        ("SEPTEMBER_DRAIN_SECONDS", "soon", "seconds, from 0 to 3600"),
        ("SEPTEMBER_DRAIN_SECONDS", "-1.0", "seconds, from 0 to 3600"),
        ("LLM_PROVIDER", "openai", "anthropic or offline"),
        ("SEPTEMBER_DURABILITY", "off", "full or relaxed"),
        ("SEPTEMBER_RECOVERY", "Resume", "abandon or resume"),
        ("ENGINE_LOG_LEVEL", "loud", "DEBUG or INFO or WARNING or ERROR or CRITICAL"),
        ("ALLOWED_ROOTS", "/a,b", "absolute paths, separated by commas"),
        ("ANTHROPIC_BASE_URL", "localhost", "an http or https URL"),
        ("SEPTEMBER_CORS_ORIGINS", "*", "origins such as https://app.example.org, separated by commas; '*' is not one"),
        (
            "SEPTEMBER_CORS_ORIGINS",
            "https://a/b",
            "origins such as https://app.example.org, separated by commas; '*' is not one",
        ),
        ("CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY", "0", "a whole number from 1 to 1000"),
    ],
)
def test_what_is_not_allowed_is_told_with_the_variable_the_value_and_what_is(
    variable: str, text: str, must_be: str
) -> None:
    (problem,) = problems(**{variable: text})
    assert problem == f"{variable}: {text!r} must be {must_be}"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ENGINE_API_KEY", "two words"),
        ("ENGINE_KEY_HASH", "secret-not-a-hash"),
        ("SEPTEMBER_DATABASE_URL", "mysql://root:hunter2@db"),
        ("LLM_API_KEY", "schlüssel"),
    ],
)
def test_a_secret_is_never_shown(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**{variable: text})
    assert variable in str(caught.value)
    assert text not in str(caught.value) + repr(caught.value.details)


def test_secrets_are_not_in_the_repr() -> None:
    shown = repr(
        Settings(
            engine_api_key="s3cret",
            llm_api_key="s3cret",
            anthropic_api_key="s3cret",
            anthropic_auth_token="s3cret",
            database_url="postgresql://u:s3cret@h/d",
            previous_key_hash=HASH,
            key_rotated_at=1.0,
        )
    )
    assert "s3cret" not in shown
    assert HASH not in shown
    assert "max_tokens=4096" in shown


def test_all_problems_are_told_together() -> None:
    found = problems(MAX_TOKENS="many", SEPTEMBER_RECOVERY="maybe", REACTIVE_COMPACT_ENABLED="yes")
    assert [problem.split(":")[0] for problem in found] == [
        "MAX_TOKENS",
        "REACTIVE_COMPACT_ENABLED",
        "SEPTEMBER_RECOVERY",
    ]


def test_values_given_in_code_are_checked_the_same_way() -> None:
    wrong: dict[str, Any] = {"max_tokens": "many", "drain_seconds": True, "cors_origins": 5, "llm_model": 3}
    with pytest.raises(ConfigurationError) as caught:
        Settings(**wrong)
    told = str(caught.value)
    for variable in ("MAX_TOKENS", "SEPTEMBER_DRAIN_SECONDS", "SEPTEMBER_CORS_ORIGINS", "LLM_MODEL"):
        assert f"{variable}: " in told


def test_an_empty_variable_outside_does_not_hide_a_key(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ENGINE_API_KEY=a-key\n")
    assert Settings.from_env({"ENGINE_API_KEY": " "}, dotenv=tmp_path / ".env").engine_api_key == "a-key"


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MAX_TOKENS=100\nLLM_MODEL='from the file'\n")
    assert Settings.from_env({"MAX_TOKENS": "200"}, dotenv=tmp_path / ".env").max_tokens == 200
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAX_TOKENS", "300")
    made = Settings.from_env()
    assert (made.max_tokens, made.llm_model) == (300, "from the file")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"A=1\nLLM_API_KEY='hunter2", "line 2: LLM_API_KEY: has a quote that does not close, or text after it"),
        (b"LLM_MODEL='a' b", "line 1: LLM_MODEL: has a quote that does not close, or text after it"),
        (b"\r\n\rLLM_MODEL=\xff", "line 3: LLM_MODEL: is not UTF-8"),
        (b"LLM_MODEL", "line 1: LLM_MODEL: has no value: write NAME=value"),
        (b"LLM_MODEL: claude", "line 1: LLM_MODEL: has no value: write NAME=value"),
        (b"#\n\nMAX_TOKENS=many", "line 3: MAX_TOKENS: 'many' must be a whole number from 1 to 1000000"),
        (b"A='\n\n'\nMAX_TOKENS=0", "line 4: MAX_TOKENS: '0' must be a whole number from 1 to 1000000"),
        (b"MEDIA_IMAGE_RESIZE_ENABLED=True", "line 1: MEDIA_IMAGE_RESIZE_ENABLED: 'True' must be true or false"),
        (
            b"ENGINE_API_KEY=hunter2 x",
            "line 1: ENGINE_API_KEY: the value must be visible ASCII characters without blanks",
        ),
    ],
)
def test_what_is_ours_and_wrong_in_a_dotenv_is_named_with_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "my.env"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({"SEPTEMBER_RECOVERY": "x"}, dotenv=str(file))
    assert f"{file}, {says}" in caught.value.details["problems"]
    assert "SEPTEMBER_RECOVERY: 'x' must be abandon or resume" in caught.value.details["problems"]
    assert "hunter2" not in str(caught.value)


def test_what_the_environment_sets_is_not_looked_at_in_the_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_TOKENS=many\nLLM_MODEL\nENGINE_API_KEY='")
    environ = {"MAX_TOKENS": "5", "LLM_MODEL": "m", "ENGINE_API_KEY": "k"}
    assert Settings.from_env(environ, dotenv=tmp_path / ".env").max_tokens == 5


PEM = """-----BEGIN SOMETHING-----
LLM_MODEL=from-inside-of-a-value
q83vASNFZ4mrze8=
-----END SOMETHING-----"""

STRANGERS = {
    "a multi-line value": f'DEPLOY_KEY="{PEM}"\n'.encode(),
    "a multi-line literal": f"DEPLOY_KEY='{PEM}' # the key\n".encode(),
    "a multi-line value in backticks": f"DEPLOY_KEY=`{PEM}`\r\n".encode(),
    "a dotted name": b"spring.profile=dev\nA.B=1\n",
    "a bare name": b"VERBOSE\n",
    "a name that is exported later": b"LIGHT_MODEL=light\nexport LIGHT_MODEL\nLIGHT_MODEL=\n",
    "latin-1": "MOTTO=Grüße\n".encode("latin-1"),
    "NUL bytes": b"KEY=\0\0\n\0\n",
    "a quote that never closes": b"GREETING=\"it's\nNAME='don't\n",
    "a path of Windows": b'HOME="C:\\me\\"\n',
    "a shell script": b"if [ -f x ]; then\n  source_env ..\nfi\nset -e\nPATH_add bin\n",
    "YAML and JSON": b'a: b\n{"a": 1}\n- c\n',
    "a key in lower case": b"max_tokens=many\n",
    "emptiness": b"",
    "control characters inside of a line": b"A=1\x0b\x0c\x1c\xe2\x80\xa8\n",
}


@pytest.mark.parametrize("before", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_what_is_not_ours_in_a_dotenv_is_skipped(tmp_path: Path, before: bytes, end: bytes) -> None:
    """Whatever stands in front of and behind it, our variable is read, and nothing else is."""
    (tmp_path / ".env").write_bytes((before + b"MAX_TOKENS=77\n" + before).replace(b"\n", end))
    assert Settings.from_env({}, dotenv=tmp_path / ".env") == Settings.from_env({"MAX_TOKENS": "77"}, dotenv=None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_dotenv_as_windows_writes_it_is_read(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    (tmp_path / ".env").write_bytes(f"{mark}A=ü\r\nLLM_MODEL=modèle\r\n".encode(encoding))
    assert Settings.from_env({}, dotenv=tmp_path / ".env").llm_model == "modèle"


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("make", [_folder, os.mkfifo, _dangling, _loop, _device, _socket])
def test_what_is_called_dotenv_and_is_no_file_is_left_alone(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    make(Path(".env"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\.env cannot be read \(Too many levels of symbolic links\)")
        assert Settings() == Settings.from_env({}, dotenv=None)


def test_a_dotenv_that_may_not_be_read_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MAX_TOKENS=5")
    monkeypatch.setattr("os.open", raising(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.warns(RuntimeWarning, match=r"\.env cannot be read \(Permission denied\), and is left out"):
        assert Settings.from_env({}, dotenv=tmp_path / ".env").max_tokens == 4096


def raising(error: Exception) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise error

    return fail


def test_of_a_huge_dotenv_the_beginning_is_read(tmp_path: Path) -> None:
    with (tmp_path / ".env").open("wb") as file:
        file.write(b"MAX_TOKENS=5\n")
        file.truncate(2**40)  # a sparse file: reading all of it would take hours
    assert Settings.from_env({}, dotenv=tmp_path / ".env").max_tokens == 5


@given(st.binary(max_size=200))
def test_no_file_without_our_names_is_a_problem(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, ".env")
        file.write_bytes(content)
        assert Settings.from_env({}, dotenv=file) == Settings.from_env({}, dotenv=None)


@given(st.text("A=\"'`#\\ \t\r\n$", max_size=60))
def test_each_assignment_of_a_dotenv_has_the_number_of_its_line(content: str) -> None:
    lines = re.split(r"\r\n|\n|\r", content)
    numbers = [each.line for each in assignments(content)]
    assert numbers == sorted(set(numbers))
    assert all(each.name in lines[each.line - 1] for each in assignments(content))


# ── keywords, over the environment ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_given_in_code_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("LLM_MODEL=from-the-file\nMAX_TOKENS=5\n")
    monkeypatch.setenv("MAX_TOKENS", "123")
    monkeypatch.setenv("SEPTEMBER_RECOVERY", "resume")
    made = Settings(recovery="abandon")
    assert (made.recovery, made.max_tokens, made.llm_model) == ("abandon", 123, "from-the-file")
    engine = Engine(":memory:", model=ScriptedModel([]), settings=Settings(media_error_recovery_enabled=True))
    assert engine.settings.max_tokens == 123


def test_what_is_given_in_code_hides_a_wrong_value_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TOKENS", "many")
    assert Settings(max_tokens=7).max_tokens == 7
    with pytest.raises(ConfigurationError, match="MAX_TOKENS: 'many'"):
        Settings(recovery="resume")


def test_a_copy_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Settings(max_tokens=7)
    monkeypatch.setenv("SEPTEMBER_RECOVERY", "resume")
    monkeypatch.setenv("MAX_TOKENS", "many")
    assert attrs.evolve(made, drain_seconds=1.0).recovery == "abandon"
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


def test_a_key_given_in_code_is_the_key_whatever_the_environment_calls_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "outside")
    monkeypatch.setenv("ENGINE_KEY_HASH", HASH)
    assert Settings(anthropic_api_key="inside").provider_key == "inside"
    assert Settings(anthropic_api_key=None).provider_key == "outside"
    made = Settings(engine_api_key="inside")
    assert made.key_hash == hashlib.sha256(b"inside").hexdigest()


def test_a_keyword_that_is_none_is_refused() -> None:
    wrong: dict[str, Any] = {"max_token": 5}
    with pytest.raises(TypeError, match="max_token"):
        Settings(**wrong)


def test_the_lines_of_a_dotenv() -> None:
    text = """\ufeff# a comment
A=1
export B = two words  # and a comment
C='# literal \\n'   # comment
D="line\\nnext \\"quoted\\" \\\\ \\t."

E=
F=#nothing
G=a#b
H=x=y
"""
    assert parse_dotenv(text) == {
        "A": "1",
        "B": "two words",
        "C": "# literal \\n",
        "D": 'line\nnext "quoted" \\ \t.',
        "E": "",
        "F": "",
        "G": "a#b",
        "H": "x=y",
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), st.text(st.characters(exclude_categories=["C", "Z"]))
    )
)
def test_a_double_quoted_value_comes_back_as_it_was(variables: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"')

    text = "\n".join(f'{name}="{quoted(value)}"' for name, value in variables.items())
    assert parse_dotenv(text) == variables


def test_the_providers_key_is_llm_api_key_before_anthropics() -> None:
    assert read().provider_key is None
    assert read(ANTHROPIC_API_KEY="a").provider_key == "a"
    assert read(ANTHROPIC_API_KEY="a", LLM_API_KEY="b").provider_key == "b"
    assert read(ANTHROPIC_AUTH_TOKEN="c").provider_key == "c"
    assert read(ANTHROPIC_API_KEY="a", ANTHROPIC_AUTH_TOKEN="c").provider_key == "a"


def test_the_current_key_is_known_by_its_hash() -> None:
    assert Settings().key_hash is None
    assert Settings(engine_api_key="old").key_hash == HASH
    assert Settings(engine_key_hash=HASH.upper()).key_hash == HASH
    assert Settings(engine_api_key="old", engine_key_hash=HASH).key_hash == HASH
    assert problems(ENGINE_API_KEY="new", ENGINE_KEY_HASH=HASH) == [
        "ENGINE_KEY_HASH: is not the hash of ENGINE_API_KEY; set only one of them"
    ]


def test_both_keys_open_inside_the_rotation_window() -> None:
    rotated = Settings(
        engine_api_key="new",
        previous_key_hash=HASH.upper(),
        key_rotated_at=1000.0,
        key_rotation_min_overlap=10.0,
        key_rotation_max_overlap=100.0,
    )
    new = hashlib.sha256(b"new").hexdigest()
    assert rotated.keys_at(500.0) == KeyRing(accepted=(HASH,), pending=(new,))
    assert rotated.keys_at(1009.9) == KeyRing(accepted=(HASH,), pending=(new,))
    assert rotated.keys_at(1010.0) == KeyRing(accepted=(new, HASH))
    assert rotated.keys_at(1099.9) == KeyRing(accepted=(new, HASH))
    assert rotated.keys_at(1100.0) == KeyRing(accepted=(new,))


def test_without_a_rotation_only_the_current_key_opens() -> None:
    assert Settings().keys_at(0.0) == KeyRing(accepted=())
    assert Settings(engine_key_hash=HASH).keys_at(0.0) == KeyRing(accepted=(HASH,))


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SEPTEMBER_PREVIOUS_KEY_HASH": HASH, "ENGINE_API_KEY": "new"}, "set both or neither"),
        ({"SEPTEMBER_KEY_ROTATED_AT": "1000"}, "set both or neither"),
        ({"SEPTEMBER_PREVIOUS_KEY_HASH": HASH, "SEPTEMBER_KEY_ROTATED_AT": "1"}, "there is no current key"),
        ({"BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS": "301"}, "301 is more than BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS, 300"),
        ({"SEPTEMBER_KEY_ROTATED_AT": "yesterday"}, "'yesterday' must be unix seconds"),
    ],
)
def test_a_rotation_that_does_not_fit_together_is_refused(environ: dict[str, str], says: str) -> None:
    assert any(says in problem for problem in problems(**environ))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("LLM_MODEL", "FALLBACK_MODEL") for value in ("a\0b", "a\nb", "\udcff")),
        ("SQLITE_DB_PATH", "a\0b"),
        ("ALLOWED_ROOTS", "/a\0b"),
    ],
)
def test_a_name_of_a_model_is_a_line_of_text_and_a_path_has_no_nul(name: str, value: str) -> None:
    [problem] = problems(**{name: value})
    assert problem.startswith(f"{name}: {value!r} must be ")
