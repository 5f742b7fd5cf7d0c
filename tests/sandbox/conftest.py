"""Each sandbox, where this machine has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from september_engine.sandbox.base import Sandbox

from .backends import sandbox_or_skip
from .users import package_for_all


@pytest.fixture(params=["bubblewrap", "landlock"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """What confines."""
    return sandbox_or_skip(request.param)


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def runner(request: pytest.FixtureRequest) -> Sandbox:
    """What runs commands, confined or not."""
    return sandbox_or_skip(request.param)


@pytest.fixture(scope="session")
def package() -> Iterator[Path]:
    """Our package where every user can read it."""
    with package_for_all() as folder:
        yield folder
