"""The engine of somebody's own program, by its name: `module:engine`."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from importlib import import_module
from types import ModuleType

from .blocking import BlockingEngine
from .engine import Engine
from .errors import ConfigurationError

__all__ = ["load_engine"]


def load_engine(name: str) -> Engine:
    """The engine that `package.module:attribute` names: an `Engine`, or a function without arguments that makes one.

    The working folder is searched first, as `python -m` does. Raises `ConfigurationError` that says what is wrong: the
    name, the module (with its traceback where it failed), or what stands under the name.
    """
    place, _, attribute = name.partition(":")
    module = place.removesuffix(".py").removeprefix("./").replace("/", ".")
    if place.endswith(".py") and _dotted(module):
        raise ConfigurationError(f"{place} is a file. Name the module: {module}:{attribute or 'engine'}.")
    if not (_dotted(place) and _dotted(attribute)):
        raise ConfigurationError(f"{name!r} does not name an engine. Write module:engine, as in shop.agent:engine.")
    found: object = _module(place)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"The module {place} has no {attribute!r}. {_engines_in(sys.modules[place])}")
        found = getattr(found, part)
    if callable(found) and not isinstance(found, type):
        found = _made(found, name)
    if not isinstance(found, Engine):
        raise ConfigurationError(f"{name} is {_what(found)}, not an Engine. {_engines_in(sys.modules[place])}")
    return found


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _module(name: str) -> ModuleType:
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"There is no module {error.name!r} in {here}, nor is one installed. Start in the folder that holds it."
            ) from None
        raise ConfigurationError(f"The module {name} cannot be imported.\n{_trace(error)}") from error
    except (Exception, SystemExit) as error:  # whatever a program does when it is imported
        raise ConfigurationError(f"The module {name} cannot be imported.\n{_trace(error)}") from error


def _made(make: object, name: str) -> object:
    assert callable(make)
    try:
        inspect.signature(make).bind()
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} takes arguments. Name an Engine, or a function without any.") from None
    try:
        made: object = make()
    except Exception as error:
        raise ConfigurationError(f"{name}() failed.\n{_trace(error)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigurationError(f"{name} is an async function. Make it a plain one: the server opens the engine.")
    return made


def _trace(error: BaseException) -> str:
    """The traceback, from the user's own code on."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    return "".join([*traceback.format_list(ours), *traceback.format_exception_only(error)]).rstrip()


def _what(found: object) -> str:
    if isinstance(found, BlockingEngine):
        return "a BlockingEngine, which is for programs without an event loop"
    return f"of type {type(found).__name__}" if not isinstance(found, type) else f"the class {found.__name__}"


def _engines_in(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, Engine))
    return f"Its engines: {', '.join(names)}." if names else "It has no Engine."
