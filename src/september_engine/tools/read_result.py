"""`read_result`: reading on in an output that was too large to be given at once."""

from __future__ import annotations

from typing import Annotated

import attrs
from msgspec import Meta

from .tool import Tool, tool

__all__ = ["read_result"]


@tool(timeout=None, safe_to_repeat=True)
def _read(
    result_id: Annotated[str, Meta(description="The id that stands where the output was cut.", min_length=1)],
    offset: Annotated[int, Meta(description="The byte to begin at.", ge=0)] = 0,
) -> str:
    """Read on in a result that was too large to be shown whole. Each call gives the next part and says where it ends.

    Use it only for results that say so, and for the part you need.
    """
    raise AssertionError("the engine answers this call")


read_result: Tool[..., str] = attrs.evolve(_read, name="read_result", reads_results=True)
"""An engine that has tools has this one as well; a tool of yours with this name takes its place."""
