"""Wiring: from what a caller passed to `Engine` to the parts that do the work."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import anyio
import anyio.to_thread
import msgspec

from ._home import Home
from ._media.files import read_media
from ._media.preparation import preparation
from ._plain import (
    configuration,
    plain_json,
    plain_number,
    plain_path_text,
    plain_scalar,
    plain_text,
    plain_whole,
    shown,
)
from ._runtime.distilling import Distilling
from ._runtime.embedding import PatientEmbedder
from ._runtime.media import Attachments
from ._runtime.quotes import Quotes
from ._runtime.remembering import Remembering
from ._runtime.resources import AnyTool, Resources
from ._runtime.supervisor import Supervisor
from ._runtime.threads import Prefix
from ._runtime.tool_calls import inside_tools
from ._runtime.world import PlainWorld, World
from ._seams import Clock
from ._turn.limits import Limits
from .errors import ConfigurationError, InvalidRequest, NoMemory
from .memory.base import Embedder, Memories
from .memory.longterm import LongTermMemory
from .messages import Usage
from .models.base import Model
from .models.choice import Roles, choose_fallback, choose_light, choose_model, choose_planner
from .models.known_prices import KnownPrices
from .models.prices import Prices, cost_of
from .permissions import Policy
from .settings import LINE, Settings
from .store.base import Store
from .store.memory import MemoryStore
from .store.sqlite import SQLiteStore
from .tools.note import NoteKeys, note_tool
from .tools.read_result import read_result
from .tools.remember import memory_tools
from .tools.tool import Tool
from .tools.update_plan import update_plan

__all__ = [
    "DEFAULT_SYSTEM",
    "LongTerms",
    "Models",
    "attachments_of",
    "check_prices",
    "checked_limits",
    "checked_notes",
    "checked_patience",
    "checked_settings",
    "checked_system",
    "checked_world",
    "limits_of_turn",
    "make_supervisor",
    "policy_of",
    "prices_of",
    "store_of",
    "tools_by_name",
]

DEFAULT_SYSTEM = (
    "You are a careful, friendly assistant. Use the tools you are given where they help, say what you found, and say "
    "so when you do not know."
)

THREADS = 64
"""Most sync tools at once, over all turns of an engine."""

UNLIMITED = ("tokens", "usd", "task_tokens", "task_usd", "repeats", "seconds", "max_tokens", "context_tokens")
FRACTIONAL = ("usd", "task_usd", "seconds")
"""The limits that may be None, and those that need not be whole."""


def store_of(store: Store | str | os.PathLike[str] | None, settings: Settings) -> Store:
    """The store that is meant: a path is SQLite, and so is the default; SQLite's ":memory:" is the store in memory."""
    if store is None and settings.database_url is not None:
        raise ConfigurationError(
            "SEPTEMBER_DATABASE_URL is set, but this release has no PostgreSQL store. Unset it to use SQLite."
        )
    if store is None:
        store = settings.sqlite_db_path
    if not isinstance(store, str | os.PathLike):
        if not hasattr(store, "open_tasks"):
            raise ConfigurationError(f"{shown(store)} is not a store: pass a path, ':memory:' or a Store.")
        return store
    with configuration():
        store = plain_path_text(store, "store")
    if store == "":
        raise ConfigurationError("The store is empty text: pass a path or ':memory:', or leave it out for the default.")
    if "://" in store:
        raise ConfigurationError(
            "The store is a URL, and this release has SQLite only: pass the path of a file, or ':memory:'."
        )
    if store == ":memory:":
        return MemoryStore()
    return SQLiteStore(store, durability=settings.durability)


