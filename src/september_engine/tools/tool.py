"""The `tool` decorator: a typed function, described to a model and callable with what the model sends.

A tool is data and a function; it is never run here. Decoding is strict: what the model sends is taken as the
annotations say or refused with a text that tells the model what is wrong and where.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, overload

import attrs

from .._plain import configuration, plain_flag, plain_number, plain_text_or_none, shown
from .._turn.inputs import Write
from ..errors import ConfigurationError, InvalidRequest
from ..messages import JSON, Block
from ..permissions import Action, Effect
from ._forms import Object
from .output import ToolError
from .schema import description_of, input_schema, parameters_of, plain_function

__all__ = ["Actions", "Called", "Check", "Opened", "Tool", "ToolInputError", "Writes", "tool"]

P = ParamSpec("P")
R = TypeVar("R")

Actions: TypeAlias = Callable[[Mapping[str, JSON]], Sequence[Action]]
"""What a call with this input would do, for the rules to judge. It only looks; it must not do anything."""

Writes: TypeAlias = Callable[[Mapping[str, JSON]], Write]
"""What a call with this input writes into the log. Raises `ToolInputError`."""

Check: TypeAlias = Callable[[Mapping[str, JSON], Sequence[Effect]], None]
"""Raises `ToolError` where a call with this input could not be done, even if these effects were opened for it.

It only looks, and is called in a thread, before a person is asked about the call.
"""

Opened: TypeAlias = Callable[[Sequence[Effect]], Callable[..., Any]]
"""The tool's function for one call that may have these effects outside of the tool's own folders, and no others."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ToolInputError(ToolError):
    """The model's input does not fit the parameters; the text says what and where, for the model to correct."""

    def __init__(self, message: str, /) -> None:
        super().__init__(message, reason="invalid_input")


