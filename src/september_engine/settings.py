"""Settings: every variable of the contract as one checked value.

A keyword wins over the environment, and the environment over `.env`. Each field knows its variable, how its text is
read and what is allowed; that is checked the same way wherever it comes from, and all problems are reported at once.
There is no clock here: what depends on the time takes the time.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import attrs

from ._dotenv import assignments, decoded, parse_dotenv
from ._plain import NO_SCALAR, plain_scalar, shown
from .errors import ConfigurationError

__all__ = ["LINE", "KeyRing", "Settings", "Variable", "parse_dotenv", "setting_fields", "variables_in"]

T = TypeVar("T")
_Check: TypeAlias = Callable[[Any], bool]

DOTENV = Path(".env")
"""Where the variables are read from that the environment does not set: in the working folder."""

MOST_OF_DOTENV = 2**20
"""As many bytes are read of a `.env` file; a longer one is not a list of settings."""


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError
    return int(text)


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(item) for item in _list(text))


def _setting(
    variable: str,
    default: Any,
    must_be: str,
    *,
    read: Callable[[str], object] = str,
    allows: _Check = lambda value: True,
    secret: bool = False,
) -> Any:
    metadata = {"variable": variable, "must_be": must_be, "read": read, "allows": allows, "secret": secret}
    return attrs.field(default=default, repr=not secret, metadata=metadata)


def _switch(variable: str, default: bool) -> bool:
    return cast(
        "bool", _setting(variable, default, "true or false", read=_flag, allows=lambda v: v is True or v is False)
    )


def _number(variable: str, default: float, low: float, high: float, unit: str) -> float:
    must_be = f"{unit}, from {low:g} to {high:g}"
    return cast("float", _setting(variable, default, must_be, read=float, allows=_between(low, high)))


def _count(variable: str, default: int, low: int, high: int) -> int:
    must_be = f"a whole number from {low} to {high}"
    whole = _between(low, high)
    return cast(
        "int", _setting(variable, default, must_be, read=_whole, allows=lambda v: isinstance(v, int) and whole(v))
    )


def _between(low: float, high: float) -> _Check:
    # False for NaN, as it must be
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _path(variable: str, default: str) -> Any:
    allows: _Check = lambda value: isinstance(value, Path) and _can_be_a_file(value)  # noqa: E731
    return _setting(variable, Path(default), "a path", read=Path, allows=allows)


def _can_be_a_file(path: Path) -> bool:
    return "\0" not in str(path) and not str(path).isspace()


def _choice(variable: str, default: str | None, *choices: str) -> Any:
    allows: _Check = lambda value: value in choices or (default is None and value is None)  # noqa: E731
    return _setting(variable, default, " or ".join(choices), allows=allows)


LINE = r"(?!\s)[^\x00-\x1f\x7f\ud800-\udfff]+"
"""A text that a provider's JSON and a log line can hold: no control characters, no halves of surrogate pairs."""


def _text(variable: str, must_be: str = "a line of text", pattern: str = LINE, *, secret: bool = False) -> str | None:
    allows: _Check = lambda value: value is None or re.fullmatch(pattern, value) is not None  # noqa: E731
    return cast("str | None", _setting(variable, None, must_be, allows=allows, secret=secret))


_KEY = ("visible ASCII characters without blanks", r"[!-~]+")
_HASH = ("a SHA-256 in 64 hex digits", r"[0-9a-fA-F]{64}")
_YEAR = 366 * 86400.0


@attrs.frozen(kw_only=True)
class KeyRing:
    """SHA-256 hashes (lower-case hex) of the engine keys at one moment: those that open, and one that will soon."""

    accepted: tuple[str, ...]
    pending: tuple[str, ...] = ()


class Variable(NamedTuple):
    """What one variable is set to, and where: None for the environment, else the file and the line.

    `problem` stands for a value that cannot be read.
    """

    text: str
    where: str | None = None
    problem: str | None = None


def _filled_from_environment(settings: type[T]) -> type[T]:
    """Let the constructor take from the environment what the caller leaves out."""
    plain: Callable[..., None] = settings.__init__

    @functools.wraps(plain)
    def __init__(self: T, *, _variables: Mapping[str, Variable] | None = None, **given: Any) -> None:
        if all(field.name in given for field in setting_fields()):  # a copy
            plain(self, **given)
        else:
            variables = _set_variables(os.environ, DOTENV) if _variables is None else _variables
            _fill(functools.partial(plain, self), given, variables)

    __init__.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    settings.__init__ = __init__  # type: ignore[method-assign, assignment]
    return settings


