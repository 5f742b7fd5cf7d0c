"""Models: the port (`base`) and its adapters (`anthropic`, `scripted`, `offline`). Import the one you need."""

from __future__ import annotations

__all__: list[str] = []