@attrs.frozen(kw_only=True)
class Called:
    """Where a call stands: its task and turn, the person's message that the turn answers, and all that a person said.

    `outside` are the tools called in this turn that may have brought in what nobody here said; `outside_before` are
    those of the thread's earlier turns, and "untrusted memories" where such were recalled.
    """

    tool_call_id: str
    task_id: str
    turn_id: str
    message_id: str
    said: str
    outside: tuple[str, ...] = ()
    outside_before: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Tool(Generic[P, R]):
    """A function a model may call. Made by `tool`; calling it calls the function.

    Attributes:
        name: What the model calls it.
        description: What it does, for the model.
        input_schema: JSON Schema of its input, an object on top.
        function: The function itself.
        is_async: Whether it is declared `async`. A sync function may still return an awaitable, to be awaited.
        timeout: Seconds it may take, or None.
        safe_to_repeat: Running it twice does no harm, so a call cut off by a crash may be made again.
        requires_permission: A person is asked before each call.
        high_cost: A person is asked before each call, because it is dear.
        actions: What a call would do, where the rules are to look into it.
        roots: Absolute folders that the tool was made for: writing inside of them needs nobody's leave.
        check: Whether a call could be done if a person said yes: nobody is asked about one that could not.
        opened: Its function for a call that a person, or a rule, lets reach outside of `roots`. A tool without it is
            not held to its roots, or cannot leave them whatever anybody says.
        hide: Puts files (absolute paths) out of reach of every later call: the engine tells its tools where its own
            database is.
        confined: Whether what it runs is held by a sandbox; False makes the engine ask before code that nobody has
            looked at.
        asks_person: The call is a question to a person; the answer is its result, and the function is never called.
        reads_results: The engine answers the call itself, from the large outputs it has stored.
        writes: The call only writes into the log, together with the answer that it stands in, and the function is
            never called.
        told: The function gets a keyword `called` besides what the model gives: the `Called` of this call.
    """

    name: str
    description: str
    input_schema: dict[str, JSON]
    function: Callable[P, R]
    is_async: bool
    timeout: float | None
    safe_to_repeat: bool
    requires_permission: bool
    high_cost: bool = False
    actions: Actions | None = None
    roots: tuple[str, ...] = ()
    check: Check | None = None
    opened: Opened | None = None
    hide: Callable[[Iterable[str]], None] | None = None
    confined: bool = True
    asks_person: bool = False
    reads_results: bool = False
    writes: Writes | None = None
    told: bool = False
    _parameters: Object

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, as if it had never been decorated."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    @property
    def __wrapped__(self) -> Callable[P, R]:
        """The function, where `inspect` and `help` look for it."""
        return self.function

    @property
    def declared(self) -> str | None:
        """Why a person is asked before each call, if one is, whatever the input."""
        if self.requires_permission:
            return f"{self.name} needs a person's permission."
        return f"A call of {self.name} is expensive." if self.high_cost else None

    def definition(self) -> Block:
        """The tool as the Messages API takes it."""
        return {"name": self.name, "description": self.description, "input_schema": self.input_schema}

    def decode(self, input: Mapping[str, JSON]) -> dict[str, object]:
        """The model's input as keyword arguments of the annotated types; what is left out keeps its default.

        Raises `ToolInputError`.
        """
        try:
            decoded: dict[str, object] = self._parameters.read(input)
        except Exception as error:  # a type's own code takes part, and may raise anything
            names = ", ".join(field.name for field in self._parameters.fields) or "none"
            raise ToolInputError(f"Invalid input for {self.name}: {error} (its parameters: {names})") from error
        return decoded


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = 30.0,
    safe_to_repeat: bool = False,
    requires_permission: bool = False,
    high_cost: bool = False,
    actions: Actions | None = None,
) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = 30.0,
    safe_to_repeat: bool = False,
    requires_permission: bool = False,
    high_cost: bool = False,
    actions: Actions | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = 30.0,
    safe_to_repeat: bool = False,
    requires_permission: bool = False,
    high_cost: bool = False,
    actions: Actions | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a function a tool: `@tool`, `@tool(timeout=5.0)`, or `tool(instance.method, name="lookup")`.

    The name and description come from the function and its docstring, the schema from its annotations. A parameter is
    described by the docstring's section on arguments (Google, NumPy or reST), or by its annotation, which wins:
    `Annotated[int, msgspec.Meta(description="…", ge=1)]`, `Annotated[int, pydantic.Field(le=5)]`. A constraint there is
    checked and told to the model; one that is not known raises.

    Args:
        function: Sync or async; also a bound method, a `functools.partial`, or an object with `__call__`.
        name: Letters, digits, `_` and `-`, at most 64.
        description: Instead of the docstring's. Without either, a `UserWarning` says so; "" is a way to mean it.
        timeout: Seconds one call may take; None for no limit.
        safe_to_repeat: Running it twice does no harm.
        requires_permission: Ask a person before each call.
        high_cost: The same, because a call is dear.
        actions: What a call with some input would do (see `september_engine.permissions`), for rules to judge.

    Raises `ConfigurationError` when the function cannot be described to a model; the text names the parameter.
    """
    scope = dict(sys._getframe(1).f_locals)

    with configuration():
        name, description = (
            plain_text_or_none(name, "tool(name=…)"),
            plain_text_or_none(description, "tool(description=…)"),
        )
        safe_to_repeat = plain_flag(safe_to_repeat, "tool(safe_to_repeat=…)")
        requires_permission = plain_flag(requires_permission, "tool(requires_permission=…)")
        high_cost = plain_flag(high_cost, "tool(high_cost=…)")
    if actions is not None and not callable(actions):
        raise ConfigurationError("tool(actions=…) must be a function that says what a call would do.")

    def make(function: Callable[P, R], *, stacklevel: int = 2) -> Tool[P, R]:
        if not callable(function):
            raise ConfigurationError(f"A tool is made of a function; {shown(function)} cannot be called.")
        plain = plain_function(function)
        chosen = name if name is not None else _name_of(function)
        _check(chosen, plain)
        parameters = parameters_of(function, chosen, scope)
        described = description_of(function) if description is None else description
        if description is None and not described:
            warnings.warn(
                f"Tool '{chosen}' has no docstring, so the model is not told what it does: write one, or pass "
                "tool(…, description='…').",
                UserWarning,
                stacklevel=stacklevel,
            )
        return Tool(
            name=chosen,
            description=described,
            input_schema=input_schema(parameters, function, chosen),
            function=function,
            is_async=_is_async(function),
            timeout=_seconds(chosen, timeout),
            safe_to_repeat=safe_to_repeat,
            requires_permission=requires_permission,
            high_cost=high_cost,
            actions=actions,
            parameters=parameters,
        )

    return make if function is None else make(function, stacklevel=3)


def _name_of(function: Callable[..., object]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _is_async(function: Callable[..., object]) -> bool:
    # not of the function below a wrapper: the wrapper is what is called
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _seconds(name: str, timeout: float | None) -> float | None:
    if timeout is None:
        return None
    try:
        seconds = plain_number(timeout, "timeout", least=0)
    except InvalidRequest:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise ConfigurationError(
            f"The timeout of tool '{name}' must be seconds above 0, or None; it is {shown(timeout)}."
        )
    return seconds


def _check(name: str, plain: Callable[..., object]) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"'{name}' cannot be a tool's name: use 1 to 64 letters, digits, '_' and '-', as in tool(…, name='lookup')."
        )
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise ConfigurationError(f"Tool '{name}' is a generator: a tool returns its result, it does not yield.")
    if inspect.isclass(plain):
        raise ConfigurationError(f"Tool '{name}' is a class: pass a function that makes and returns the object.")
