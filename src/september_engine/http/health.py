"""health: 200 only when the engine could take a turn now. Open to all, so that whoever watches needs no key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..engine import Engine
from .wire import json_response

__all__ = ["health"]


async def health(engine: Engine, request: Request) -> Response:
    """GET /health."""
    found = await engine.health()
    return json_response(found, status=200 if found.status == "ok" else 503)
