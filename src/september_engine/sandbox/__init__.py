"""Sandboxes: the port (`base`), its adapters (`bubblewrap`, `landlock`, `unconfined`), and `choice` among them."""

from __future__ import annotations

__all__: list[str] = []
