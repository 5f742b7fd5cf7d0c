"""Media on this machine: files that are read, images that are made smaller, documents that are looked into."""

from __future__ import annotations

__all__: list[str] = []
