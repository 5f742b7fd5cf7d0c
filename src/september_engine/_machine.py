"""What the command line gives an agent on this machine: all built-in tools where it can, without `bash` otherwise, and
an embedder where one is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import ConfigurationError
from .memory.base import Embedder
from .memory.minilm import PACKAGE, MiniLMEmbedder
from .tools import Tool

__all__ = ["embedder_here", "tools_in"]


def tools_in(folders: Sequence[Path]) -> tuple[list[Tool[..., Any]], str | None]:
    """The built-in tools over these folders (none: none), and why `bash` is not among them, if it is not.

    Raises `ConfigurationError` for a folder that is missing.
    """
    if not folders:
        return [], None
    root, *also = folders
    builtin_tools = import_module(".tools.builtin", __package__).builtin_tools  # with the parser of shells
    without = builtin_tools(root, also=also, sandbox=None)
    try:
        return builtin_tools(root, also=also), None
    except ConfigurationError as error:
        return without, error.message


def embedder_here() -> tuple[Embedder | None, str | None]:
    """MiniLM where its weights are installed, and why it cannot be used, where that is so. It takes half a second."""
    if find_spec(PACKAGE) is None:
        return None, None
    try:
        return MiniLMEmbedder(), None
    except ConfigurationError as error:
        return None, error.message
