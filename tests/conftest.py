"""What every test shares: asyncio only, and no way to a real model by accident."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_real_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the internet or a developer's key is wrong: take both away."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "LLM_API_KEY", "ENGINE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
