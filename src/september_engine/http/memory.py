"""memory: long-term memory as JSON: three searches, the soul, export and import.

Every item says why it came and where it came from. Where the engine keeps no long-term memory, all of it is 404.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..engine import Engine
from ..memory.base import Episode, Hit, Kind, Knowledge, Memory, Origin, Person, Relation, Soul, Trait, Trust
from .wire import HEADERS, decode_body, json_response

__all__ = [
    "EpisodeFound",
    "FullSoul",
    "ImportBody",
    "Imported",
    "KnowledgeFound",
    "PersonFound",
    "RelationFound",
    "SearchBody",
    "SoulMetadata",
    "TraitRecord",
    "episodes",
    "export",
    "full_soul",
    "import_",
    "knowledge",
    "social",
    "soul",
]

PAGE = 1_000


class SearchBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a search. `limit` is from 1 to 100; null is 20. Unknown fields are ignored."""

    query: str
    limit: int | None = None


class ImportBody(msgspec.Struct, frozen=True, kw_only=True):
    """What GET /memory/export gave."""

    format: str
    memories: list[Memory]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """How many memories were written; the others were here already."""

    imported: int


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What every item says: its origin, how far that is trusted, where it was said, and why it was found.

    `detail` is a tool's name, a page's address or a file's path.
    """

    id: str
    source: Origin
    trust: Trust
    task_id: str | None
    message_id: str | None
    detail: str
    why: str
    score: float


class KnowledgeFound(_Found, frozen=True, kw_only=True):
    """A fact about a subject. Times are unix ms."""

    subject: str
    content: str
    type: str
    attribute: str | None
    confidence: float
    valid_from: int | None
    valid_until: int | None


class EpisodeFound(_Found, frozen=True, kw_only=True):
    """Something said, or that happened, at a time (unix ms)."""

    text: str
    speaker: str | None
    at: int


class PersonFound(_Found, frozen=True, kw_only=True, tag="person", tag_field="kind"):
    """Somebody."""

    name: str
    about: str
    aliases: tuple[str, ...]


class RelationFound(_Found, frozen=True, kw_only=True, tag="relation", tag_field="kind"):
    """How two people or things stand to each other."""

    subject: str
    relation: str
    object: str
    confidence: float
    valid_from: int | None
    valid_until: int | None


class TraitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the soul as it was remembered; one that is not current any more says when and why."""

    id: str
    aspect: Literal["identity", "value", "pattern"]
    text: str
    source: Origin
    task_id: str | None
    message_id: str | None
    recorded_at: int
    retired_at: int | None
    retired_because: str
    superseded_by: str | None


class SoulMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """How many traits are current, and when one was last remembered or retired (unix ms)."""

    traits: int
    updated_at: int | None


class FullSoul(msgspec.Struct, frozen=True, kw_only=True):
    """Who the agent is, and how it came to be: `history` has every trait there ever was, oldest first."""

    identity: str
    values: tuple[str, ...]
    patterns: tuple[str, ...]
    metadata: SoulMetadata
    history: list[TraitRecord]


async def knowledge(engine: Engine, request: Request) -> Response:
    """POST /memory/knowledge/search."""
    return await _search(engine, request, "knowledge")


async def episodes(engine: Engine, request: Request) -> Response:
    """POST /memory/episodes/search."""
    return await _search(engine, request, "episode")


async def social(engine: Engine, request: Request) -> Response:
    """POST /memory/social/search."""
    return await _search(engine, request, "person", "relation")


async def soul(engine: Engine, request: Request) -> Response:
    """GET /memory/soul."""
    return json_response(await engine.memory.soul())


async def full_soul(engine: Engine, request: Request) -> Response:
    """GET /memory/soul/full."""
    traits: list[Trait] = []
    after: str | None = None
    while page := await engine.memory.page(kinds=["trait"], past=True, after=after, limit=PAGE):
        traits += [each for each in page if isinstance(each, Trait)]
        after = page[-1].id
    return json_response(_full(await engine.memory.soul(), traits))


async def export(engine: Engine, request: Request) -> Response:
    """GET /memory/export."""
    await engine.remembered()
    bundle = await engine.memory.export_bundle()
    return Response(bundle, headers=HEADERS, media_type="application/json")


async def import_(engine: Engine, request: Request) -> Response:
    """POST /memory/import."""
    memory, body = engine.memory, await request.body()
    await decode_body(body, ImportBody)  # refuses what is no JSON, or of the wrong types, as everywhere
    return json_response(Imported(imported=await memory.import_bundle(body)))


async def _search(engine: Engine, request: Request, *kinds: Kind) -> Response:
    memory = engine.memory
    body = await decode_body(await request.body(), SearchBody)
    await engine.remembered()
    hits = await memory.recall(body.query, limit=20 if body.limit is None else body.limit, kinds=kinds)
    return json_response([_found(hit) for hit in hits])


def _found(hit: Hit) -> _Found:
    memory, source = hit.memory, hit.memory.source
    about = {
        "id": memory.id,
        "source": source.origin,
        "trust": source.trust,
        "task_id": source.task_id,
        "message_id": source.message_id,
        "detail": source.detail,
        "why": hit.why,
        "score": hit.score,
    }
    kind: type[_Found]
    match memory:
        case Knowledge():
            kind = KnowledgeFound
        case Episode():
            kind = EpisodeFound
        case Person():
            kind = PersonFound
        case Relation():
            kind = RelationFound
        case Trait():
            raise AssertionError("no search asks for traits")
    own = {name: getattr(memory, name) for name in kind.__struct_fields__ if name not in about}
    return kind(**about, **own)  # type: ignore[arg-type]  # the fields are those of the record


def _full(now: Soul, traits: Sequence[Trait]) -> FullSoul:
    times = [time for trait in traits for time in (trait.recorded_at, trait.retired_at) if time is not None]
    return FullSoul(
        identity=now.identity,
        values=now.values,
        patterns=now.patterns,
        metadata=SoulMetadata(
            traits=sum(trait.retired_at is None for trait in traits), updated_at=max(times, default=None)
        ),
        history=[
            TraitRecord(
                id=trait.id,
                aspect=trait.aspect,
                text=trait.text,
                source=trait.source.origin,
                task_id=trait.source.task_id,
                message_id=trait.source.message_id,
                recorded_at=trait.recorded_at,
                retired_at=trait.retired_at,
                retired_because=trait.retired_because,
                superseded_by=trait.superseded_by,
            )
            for trait in traits
        ],
    )
