"""Extras: the packages that are installed by choice, and what is said where one is missing.

A package that is there but does not load is not called missing: installing the extra once more would change nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from .errors import BrokenExtra, MissingExtra

__all__ = ["EXTRAS", "extra", "is_installed", "load"]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "server": ("hypercorn", "starlette"),
    "sandbox": ("tree_sitter", "tree_sitter_bash"),
    "prices": ("genai_prices",),
    "media": ("PIL", "pypdf"),
    "embeddings": ("numpy", "tokenizers", "safetensors"),
}
"""Each extra, and the modules that it brings."""

_ALWAYS = ("anthropic",)
"""What comes with september-engine itself, and is imported only when it is needed."""

_FOR_TESTS = ("pytest",)


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Around the imports of an extra's packages, for `purpose`, as in "Serving over HTTP".

    `name` may also be "" for the package's own dependencies, and "dev" for those of its tests. Raises `MissingExtra`
    where a package is not installed, and `BrokenExtra` where one is and does not load.
    """
    package = f"september-engine[{name}]" if name else "september-engine"
    packages = EXTRAS.get(name, _FOR_TESTS if name else _ALWAYS)
    try:
        yield
    except ModuleNotFoundError as error:
        absent = (error.name or "").partition(".")[0]
        if absent not in packages or is_installed(absent):
            raise _broken(package, purpose, error) from error
        raise MissingExtra(
            f"{purpose} needs the package {absent}, which is not installed: pip install '{package}'", package=absent
        ) from error
    except ImportError as error:
        raise _broken(package, purpose, error) from error


def load(name: str, purpose: str, packages: Sequence[str]) -> None:
    """Import some of an extra's packages, to hear at once whether they can be. Raises as `extra` does."""
    with extra(name, purpose):
        for package in packages:
            if not is_installed(package):
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
            importlib.import_module(package)


def is_installed(package: str) -> bool:
    """Whether it can be found, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # of a finder that knows better, or a module without a spec
        return False


def _broken(package: str, purpose: str, error: ImportError) -> BrokenExtra:
    return BrokenExtra(
        f"{purpose} needs packages that are installed but do not load ({error}). Try to install them again: "
        f"pip install --force-reinstall '{package}'",
        package=error.name,
    )
