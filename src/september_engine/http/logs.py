"""logs: JSON lines, one per record, when we are the server. A library that is only imported configures no logging."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TextIO

import msgspec

from ..events import timestamp
from ..messages import JSON
from ..settings import Settings, setting_fields

__all__ = ["REQUEST_ID", "TASK_ID", "JSONLines", "configure"]

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
TASK_ID: ContextVar[str | None] = ContextVar("task_id", default=None)

LOGGERS = ("september_engine", "asyncio")

LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\u0085\u2028\u2029"}
"""JSON may hold them as they are, but some readers take them for the end of a line."""


class JSONLines(logging.Formatter):
    """A record as one line: timestamp, level, logger, request_id, task_id, message, extra.

    What a record is given as `extra={"extra": {…}}` is its extra. Secrets are struck out wherever they stand.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        extra: dict[str, JSON] = dict(getattr(record, "extra", None) or {})
        if record.exc_info:
            extra["exception"] = self.formatException(record.exc_info)
        line: dict[str, JSON] = {
            "timestamp": timestamp(int(record.created * 1000)),
            "level": record.levelname,
            "logger": record.name,
            "request_id": REQUEST_ID.get(),
            "task_id": TASK_ID.get(),
            "message": record.getMessage(),
            "extra": extra,
        }
        struck = {name: self._struck(value) for name, value in line.items()}
        text = msgspec.json.encode(struck, enc_hook=str).decode()
        return text.translate(LINE_ENDS)

    def _struck(self, value: JSON) -> JSON:
        match value:
            case str():
                for secret in self._secrets:
                    value = value.replace(secret, "***")
                return value.encode("utf-8", "replace").decode()
            case dict():
                return {self._struck(str(name)): self._struck(each) for name, each in value.items()}
            case list() | tuple():
                return [self._struck(each) for each in value]
            case _:
                return value


def configure(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Log the engine, its server and the event loop to a stream (stderr) at `ENGINE_LOG_LEVEL`. Repeating replaces."""
    fields = (field for field in setting_fields() if field.metadata["secret"])
    secrets = [secret for field in fields if (secret := getattr(settings, field.name)) is not None]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONLines(secrets))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(settings.engine_log_level)
        logger.propagate = False
