"""Stores: the port (`base`) and its adapters (`sqlite`, `memory`). Import the one you need."""

from __future__ import annotations

__all__: list[str] = []