def tools_by_name(tools: Iterable[AnyTool], store: Store, *, own: Sequence[AnyTool] = ()) -> dict[str, AnyTool]:
    """The tools and the engine's `own`, kept from its files: its database, and the `.env` its keys may come from.

    Raises `ConfigurationError` for what is not a tool, and for two of one name.
    """
    files = (*store.files, os.path.abspath(".env"))
    named: dict[str, AnyTool] = {}
    try:
        given = [*tools]
    except Exception as error:  # no list, or one whose own code fails
        raise ConfigurationError(f"tools={shown(tools)} is not a list of tools: tools=[one, another].") from error
    if isinstance(tools, set | frozenset):  # it has no order of its own, and the tools begin every prompt
        given.sort(key=lambda tool: str(getattr(tool, "name", "")))
    for tool in (*given, *own):
        if not isinstance(tool, Tool):
            raise ConfigurationError(f"{shown(tool)} is not a tool. Decorate the function with @tool.")
        if tool.name in named:
            raise ConfigurationError(f"Two tools are called {tool.name!r}. Give one another name: @tool(name=…).")
        named[tool.name] = tool
        if tool.hide is not None:
            tool.hide(files)
    if named:
        # always, and not once there is something to read: a set of tools that changes would start a new prefix
        named.setdefault(read_result.name, read_result)
    return named


def policy_of(policy: Policy | None, tools: dict[str, AnyTool], settings: Settings) -> Policy:
    """The policy that is meant, with what it must know of the tools: their folders, and whether all are confined.

    Raises `ConfigurationError` for a root that is not absolute.
    """
    if policy is None:
        policy = Policy(roots=tuple(os.path.normpath(root) for root in settings.allowed_roots))
    policy = _plain_policy(policy)
    if wrong := [root for root in policy.roots if not os.path.isabs(root) or os.path.normpath(root) != root]:
        raise ConfigurationError(f"Policy(roots=…) takes absolute paths without '..'; {wrong[0]!r} is none.")
    roots = (*policy.roots, *(root for tool in tools.values() for root in tool.roots))
    confined = policy.confined and all(tool.confined for tool in tools.values())
    return msgspec.structs.replace(policy, roots=tuple(dict.fromkeys(roots)), confined=confined)


def _plain_policy(policy: Policy) -> Policy:
    """The policy, of whatever subclass, with plain fields: its rules are stored where a person's yes is remembered."""
    if not isinstance(policy, Policy):
        raise ConfigurationError(f"policy={shown(policy)} must be a Policy(…).")
    given = {name: getattr(policy, name) for name in Policy.__struct_fields__}
    try:
        with configuration():
            plain = msgspec.convert(plain_json(given, "policy"), Policy)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"policy: {error}.") from None
    return msgspec.structs.replace(policy, **{name: getattr(plain, name) for name in given})


def attachments_of(store: Store, settings: Settings) -> Attachments:
    """What reads and checks media. Raises `ConfigurationError` where a package is missing that a switch needs."""
    shrinks = settings.media_image_resize_enabled
    return Attachments(store, read=read_media, prepare=preparation(settings), shrinks=shrinks)


def checked_limits(limits: Limits | None, settings: Settings) -> Limits:
    """The limits of every turn. Raises `ConfigurationError` for what is no number, or below zero."""
    if limits is None:
        limits = Limits()
    if not isinstance(limits, Limits):
        raise ConfigurationError(f"limits={shown(limits)} must be Limits(…), as in Limits(steps=10).")
    plain: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(limits).items():
        least = 1 if name == "repeats" else 0
        try:
            read = plain_number if name in FRACTIONAL else plain_whole
            plain[name] = None if value is None and name in UNLIMITED else read(value, name, least=least)
        except InvalidRequest:
            raise ConfigurationError(
                f"Limits({name}={shown(value)}) is no limit: it must be a number from {least} up."
            ) from None
    limits = Limits(**plain)
    most = settings.max_tokens if limits.max_tokens is None else limits.max_tokens
    compactions = limits.compactions if settings.reactive_compact_enabled else 0
    return msgspec.structs.replace(limits, max_tokens=most, compactions=compactions)


