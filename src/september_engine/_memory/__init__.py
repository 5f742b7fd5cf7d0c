"""Long-term memory's core: what a memory is, what a question asks for, and why one answers the other. Pure."""

from __future__ import annotations

__all__: list[str] = []
