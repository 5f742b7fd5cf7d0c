"""The shell: the only place with tasks, timeouts and clocks. It obeys the core and has no rules of its own."""

from __future__ import annotations

__all__: list[str] = []