def checked_notes(notes: Mapping[str, Any] | Literal["any"] | None) -> tuple[NoteKeys, list[AnyTool]]:
    """What may be noted, and the tool for it where the agent shall have one. Raises `ConfigurationError`."""
    if notes is None:
        return NoteKeys(), []
    if isinstance(notes, str):
        notes = str.__str__(notes)  # type: ignore[assignment]  # it may be of a subclass
    try:
        known = notes == "any" if isinstance(notes, str) else isinstance(notes, Mapping) and len([*notes]) > 0
    except Exception:  # its own code takes part
        known = False
    if not known:
        raise ConfigurationError(f'notes={shown(notes)} must be types by key, as in notes={{"city": str}}, or "any".')
    with configuration():
        named = (
            {} if isinstance(notes, str) else {plain_text(key, "notes (a key)"): kind for key, kind in notes.items()}
        )
    keys = NoteKeys() if isinstance(notes, str) else NoteKeys(named)
    return keys, [note_tool(keys)]


def prices_of(prices: Prices | None) -> Prices:
    """The price list that is meant. Raises `ConfigurationError` for what is none."""
    if prices is None:
        return KnownPrices()
    if not hasattr(prices, "cost"):
        raise ConfigurationError(f"prices={shown(prices)} is no price list: pass a PriceList or another Prices.")
    return prices


async def check_prices(prices: Prices, limits: Limits, models: Iterable[Model | None]) -> None:
    """A limit in US dollars can be kept where every model has a price. Raises `ConfigurationError`.

    In a thread, because a price list may have to be read first: here, and not in the middle of a turn.
    """
    if problem := await anyio.to_thread.run_sync(_unpriced, prices, limits, [*models]):
        raise ConfigurationError(problem)


def _unpriced(prices: Prices, limits: Limits, models: Iterable[Model | None]) -> str | None:
    """Why these limits cannot be kept for want of a price, or None."""
    unknown = [model.name for model in models if model is not None and cost_of(prices, model.name, Usage()) is None]
    if not unknown or (limits.usd is None and limits.task_usd is None):
        return None
    return (
        f"Limits(usd=…) and Limits(task_usd=…) need a price, and none is known for {', '.join(unknown)}. Install "
        "september-engine[prices] for Claude's, or pass Engine(prices=PriceList({…}))."
    )


def limits_of_turn(limits: Limits | None, settings: Settings, shared: Resources) -> Limits | None:
    """The limits of one turn, where it has its own. Raises `InvalidRequest` for what is none or cannot be kept."""
    if limits is None:
        return None
    try:
        limits = checked_limits(limits, settings)
    except ConfigurationError as error:
        raise InvalidRequest(error.message) from None
    if problem := _unpriced(shared.prices, limits, (shared.model, shared.fallback, shared.planner, shared.light)):
        raise InvalidRequest(problem)
    return limits


def checked_settings(settings: Settings | None) -> Settings:
    """Those that were given, else the environment's. Raises `ConfigurationError`."""
    if settings is None:
        return Settings()
    if not isinstance(settings, Settings):
        raise ConfigurationError(f"settings={shown(settings)} must be Settings(…).")
    return settings


def checked_system(system: str) -> str:
    """The system prompt. Raises `ConfigurationError` for what is no text that can be sent."""
    try:
        return plain_text(system, "system")
    except InvalidRequest:
        raise ConfigurationError("system must be text in valid Unicode, without half of a surrogate pair.") from None


def checked_world(world: World | None) -> World:
    """Time, ids and chance. Raises `ConfigurationError` for what is no `World`."""
    if world is None:
        return World()
    if not isinstance(world, World):
        raise ConfigurationError(f"world={shown(world)} must be a World(…).")
    return PlainWorld.of(world)


def checked_patience(seconds: float) -> float:
    """How long a model may be silent. Raises `ConfigurationError` for what is no number of seconds above 0."""
    try:
        plain = plain_number(seconds, "progress_timeout", least=0)
    except InvalidRequest:
        plain = 0
    if not 0 < plain < math.inf:
        raise ConfigurationError(f"progress_timeout={shown(seconds)} must be seconds above 0.")
    return plain


