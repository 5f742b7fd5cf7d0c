"""Doubt: how a part that does not understand something says so. It never leaves the package."""

from __future__ import annotations

__all__ = ["NotUnderstood"]


class NotUnderstood(Exception):
    """The text ends the sentence "This asks because …"."""
