"""Random histories of an engine that has everything on: planner, notes, memory, media, outputs, limits, compactions."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine.store.base import Store
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from tests.engines import idle
from tests.faults.house import KINDS, LIMITS, MEDIA, ROLES, TASKS, House, Op
from tests.faults.inspection import inspect, inspect_empty
from tests.faults.providers import MOODS, Kept

pytestmark = pytest.mark.campaign

ASKED_FOR = os.environ.get("SEPTEMBER_HISTORIES")
HISTORIES = int(ASKED_FOR or "20")
"""The same ones each time, unless a number is asked for: more of them, and others, find more."""

CAMPAIGN = settings(
    suppress_health_check=list(HealthCheck), deadline=None, print_blob=True, derandomize=ASKED_FOR is None
)

PATIENCE = 120
"""Seconds on a real clock after which a history is taken to hang."""

task = st.sampled_from(TASKS)
how = st.tuples(
    st.sampled_from(["none"] * 6 + list(LIMITS)),
    st.sampled_from([*("" for _ in range(6)), *MEDIA]),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)
kinds = st.sampled_from(KINDS)
ops: st.SearchStrategy[list[Op]] = st.lists(
    st.one_of(
        *[st.tuples(st.just("execute"), st.tuples(task, kinds, how))] * 5,
        *[st.tuples(st.just("ticks"), st.sampled_from([0, 1, 3, 10, 30, 60, 100, 200, 400]))] * 5,
        *[st.tuples(st.sampled_from(["edit", "retry"]), st.tuples(task, st.integers(0, 20), kinds, how))] * 2,
        st.tuples(st.just("cancel"), task),
        *[st.tuples(st.just("respond"), st.tuples(task, st.sampled_from(["yes", "yes", "no", "look at this"])))] * 2,
        st.tuples(st.just("note"), st.tuples(task, st.sampled_from("abc"), st.sampled_from([None, 1, "x" * 300]))),
        st.tuples(st.just("know"), st.sampled_from(["red", "grey"])),
        st.tuples(st.just("replay"), st.tuples(task, st.integers(0, 40))),
        st.tuples(st.just("release"), st.none()),
        st.tuples(st.just("advance"), st.sampled_from([0.4, 3.0, 31.0, 70.0, 130.0, 400.0])),
        st.tuples(st.just("jump"), st.integers(-100_000, 100_000)),
        *[st.tuples(st.just("mood"), st.tuples(st.sampled_from(ROLES), st.sampled_from(MOODS)))] * 2,
        st.tuples(st.just("break the store"), st.integers(0, 6)),
        st.tuples(st.just("heal the store"), st.none()),
        st.tuples(st.just("delete"), task),
        *[
            st.tuples(
                st.just("crash"),
                st.tuples(st.sampled_from(["abandon", "resume"]), st.sampled_from(["Be kind."] * 3 + ["Be brief."])),
            )
        ]
        * 2,
    ),
    min_size=8,
    max_size=60,
)
houses = st.fixed_dictionaries(
    {
        "window": st.sampled_from([None, 3_400, 4_200, 6_000]),
        "compacts": st.booleans(),
        "with_fallback": st.booleans(),
        "by_itself": st.booleans(),
    }
)


async def run(history: list[Op], house: dict[str, Any], store: Store | None = None) -> Counter[str]:
    by_itself = house.pop("by_itself", False)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            home = House(group, store=Kept(inner=store or MemoryStore()), **house)
            await home.open()
            for name, value in history:
                await home.do(name, value)
            await home.come_to_rest(by_itself=by_itself)
            await idle(home.engine)
            await inspect(home)
            await home.engine.aclose(drain=0)
            await home.bench.check()
            await home.open()
            await inspect_empty(home)
            await home.engine.aclose(drain=0)
    return home.done


@settings(max_examples=HISTORIES, parent=CAMPAIGN)
@given(ops, houses)
async def test_any_history_leaves_everything_in_order(history: list[Op], house: dict[str, Any]) -> None:
    await run(history, {**house})


@settings(max_examples=HISTORIES // 5, parent=CAMPAIGN)
@given(ops, houses)
async def test_the_same_on_a_real_file(history: list[Op], house: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        await run(history, {**house}, SQLiteStore(Path(folder) / "brain.sqlite"))
