"""What every test shares: asyncio only, and no way to a real model by accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench

# how fast a machine is decides no test
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_real_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the internet or a developer's key is wrong: take both away."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "LLM_API_KEY", "ENGINE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["memory", "sqlite"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """What an engine stands on, once with each store."""
    return Bench(store=MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "brain.sqlite"))