@_filled_from_environment
@attrs.frozen(kw_only=True)
class Settings:
    """What an engine and its server are told from outside. Secrets are left out of the `repr`.

    What is not given as a keyword is read from the environment, then from a `.env` file in the working folder, and has
    its default where neither sets it. `Settings.from_env({}, dotenv=None)` are the defaults, whatever the environment.

    Durations are seconds. `max_body_bytes` is 32 MiB, as much as the provider takes in one request: a valid image
    is up to 5 MiB of base64, and nothing larger than the provider's limit could be used anyway. The key is checked
    before a body is read, so only somebody with the key can make the engine hold that much.

    To rotate the engine's key, set the new one as `ENGINE_API_KEY` or `ENGINE_KEY_HASH`, the old one's SHA-256 as
    `SEPTEMBER_PREVIOUS_KEY_HASH`, and the moment as `SEPTEMBER_KEY_ROTATED_AT` (unix seconds); see `keys_at`.

    Raises `ConfigurationError` with every problem, one a line; `details["problems"]` has them as a list.
    """

    engine_api_key: str | None = _text("ENGINE_API_KEY", *_KEY, secret=True)
    engine_key_hash: str | None = _text("ENGINE_KEY_HASH", *_HASH, secret=True)
    previous_key_hash: str | None = _text("SEPTEMBER_PREVIOUS_KEY_HASH", *_HASH, secret=True)
    key_rotated_at: float | None = _setting(
        "SEPTEMBER_KEY_ROTATED_AT",
        None,
        "unix seconds",
        read=float,
        allows=lambda value: value is None or _between(0, 1e11)(value),
    )
    key_rotation_min_overlap: float = _number("BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS", 0.0, 0, _YEAR, "seconds")
    key_rotation_max_overlap: float = _number("BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS", 300.0, 0, _YEAR, "seconds")

    channel_state_ttl_active: float = _number("CHANNEL_STATE_TTL_ACTIVE", 10800.0, 1, 10 * _YEAR, "seconds")
    channel_state_ttl_hitl: float = _number("CHANNEL_STATE_TTL_HITL", 259200.0, 1, 10 * _YEAR, "seconds")

    llm_provider: Literal["anthropic", "offline"] | None = _choice("LLM_PROVIDER", None, "anthropic", "offline")
    llm_api_key: str | None = _text("LLM_API_KEY", *_KEY, secret=True)
    anthropic_api_key: str | None = _text("ANTHROPIC_API_KEY", *_KEY, secret=True)
    anthropic_auth_token: str | None = _text("ANTHROPIC_AUTH_TOKEN", *_KEY, secret=True)
    anthropic_base_url: str | None = _text("ANTHROPIC_BASE_URL", "an http or https URL", r"https?://\S+")
    llm_model: str | None = _text("LLM_MODEL")
    planner_model: str | None = _text("PLANNER_MODEL")
    light_model: str | None = _text("LIGHT_MODEL")
    fallback_model: str | None = _text("FALLBACK_MODEL")
    max_tokens: int = _count("MAX_TOKENS", 4096, 1, 1_000_000)

    sqlite_db_path: Path = _path("SQLITE_DB_PATH", "brain.sqlite")  # noqa: RUF009 (it makes an attrs field)
    database_url: str | None = _text(
        "SEPTEMBER_DATABASE_URL", "a postgresql:// URL", r"postgres(?:ql)?://\S+", secret=True
    )
    durability: Literal["full", "relaxed"] = _choice("SEPTEMBER_DURABILITY", "full", "full", "relaxed")
    recovery: Literal["abandon", "resume"] = _choice("SEPTEMBER_RECOVERY", "abandon", "abandon", "resume")

    allowed_roots: tuple[Path, ...] = _setting(
        "ALLOWED_ROOTS",
        (),
        "absolute paths, separated by commas",
        read=_paths,
        allows=lambda value: all(path.is_absolute() and _can_be_a_file(path) for path in value),
    )
    memory: bool = _switch("SEPTEMBER_MEMORY", True)
    distil: bool = _switch("SEPTEMBER_DISTIL", False)
    tool_use_concurrency: int = _count("CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY", 10, 1, 1000)
    reactive_compact_enabled: bool = _switch("REACTIVE_COMPACT_ENABLED", True)
    media_presend_validation_enabled: bool = _switch("MEDIA_PRESEND_VALIDATION_ENABLED", False)
    media_image_resize_enabled: bool = _switch("MEDIA_IMAGE_RESIZE_ENABLED", False)
    media_error_recovery_enabled: bool = _switch("MEDIA_ERROR_RECOVERY_ENABLED", False)

    engine_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _choice(
        "ENGINE_LOG_LEVEL", "INFO", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"
    )
    cors_origins: tuple[str, ...] = _setting(
        "SEPTEMBER_CORS_ORIGINS",
        (),
        "origins such as https://app.example.org, separated by commas; '*' is not one",
        read=_list,
        allows=lambda value: all(re.fullmatch(r"https?://[^/\s*?#@]+", origin) for origin in value),
    )
    max_body_bytes: int = _count("SEPTEMBER_MAX_BODY_BYTES", 32 * 2**20, 1024, 2**31)
    drain_seconds: float = _number("SEPTEMBER_DRAIN_SECONDS", 25.0, 0, 3600, "seconds")

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(Settings):
            object.__setattr__(self, field.name, _plain_value(field, getattr(self, field.name)))
        if problems := [*_own_problems(self), *_joint_problems(self)]:
            raise _refusal(problems)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, dotenv: Path | str | None = Path(".env")
    ) -> Settings:
        """Settings from these variables (`os.environ` unless given) over this `.env` file, which need not be there.

        An empty value counts as not set, there too: it does not hide what `.env` says. Flags are exactly "true" or
        "false". What else the file holds is skipped. Raises `ConfigurationError` with every problem at once: the
        variable, its value unless it is a secret, what is allowed, and for a `.env` file the line. Warns
        (`RuntimeWarning`) of a file that cannot be read.
        """
        variables = _set_variables(os.environ if environ is None else environ, dotenv)
        return cast("Callable[..., Settings]", cls)(_variables=variables)

    @property
    def provider_key(self) -> str | None:
        """The model provider's key: `LLM_API_KEY`, else `ANTHROPIC_API_KEY`, else `ANTHROPIC_AUTH_TOKEN`."""
        return self.llm_api_key or self.anthropic_api_key or self.anthropic_auth_token

    @property
    def key_hash(self) -> str | None:
        """The SHA-256 of the engine's current key in lower-case hex, or None where no key is set."""
        if self.engine_key_hash is not None:
            return self.engine_key_hash.lower()
        return None if self.engine_api_key is None else _sha256(self.engine_api_key)

    def keys_at(self, now: float) -> KeyRing:
        """Which keys open at `now` (unix seconds).

        Until `key_rotation_min_overlap` after the rotation only the previous key opens and the new one is pending
        (`KEY_ROTATION_PENDING`); from then until `key_rotation_max_overlap` after it both open; then only the new one.
        With the defaults both open for five minutes.
        """
        current = () if self.key_hash is None else (self.key_hash,)
        if self.previous_key_hash is None or self.key_rotated_at is None:
            return KeyRing(accepted=current)
        previous, age = self.previous_key_hash.lower(), now - self.key_rotated_at
        if age < self.key_rotation_min_overlap:
            return KeyRing(accepted=(previous,), pending=current)
        return KeyRing(accepted=(*current, previous) if age < self.key_rotation_max_overlap else current)


