from __future__ import annotations

from september_engine import ModelError
from september_engine.models.scripted import ScriptedModel, fail
from september_engine.store.memory import MemoryStore

from .server import engine_with, serving


class SickStore(MemoryStore):
    async def check(self) -> str:
        return "the disk is full"


async def test_an_engine_that_can_take_a_turn_is_well_before_any_model_was_called() -> None:
    async with serving(engine_with()) as served:
        response = await served.client.get("/health")
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "ok")
    assert body["uptime_seconds"] >= 0
    assert body["subsystems"] == {"database": "ok", "llm_provider": "ok"}


async def test_a_store_that_cannot_write_is_a_503_that_says_so() -> None:
    async with serving(engine_with(store=SickStore())) as served:
        response = await served.client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "degraded")
    assert response.json()["subsystems"]["database"] == "the disk is full"


async def test_a_provider_that_refuses_our_key_is_a_503() -> None:
    model = ScriptedModel(lambda request: fail(ModelError("Who are you?", code="LLM_AUTH")))
    async with serving(engine_with(model)) as served:
        await served.execute()
        response = await served.client.get("/health")
    assert (response.status_code, response.json()["subsystems"]["llm_provider"]) == (503, "LLM_AUTH")


async def test_an_engine_that_shuts_down_is_a_503() -> None:
    async with serving(engine_with()) as served:
        await served.engine.drain(0.0)
        response = await served.client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "shutting_down")
