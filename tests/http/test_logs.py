from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from september_engine import Settings
from september_engine.http.logs import JSONLines, configure

from .server import KEY, engine_with, serving

LLM_KEY = "sk-ant-s3cret"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged; afterwards the loggers are as they were."""
    loggers = [logging.getLogger(name) for name in ("september_engine", "asyncio")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    stream = io.StringIO()
    configure(Settings(engine_api_key=KEY, llm_api_key=LLM_KEY, engine_log_level="INFO"), stream=stream)
    yield stream
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


def read(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


async def test_a_request_is_one_line_with_its_id_and_its_task(lines: io.StringIO) -> None:
    async with serving(engine_with()) as served:
        await served.execute(task_id="a/b\n\u2028")
        await served.client.get("/tasks/nobody%20here")
    execute, tasks = read(lines)
    assert set(execute) == {"timestamp", "level", "logger", "request_id", "task_id", "message", "extra"}
    assert execute["request_id"].startswith("req_")
    assert execute["request_id"] != tasks["request_id"]
    assert (execute["task_id"], tasks["task_id"]) == ("a/b\n\u2028", "nobody here")
    assert (execute["extra"]["method"], execute["extra"]["path"], execute["extra"]["status"]) == (
        "POST",
        "/execute",
        200,
    )
    assert tasks["extra"]["status"] == 404


async def test_a_refused_request_is_logged_without_its_key(lines: io.StringIO) -> None:
    async with serving(engine_with()) as served:
        await served.client.get("/tasks", headers={"X-Engine-Key": "not-the-key"})
        await served.client.get("/tasks")
    assert [line["extra"]["status"] for line in read(lines)] == [401, 200]
    assert "not-the-key" not in lines.getvalue()
    assert KEY not in lines.getvalue()


def test_a_secret_that_is_a_part_of_a_fields_name_leaves_the_name(lines: io.StringIO) -> None:
    configure(Settings(engine_api_key="k"), stream=lines)
    logging.getLogger("september_engine.anything").info("ok")
    (line,) = read(lines)
    assert (set(line) >= {"task_id", "message"}, line["message"]) == (True, "o***")


def test_a_secret_is_struck_out_wherever_it_stands(lines: io.StringIO) -> None:
    logger = logging.getLogger("september_engine.anything")
    logger.info("the key %s", KEY, extra={"extra": {"list": [f"x{LLM_KEY}x", 1], KEY: {"in": (KEY,)}}})
    try:
        raise RuntimeError(f"with {LLM_KEY}")
    except RuntimeError:
        logger.exception("It failed.")
    assert KEY not in lines.getvalue()
    assert LLM_KEY not in lines.getvalue()
    first, second = read(lines)
    assert (first["message"], first["extra"]["list"]) == ("the key ***", ["x***x", 1])
    assert "RuntimeError: with ***" in second["extra"]["exception"]


def test_whatever_is_logged_is_one_line_of_json(lines: io.StringIO) -> None:
    logging.getLogger("september_engine").info(
        "two\nlines \ud800 %s", {"a"}, extra={"extra": {"odd": object, "b": b"x"}}
    )
    (line,) = read(lines)
    assert line["message"].startswith("two\nlines ? ")


def test_the_level_is_the_one_that_was_set(lines: io.StringIO) -> None:
    logging.getLogger("september_engine").debug("unheard")
    configure(Settings(engine_log_level="ERROR"), stream=lines)
    logging.getLogger("september_engine").warning("unheard")
    logging.getLogger("september_engine").error("heard")
    assert [line["message"] for line in read(lines)] == ["heard"]


def test_a_time_is_the_records_own() -> None:
    record = logging.LogRecord("september_engine", logging.INFO, "x.py", 1, "Hi", None, None)
    record.created = 1777293296.123
    line = json.loads(JSONLines().format(record))
    assert line["timestamp"] == "2026-04-27T12:34:56.123Z"
    assert (line["request_id"], line["task_id"], line["extra"]) == (None, None, {})


def test_importing_configures_nothing() -> None:
    code = "import logging, september_engine.http.serve; print(logging.getLogger('september_engine').handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
