"""Health: whether an engine can take a turn now."""

from __future__ import annotations

import msgspec

from ._runtime.supervisor import Supervisor

__all__ = ["Health", "health_of"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the engine can take a turn now: `status` is "ok" only then. `subsystems` says "ok" or why not, each."""

    status: str
    uptime_seconds: float
    subsystems: dict[str, str]


async def health_of(supervisor: Supervisor | None, opened_at: float) -> Health:
    """Of the engine that was opened at this moment (monotonic seconds); None is one that is closed. Never raises."""
    if supervisor is None:
        return Health(status="closed", uptime_seconds=0.0, subsystems={})
    database = await supervisor.store.check()
    provider = supervisor.resources.provider
    status = "ok" if supervisor.accepting else "shutting_down"
    if database != "ok" or provider == "LLM_AUTH":
        status = "degraded"
    uptime = round(supervisor.resources.world.clock.monotonic() - opened_at, 3)
    subsystems = {"database": database, "llm_provider": provider}
    return Health(status=status, uptime_seconds=uptime, subsystems=subsystems)