class Models:
    """The models that a caller asked for, by name or as they are.

    What the caller made stays the caller's to close; what is made here is ours.
    """

    def __init__(
        self,
        model: Model | str | None,
        fallback: Model | str | None,
        planner: Model | str | None = None,
        light: Model | str | None = None,
    ) -> None:
        asked = {"model": model, "fallback": fallback, "planner": planner, "light": light}
        self._asked_for = tuple(_plain_model(given, argument) for argument, given in asked.items())
        self._ours: list[Model] = []

    async def make(self, settings: Settings, clock: Clock) -> Roles:
        """In a thread, because a provider's SDK takes seconds to import. Raises `ConfigurationError`."""
        model, fallback, planner, light = self._asked_for
        if model is None or isinstance(model, str):
            model = await anyio.to_thread.run_sync(choose_model, model, settings, clock)
            self._ours.append(model)
        if fallback is None or isinstance(fallback, str):
            fallback = await self._made(choose_fallback, fallback, settings)
        if planner is None or isinstance(planner, str):
            planner = await self._made(choose_planner, planner, settings)
        if light is None or isinstance(light, str):
            light = await self._made(choose_light, light, settings)
        return Roles(model, fallback, planner, light)

    async def _made(
        self, choose: Callable[[str | None, Settings], Model | None], name: str | None, settings: Settings
    ) -> Model | None:
        made = await anyio.to_thread.run_sync(choose, name, settings)
        if made is not None:
            self._ours.append(made)
        return made

    async def light(self, settings: Settings) -> Model:
        """A model for small work. Raises `ConfigurationError` where there is none."""
        made = await self._made(choose_light, None, settings)
        if made is None:
            raise ConfigurationError(
                "Distilling needs a model: set LIGHT_MODEL and a key, or pass Engine(distil=a_model)."
            )
        return made

    async def aclose(self) -> None:
        """Close what was made here. Harmless when repeated."""
        while self._ours:
            await self._ours.pop().aclose()


def _plain_model(model: Model | str | None, argument: str) -> Model | str | None:
    """The model as it was given, or its name as plain text. Raises `ConfigurationError`."""
    if isinstance(model, str):
        with configuration():
            given = plain_text(model, argument)
        if re.fullmatch(LINE, given) is None:
            raise ConfigurationError(f"{argument}={shown(given)} is no name of a model: it must be a line of text.")
        return given
    if model is not None and not hasattr(model, "stream"):
        raise ConfigurationError(f"{argument}={shown(model)} is not a model: pass the name of one, or a Model.")
    if model is not None and type(name := getattr(model, "name", None)) is not str:
        raise ConfigurationError(f"The name of {shown(model)} must be text itself, and is {shown(name)}: it is stored.")
    return model