def setting_fields() -> tuple[attrs.Attribute[Any], ...]:
    """The fields of `Settings`. The metadata of each has its `variable`, what it `must_be`, and if it is `secret`."""
    return attrs.fields(Settings)


_SAME_SETTING = (
    {"engine_api_key", "engine_key_hash"},
    {"llm_api_key", "anthropic_api_key", "anthropic_auth_token"},
)
"""Keywords that say one thing in several ways: who gives one of them means it, whatever the environment has."""


def _fill(make: Callable[..., None], given: Mapping[str, Any], variables: Mapping[str, Variable]) -> None:
    """Make settings of what was given, and of the variables for the rest. Raises `ConfigurationError`."""
    meant = {name for same in _SAME_SETTING if any(given.get(name) is not None for name in same) for name in same}
    problems: list[str] = []
    values, places = dict(given), dict[str, str]()
    for field in setting_fields():
        variable = field.metadata["variable"]
        if field.name in given or field.name in meant or (found := variables.get(variable)) is None:
            continue
        if found.where is not None:
            places[variable] = found.where
        if found.problem is not None:
            problems.append(f"{variable}: {found.problem}")
            continue
        try:
            values[field.name] = field.metadata["read"](found.text)
        except (ValueError, KeyError, OverflowError):
            problems.append(_problem(field, found.text))
    try:
        make(**values)
    except ConfigurationError as error:
        problems.extend(cast("list[str]", error.details["problems"]))
    if problems:
        raise _refusal([_located(each, places) for each in problems])


