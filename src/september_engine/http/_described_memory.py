"""The memory endpoints in the OpenAPI document."""

from __future__ import annotations

import msgspec

from ..memory.base import Knowledge, Soul
from ._described import Object, answer_of, errors_of, json_of, list_of
from .memory import (
    EpisodeFound,
    FullSoul,
    ImportBody,
    Imported,
    KnowledgeFound,
    PersonFound,
    RelationFound,
    SearchBody,
    SoulMetadata,
    TraitRecord,
)

__all__ = ["MEMORY_PATHS", "MEMORY_SCHEMAS"]

AT = 1777293296123

MEMORY_SCHEMAS: tuple[type[msgspec.Struct], ...] = (
    SearchBody,
    ImportBody,
    Imported,
    KnowledgeFound,
    EpisodeFound,
    PersonFound,
    RelationFound,
    Soul,
    FullSoul,
)


def _search(operation: str, summary: str, examples: list[msgspec.Struct], *kinds: type[msgspec.Struct]) -> Object:
    body = json_of(SearchBody, {"query": "Where does Ana live?", "limit": 20})
    return {
        "operationId": operation,
        "summary": summary,
        "description": "Best first; each says why. What nothing speaks for is not found.",
        "requestBody": {"required": True, "content": body},
        "responses": {"200": list_of(examples, *kinds)} | errors_of("404", "422"),
    }


def _knowledge() -> Object:
    fact = KnowledgeFound(
        id="mem_1",
        subject="Ana",
        content="Bergen",
        type="fact",
        attribute="home town",
        confidence=1.0,
        source="person",
        valid_from=None,
        valid_until=None,
        trust="stated",
        task_id="task-001",
        message_id="msg_1",
        detail="",
        why="Recalled because it is about them.",
        score=0.4,
    )
    return _search("searchKnowledge", "Facts that answer", [fact], KnowledgeFound)


def _episodes() -> Object:
    said = EpisodeFound(
        id="mem_2",
        text="We moved to Bergen last week!",
        speaker="user",
        at=AT,
        source="person",
        trust="stated",
        task_id="task-001",
        message_id="msg_1",
        detail="",
        why="Recalled because it holds 'move'.",
        score=0.7,
    )
    return _search("searchEpisodes", "What was said, or happened, that answers", [said], EpisodeFound)


def _social() -> Object:
    where = {"source": "agent", "trust": "inferred", "task_id": "task-001", "message_id": "msg_1", "detail": ""}
    why = {"why": "Recalled because it is about them.", "score": 0.2}
    person = {"id": "mem_3", "name": "Ana", "about": "The user's sister.", "aliases": [], **where, **why}
    relation = {"id": "mem_4", "subject": "Ana", "relation": "sister of", "object": "user", "confidence": 1.0}
    when = {"valid_from": None, "valid_until": None}
    examples: list[msgspec.Struct] = [
        msgspec.convert({"kind": "person", **person}, PersonFound),
        msgspec.convert({"kind": "relation", **relation, **when, **where, **why}, RelationFound),
    ]
    return _search("searchSocial", "People, and how they stand to each other", examples, PersonFound, RelationFound)


def _soul() -> Object:
    now = Soul(identity="The assistant of the lab.", values=("Say what you do not know.",))
    return {
        "operationId": "getSoul",
        "summary": "Who the agent is now",
        "responses": {"200": answer_of(now)} | errors_of("404"),
    }


def _full_soul() -> Object:
    value = TraitRecord(
        id="mem_5",
        aspect="value",
        text="Say what you do not know.",
        source="person",
        task_id="task-001",
        message_id="msg_1",
        recorded_at=AT,
        retired_at=None,
        retired_because="",
        superseded_by=None,
    )
    whole = FullSoul(
        identity="",
        values=(value.text,),
        patterns=(),
        metadata=SoulMetadata(traits=1, updated_at=AT),
        history=[value],
    )
    return {
        "operationId": "getFullSoul",
        "summary": "Who the agent is, and how it came to be",
        "responses": {"200": answer_of(whole)} | errors_of("404"),
    }


def _export() -> Object:
    return {
        "operationId": "exportMemory",
        "summary": "All memories, current or not, as one document",
        "responses": {"200": answer_of(_a_bundle())} | errors_of("404"),
    }


def _import() -> Object:
    return {
        "operationId": "importMemory",
        "summary": "Take an export in; doing it again changes nothing",
        "description": "What is here already stays, unless the export knows that it is no longer current.",
        "requestBody": {"required": True, "content": json_of(ImportBody, _a_bundle())},
        "responses": {"200": answer_of(Imported(imported=1))} | errors_of("404", "422"),
    }


def _a_bundle() -> ImportBody:
    fact = Knowledge(id="mem_1", recorded_at=AT, subject="Ana", attribute="home town", content="Bergen")
    return ImportBody(format="september-memory/1", memories=[fact])


MEMORY_PATHS: Object = {
    "/memory/knowledge/search": {"post": _knowledge()},
    "/memory/episodes/search": {"post": _episodes()},
    "/memory/social/search": {"post": _social()},
    "/memory/soul": {"get": _soul()},
    "/memory/soul/full": {"get": _full_soul()},
    "/memory/export": {"get": _export()},
    "/memory/import": {"post": _import()},
}
