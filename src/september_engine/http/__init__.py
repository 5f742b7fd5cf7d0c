"""The engine over HTTP: JSON in, server-sent events out. It needs the `server` extra.

`create_app` makes an ASGI application; `serve.serve_engine` serves an engine until a signal.
"""

from __future__ import annotations

from .._extras import extra

with extra("server", "september_engine.http"):  # before any module of this package can be imported
    import starlette  # noqa: F401

from .app import create_app
from .auth import LOOPBACK

__all__ = ["LOOPBACK", "create_app"]