def _located(problem: str, places: Mapping[str, str]) -> str:
    """The problem, with the file and the line of the variable that it begins with."""
    place = places.get(problem.partition(":")[0])
    return problem if place is None else f"{place}: {problem}"


def _set_variables(environ: Mapping[str, str], dotenv: Path | str | None) -> dict[str, Variable]:
    """What is set, without blanks around it; an empty value is none."""
    found = {} if dotenv is None else variables_in(Path(dotenv))
    for name in (field.metadata["variable"] for field in setting_fields()):
        if text := environ.get(name, "").strip():
            found[name] = Variable(text)
    return found


def variables_in(path: Path) -> dict[str, Variable]:
    """Our variables in a `.env` file, if it is a file and there."""
    try:
        content = _content(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        warnings.warn(f"{path} cannot be read ({reason}), and is left out.", RuntimeWarning, stacklevel=6)
        return {}
    ours = {field.metadata["variable"] for field in setting_fields()}
    found: dict[str, Variable] = {}
    for each in assignments(decoded(content)):
        if each.name not in ours:
            continue
        problem = each.problem
        if each.value is not None and any("\ud800" <= character <= "\udfff" for character in each.value):
            problem = "is not UTF-8"
        text = (each.value or "").strip()
        if problem is not None or text:
            found[each.name] = Variable(text, f"{path}, line {each.line}", problem)
        else:
            found.pop(each.name, None)
    return found


def _content(path: Path) -> bytes:
    """What is in a regular file. Anything else (a folder, such as a virtual environment; a pipe) is empty.

    Raises `OSError`. A pipe or a device is not opened: that may wait for ever, or do something.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return b""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        return file.read(MOST_OF_DOTENV) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _plain_value(field: attrs.Attribute[Any], value: object) -> object:
    """What code gave for this field, as the plain value that it is a kind of; what is none is refused as it is."""
    plain = plain_scalar(value)
    if isinstance(plain, str) and isinstance(field.default, Path):
        return Path(plain)
    if plain is not NO_SCALAR or not isinstance(value, list | tuple):
        return plain if plain is not NO_SCALAR else value
    try:
        items = [str.__str__(item) if isinstance(item, str) else item for item in value]
    except Exception:  # a list's own code takes part
        return value
    is_paths = field.metadata["read"] is _paths
    return tuple(Path(item) if is_paths and isinstance(item, str) else item for item in items)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(each, str | Path) for each in value)
    return value is None or isinstance(value, str | int | float | Path)


def _own_problems(settings: Settings) -> Iterator[str]:
    for field in setting_fields():
        value = getattr(settings, field.name)
        try:
            allowed = _is_plain(value) and field.metadata["allows"](value)
        except Exception:  # a value of another type, given in code, whose own code takes part
            allowed = False
        if not allowed:
            yield _problem(field, _written(value))


def _written(value: object) -> str:
    """As it would stand in the environment; what could not stand there, as far as that can be shown."""
    if isinstance(value, tuple) and all(isinstance(each, str | Path) for each in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else str(value) if isinstance(value, float | Path) else shown(value)


def _joint_problems(settings: Settings) -> Iterator[str]:
    key, digest = settings.engine_api_key, settings.engine_key_hash
    if isinstance(key, str) and isinstance(digest, str) and _sha256(key) != digest.lower():
        yield "ENGINE_KEY_HASH: is not the hash of ENGINE_API_KEY; set only one of them"
    if (settings.previous_key_hash is None) != (settings.key_rotated_at is None):
        yield "SEPTEMBER_PREVIOUS_KEY_HASH: goes together with SEPTEMBER_KEY_ROTATED_AT; set both or neither"
    if settings.previous_key_hash is not None and key is None and digest is None:
        yield "SEPTEMBER_PREVIOUS_KEY_HASH: there is no current key; set ENGINE_API_KEY or ENGINE_KEY_HASH"
    low, high = settings.key_rotation_min_overlap, settings.key_rotation_max_overlap
    if _between(0, _YEAR)(low) and _between(0, _YEAR)(high) and low > high:
        yield (
            f"BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS: {low:g} is more than BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS, {high:g}"
        )


def _problem(field: attrs.Attribute[Any], text: str) -> str:
    shown = "the value" if field.metadata["secret"] else repr(text)
    return f"{field.metadata['variable']}: {shown} must be {field.metadata['must_be']}"


def _refusal(problems: list[str]) -> ConfigurationError:
    return ConfigurationError("The settings cannot be used.\n" + "\n".join(problems), problems=list(problems))


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
