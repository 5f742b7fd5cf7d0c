"""Structured output: the answer as a checked value of your own type, and a budget for what it may cost.

Without a key the offline model answers, by simple rules. Prices are made up here, so that it has one, too.

It prints:

    {"name":"Ada Lovelace","born":1815,"field":"mathematics"}
    Person(name='Ada Lovelace', born=1815, field='mathematics')
    born 211 years ago
    … tokens, … USD
    A list: [3, 5, 8]
    BUDGET_EXCEEDED: The task has cost … USD of … (limit: task_usd).
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec

from september_engine import Engine, Limits, TextDelta, TurnFailed
from september_engine.models.known_prices import KnownPrices
from september_engine.models.prices import Price, PriceList

YEAR = 2026


class Person(msgspec.Struct):
    """Somebody, and what they are known for."""

    name: str
    born: int
    field: Literal["mathematics", "music", "painting"]


async def main(database: str) -> None:
    prices = PriceList({"offline": Price(input=0.5, output=2.0)}, beyond=KnownPrices())
    async with Engine(database, prices=prices, limits=Limits(usd=0.5)) as engine:
        turn = engine.execute("Ada Lovelace, born 1815, wrote on mathematics.", task_id="people", output=Person)
        async for event in turn:  # the JSON comes as any text does
            if isinstance(event, TextDelta):
                print(event.text, end="", flush=True)
        result = await turn
        print(f"\n{result.output}")
        print(f"born {YEAR - result.output.born} years ago")
        print(f"{result.usage.tokens} tokens, {result.cost_usd:.6f} USD")
        numbers = await engine.execute("Which numbers are in 3, 5 and 8?", task_id="numbers", output=list[int])
        print(f"A list: {numbers.output}")
    async with Engine(database, prices=prices, limits=Limits(task_usd=0.000001)) as engine:
        try:
            await engine.execute("And who else?", task_id="people")
        except TurnFailed as failed:
            print(failed)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
