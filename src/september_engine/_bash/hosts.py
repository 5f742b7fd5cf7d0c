"""Hosts, where an address names one for certain."""

from __future__ import annotations

import re

__all__ = ["host_of"]

URL = re.compile(
    r"(?:https?|ssh|git|ftps?)://(?:[A-Za-z0-9_.-]+@)?([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]+)?(?:[/?#].*)?"
)
SCP = re.compile(r"(?:[A-Za-z0-9_.-]+@)([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(?!:)[A-Za-z0-9_./~-]+")


def host_of(address: str) -> str | None:
    """The host of a URL, or of `user@host:path`, in lower case; None where programs may disagree about it."""
    found = URL.fullmatch(address) or SCP.fullmatch(address)
    return found.group(1).lower() if found else None
