"""The connections of an HTTP client, for as long as they are open: so that a child of a fork does not keep them.

An open copy in a child would keep the provider from seeing that a stream was left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from .._forks import at_fork, blank

__all__ = ["Connections"]


class Connections:
    """Learns of connections as an httpx2 client makes them: `event_hooks={"request": [connections.follow]}`."""

    def __init__(self) -> None:
        self._streams: WeakSet[Any] = WeakSet()
        at_fork(self)

    async def follow(self, request: Any) -> None:
        """Have the client tell which connection it opens for this request."""
        request.extensions = {**request.extensions, "trace": self._told}

    async def _told(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._streams.add(info["return_value"])

    @property
    def descriptors(self) -> list[int]:
        """Those of the connections that are open."""
        sockets = [stream.get_extra_info("socket") for stream in self._streams]
        return [socket.fileno() for socket in sockets if socket is not None and socket.fileno() >= 0]

    def give_up(self) -> None:
        """In a child of a fork."""
        blank(self.descriptors)
