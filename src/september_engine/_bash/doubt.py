"""Doubt: how a part that does not understand something says so. It never leaves the package."""

from __future__ import annotations

__all__ = ["NotUnderstood", "UnknownProgram"]


class NotUnderstood(Exception):
    """The text ends the sentence "This asks because …". `writes` is a path that may be changed, where one is known."""

    def __init__(self, why: str, *, writes: str | None = None) -> None:
        super().__init__(why)
        self.writes = writes


class UnknownProgram(NotUnderstood):
    """All that is not understood is what this program does; a person's rule may know."""
