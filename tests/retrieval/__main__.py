"""Prints how well memory finds what was said: `python -m tests.retrieval`; `--help` says what else."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from september_engine._memory.rank import WEIGHTS
from september_engine.errors import ConfigurationError
from september_engine.memory.base import Embedder
from september_engine.memory.inprocess import InProcessMemories
from september_engine.memory.minilm import MiniLMEmbedder

from .conversations import Conversation, read
from .forms import FORMS
from .scorer import CUTS, Cached, Hashed, Table, score
from .sets import DEVELOPMENT, HELD_OUT
from .speed import speed

WAYS = ("BM25", "vectors", "recall, no vectors", "recall")
HALVES = {"development": DEVELOPMENT, "held-out": HELD_OUT}


def _embedder() -> Embedder:
    try:
        return Cached(MiniLMEmbedder())
    except ConfigurationError as missing:
        print(f"{missing.message}\nWithout it, vectors are those of letters.\n")
        return Cached(Hashed())


def _show(title: str, table: Table) -> None:
    print(f"\n{title}, recall in % at {', '.join(map(str, CUTS))}")
    kinds = list(next(iter(table.values())))
    print(f"  {'':20}" + "".join(f"{kind:>17}" for kind in kinds))
    for way, by_kind in table.items():
        print(f"  {way:20}" + "".join(f"{_percent(by_kind[kind]):>17}" for kind in kinds))


def _percent(values: tuple[float, ...]) -> str:
    return " ".join(f"{value * 100:4.0f}" for value in values)


async def _ablate(embedder: Embedder, conversations: Mapping[str, object]) -> None:
    """The recall without each signal: what it is worth."""
    for name in ("nothing", *WEIGHTS.__struct_fields__):
        weights = WEIGHTS if name == "nothing" else msgspec.structs.replace(WEIGHTS, **{name: 0.0})
        line: list[str] = []
        for make in conversations.values():
            assert callable(make)
            table = await score(make(), make=InProcessMemories, embedder=embedder, weights=weights, only=["recall"])
            line.append(_percent(table["recall"]["all"]))
        print(f"  without {name:16}" + "".join(f"{each:>18}" for each in line))


async def _forms(embedder: Embedder, name: str, conversations: Sequence[Conversation]) -> None:
    """The recall in each form that a conversation may have."""
    print(f"\n{name}, recall in % at {', '.join(map(str, CUTS))}\n  {'':36}" + "".join(f"{way:>20}" for way in WAYS))
    for form in FORMS:
        table = await score(conversations, make=InProcessMemories, embedder=embedder, form=form, only=WAYS)
        print(f"  {form:36}" + "".join(f"{_percent(table[way]['all']):>20}" for way in WAYS), flush=True)


async def main(*, halves: list[str], ablate: bool, forms: bool, file: Path | None) -> None:
    embedder = _embedder()
    if file is not None:
        _show(file.name, await score(read(file), make=InProcessMemories, embedder=embedder))
        return
    for half in halves:
        for name, make in HALVES[half].items():
            if forms:
                await _forms(embedder, f"{half}: {name}", make())
                continue
            _show(f"{half}: {name}", await score(make(), make=InProcessMemories, embedder=embedder))
        if ablate:
            print(f"\n{half}: recall without a signal, in the order of the sets above")
            await _ablate(embedder, HALVES[half])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.retrieval", description="How well memory finds.")
    parser.add_argument("--half", choices=[*HALVES, "both"], default="held-out")
    parser.add_argument("--ablate", action="store_true", help="also what each signal is worth")
    parser.add_argument("--forms", action="store_true", help="in every form that a conversation may have instead")
    parser.add_argument("--file", type=Path, help="a JSON file of conversations of your own instead")
    parser.add_argument("--speed", type=int, nargs="?", const=100_000, help="only the time of a recall among so many")
    given = parser.parse_args()
    if given.speed:
        asyncio.run(speed(given.speed))
    else:
        halves = list(HALVES) if given.half == "both" else [given.half]
        asyncio.run(main(halves=halves, ablate=given.ablate, forms=given.forms, file=given.file))
