"""app: the engine as an ASGI application. It translates; every rule is the engine's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..engine import Engine
from ..errors import EngineError, InvalidRequest
from .auth import Door
from .execute import execute, replay
from .gate import Gate
from .health import health
from .hitl import pending, respond
from .memory import episodes, export, full_soul, import_, knowledge, social, soul
from .openapi import openapi
from .tasks import cancel, media, messages, task, tasks
from .wire import error_response

__all__ = ["create_app"]


def create_app(
    engine: Engine,
    *,
    keyless_hosts: Collection[str] = (),
    now: Callable[[], float] = time.time,
    body_seconds: float = 10.0,
) -> Starlette:
    """The engine's HTTP contract as an application, to be served, or mounted into another one.

    Served on its own, it opens the engine at start-up and closes it at the end, unless it was open before. Mounted, it
    has no lifespan: open the engine in that of the application around it.

    Args:
        engine: What answers. Its settings hold the key, the origins and the size limit.
        keyless_hosts: Hosts that may be called without a key where none is set; see `Door`.
        now: Unix seconds.
        body_seconds: How long a body may take, before the second that each 64 KiB of it adds.

    Raises `ConfigurationError` where neither a key nor `keyless_hosts` is set.
    """
    settings = engine.settings
    door = Door(settings=settings, now=now, keyless_hosts=keyless_hosts)
    routes = [
        Route("/execute", partial(execute, engine, now), methods=["POST"]),
        Route("/execute/replay", partial(replay, engine, now), methods=["GET"]),
        Route("/hitl/pending", partial(pending, engine), methods=["GET"]),
        Route("/hitl/respond", partial(respond, engine), methods=["POST"]),
        Route("/tasks", partial(tasks, engine), methods=["GET"]),
        Route("/tasks/{task_id}", partial(task, engine), methods=["GET", "DELETE"]),
        Route("/tasks/{task_id}/messages", partial(messages, engine), methods=["GET"]),
        Route("/tasks/{task_id}/media/{sha256}", partial(media, engine), methods=["GET"]),
        Route("/tasks/{task_id}/cancel", partial(cancel, engine), methods=["POST"]),
        Route("/memory/knowledge/search", partial(knowledge, engine), methods=["POST"]),
        Route("/memory/episodes/search", partial(episodes, engine), methods=["POST"]),
        Route("/memory/social/search", partial(social, engine), methods=["POST"]),
        Route("/memory/soul", partial(soul, engine), methods=["GET"]),
        Route("/memory/soul/full", partial(full_soul, engine), methods=["GET"]),
        Route("/memory/export", partial(export, engine), methods=["GET"]),
        Route("/memory/import", partial(import_, engine), methods=["POST"]),
        Route("/health", partial(health, engine), methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                NamedOrigins,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("X-Engine-Key", "Content-Type", "Last-Event-ID"),
                expose_headers=("X-Task-Id", "X-Turn-Id"),
            ),
            Middleware(Gate, door=door, max_body_bytes=settings.max_body_bytes, body_seconds=body_seconds),
        ],
        exception_handlers={EngineError: _engine_error, HTTPException: _http_error},
        lifespan=partial(_lifespan, engine),
    )
    app.router.redirect_slashes = False
    return app


class NamedOrigins(CORSMiddleware):
    """CORS for the named origins. For every other one this is a server like any other: key first, no CORS headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is not None and self.is_allowed_origin(origin):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        reason = bytes(response.body).decode()
        return error_response(InvalidRequest(f"{reason}: this server does not allow it to any origin."))


@asynccontextmanager
async def _lifespan(engine: Engine, app: Starlette) -> AsyncIterator[None]:
    if (await engine.health()).status != "closed":
        yield
        return
    async with engine:
        yield


async def _engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router has to say, in the shape of every other error."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        headers["Allow"] = allowed
        found = InvalidRequest(f"{request.method} is not for this path; it takes {allowed}.")
    else:
        found = InvalidRequest("There is nothing at this path. GET /openapi.json has every path.")
    found.status = error.status_code
    return error_response(found, headers=headers)
