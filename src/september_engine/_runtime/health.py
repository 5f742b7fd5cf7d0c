"""Health: whether a turn could be taken now."""

from __future__ import annotations

import msgspec

from .supervisor import Supervisor

__all__ = ["Health", "health_of"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the engine can take a turn now: `status` is "ok" only then. `subsystems` says "ok" or why not, each."""

    status: str
    uptime_seconds: float
    subsystems: dict[str, str]


async def health_of(supervisor: Supervisor, *, opened_at: float) -> Health:
    """The health of an engine that is open; `opened_at` is by its clock's `monotonic`. Never raises."""
    database = await supervisor.store.check()
    provider = supervisor.resources.provider
    status = "ok" if supervisor.accepting else "shutting_down"
    if database != "ok" or provider == "LLM_AUTH":
        status = "degraded"
    uptime = round(supervisor.resources.world.clock.monotonic() - opened_at, 3)
    return Health(status=status, uptime_seconds=uptime, subsystems={"database": database, "llm_provider": provider})
