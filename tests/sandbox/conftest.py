"""Each sandbox, where this machine has it."""

from __future__ import annotations

import pytest

from september_engine.sandbox.base import Sandbox

from .backends import sandbox_or_skip


@pytest.fixture(params=["bubblewrap", "landlock"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """What confines."""
    return sandbox_or_skip(request.param)


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def runner(request: pytest.FixtureRequest) -> Sandbox:
    """What runs commands, confined or not."""
    return sandbox_or_skip(request.param)