class LongTerms:
    """The long-term memory of an engine, if it has one: made anew whenever the engine opens.

    Raises `ConfigurationError` for an embedder that nothing asks, and for a store that has no place for memories.
    """

    def __init__(self, memory: bool, embedder: Embedder | None, distil: bool | Model | None, store: Store) -> None:
        if not isinstance(wanted := plain_scalar(memory), bool):
            raise ConfigurationError(f"memory={shown(memory)} must be True or False.")
        memory, chosen = wanted, plain_scalar(distil)
        distil = chosen if isinstance(chosen, bool) else distil
        if embedder is not None and not memory:
            raise ConfigurationError("embedder=… is for long-term memory, which is off: Engine(memory=True, …).")
        if distil is not None and distil is not False and not memory:
            raise ConfigurationError("distil=… is for long-term memory, which is off: Engine(memory=True, …).")
        if distil is not None and not isinstance(distil, bool) and not hasattr(distil, "stream"):
            raise ConfigurationError(f"distil={shown(distil)} must be True, False or a Model.")
        if embedder is not None and not hasattr(embedder, "embed"):
            raise ConfigurationError(f"{shown(embedder)} is not an Embedder.")
        if distil is not None and not isinstance(distil, bool):
            _plain_model(distil, "distil")
        self._memories: Memories | None = getattr(store, "memories", None) if memory else None
        if memory and self._memories is None:
            raise ConfigurationError(f"{shown(store)} has no place for memories. Use SQLite, or memory=False.")
        self._embedder = embedder
        self._distil = distil
        self._made: LongTermMemory | None = None

    @property
    def tools(self) -> list[AnyTool]:
        """`remember` and `forget`, where there is a memory."""
        return [] if self._memories is None else memory_tools(lambda: self.now)

    def make(self, world: World, home: Home) -> LongTermMemory | None:
        """A new one, which knows nothing yet of what is stored. Raises `ConfigurationError` without NumPy."""
        if self._memories is not None:
            embedder = None if self._embedder is None else PatientEmbedder(self._embedder, clock=world.clock)
            self._made = LongTermMemory(self._memories, clock=world.clock, ids=world.ids, embedder=embedder, home=home)
        return self._made

    async def distiller(self, models: Models, settings: Settings) -> Model | None:
        """The model that draws facts from what was said, where that is wanted. Raises `ConfigurationError`."""
        wanted = settings.distil if self._distil is None else self._distil
        if self._memories is None or wanted is False:
            return None
        return await models.light(settings) if wanted is True else wanted

    @property
    def now(self) -> LongTermMemory:
        """That of the engine as it was opened last. Raises `NoMemory`."""
        if self._made is None:
            raise NoMemory(
                "This engine keeps no long-term memory. Turn it on: Engine(memory=True), or `serve --memory on`."
            )
        return self._made


def make_supervisor(
    *,
    store: Store,
    models: Roles,
    prices: Prices,
    tools: dict[str, AnyTool],
    policy: Policy,
    system: str,
    limits: Limits,
    settings: Settings,
    progress_timeout: float,
    world: World,
    attachments: Attachments,
    home: Home,
    memory: LongTermMemory | None = None,
    distiller: Model | None = None,
) -> Supervisor:
    """The host of the turns, with everything they share. Where there is a planner, the agent has `update_plan`.

    Raises `ConfigurationError` where a tool of the caller's has that name.
    """
    if models.planner is not None:
        if update_plan.name in tools:
            raise ConfigurationError("A tool is called 'update_plan', as the one that comes with a planner. Rename it.")
        tools = {**tools, update_plan.name: update_plan}
    erasing, keeper = None, memory or _keeper_of(store, world)
    if keeper is not None:
        distilling = None if distiller is None else Distilling(keeper, model=distiller, clock=world.clock)
        erasing = Remembering(keeper, store=store, clock=world.clock, inside=inside_tools(tools), distilling=distilling)
    resources = Resources(
        remembering=None if memory is None else erasing,
        erasing=erasing,
        world=world,
        model=models.model,
        fallback=models.fallback,
        planner=models.planner,
        light=models.light,
        prices=prices,
        tools=tools,
        policy=policy,
        threads=anyio.CapacityLimiter(THREADS),
        concurrency=settings.tool_use_concurrency,
        progress_timeout=progress_timeout,
        attachments=attachments,
        recovers_media=settings.media_error_recovery_enabled,
    )
    supervisor = Supervisor(
        store=store,
        resources=resources,
        limits=limits,
        prefix=Prefix.of(system, [tool.definition() for tool in tools.values()]),
        recovery=settings.recovery,
        ttl_active=settings.channel_state_ttl_active,
        ttl_hitl=settings.channel_state_ttl_hitl,
        home=home,
    )
    if keeper is not None and erasing is not None:
        quotes = Quotes(store, remembering=erasing, recent=resources.recent, tell_live=supervisor.unquote)
        keeper.unquote = quotes.take_out
    return supervisor


def _keeper_of(store: Store, world: World) -> LongTermMemory | None:
    """For an engine without memory: what deleting a task asks to erase what an engine with memory kept of it."""
    memories: Memories | None = getattr(store, "memories", None)
    return None if memories is None else LongTermMemory(memories, clock=world.clock, ids=world.ids)
