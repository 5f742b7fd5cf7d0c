"""The port of a price list, and a list of one's own.

A price that nobody knows is None, never 0. What a call costs is computed once, when its usage comes in, and stored with
it: a price list of tomorrow does not change what yesterday cost.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Protocol

import attrs

from .._plain import plain_number, shown
from ..errors import ConfigurationError, InvalidRequest
from ..messages import Usage

__all__ = ["Price", "PriceList", "Prices", "cost_of"]

logger = logging.getLogger(__name__)

MILLION = 1_000_000


class Prices(Protocol):
    """What model calls cost."""

    def cost(self, model: str, usage: Usage, /) -> float | None:
        """US dollars for this usage of the model of this name, or None where that is not known.

        Called after every model call, and once per model when an engine opens, in a thread. Must not wait long.
        """
        ...


@attrs.frozen(kw_only=True)
class Price:
    """US dollars per million tokens. What is None costs as much as the kind of token that its line names.

    Args:
        input: Input tokens that the provider's prompt cache has nothing to do with.
        output: Output tokens, thinking included.
        cache_hit: Input tokens that the cache had; None: as `input`.
        cache_write: Input tokens that were written into the cache; None: as `input`.
        cache_write_1h: Those of them that are kept for an hour; None: as `cache_write`.

    Raises `ConfigurationError` for what is no price.
    """

    input: float
    output: float
    cache_hit: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None

    def __attrs_post_init__(self) -> None:
        for name in (field.name for field in attrs.fields(Price)):
            value = getattr(self, name)
            if value is None and name not in ("input", "output"):
                continue
            try:
                plain = plain_number(value, name, least=0)
            except InvalidRequest:
                plain = math.inf
            object.__setattr__(self, name, plain)
            if not plain < math.inf:
                raise ConfigurationError(
                    f"Price({name}={shown(value)}) must be US dollars per million tokens, from 0 up."
                )

    def of(self, usage: Usage) -> float:
        """US dollars for this usage."""
        hit = self.input if self.cache_hit is None else self.cache_hit
        write = self.input if self.cache_write is None else self.cache_write
        longer = write if self.cache_write_1h is None else self.cache_write_1h
        plain = usage.input_tokens - usage.cache_hit_tokens - usage.cache_write_tokens
        total = plain * self.input + usage.output_tokens * self.output + usage.cache_hit_tokens * hit
        total += (usage.cache_write_tokens - usage.cache_write_1h_tokens) * write + usage.cache_write_1h_tokens * longer
        return total / MILLION


class PriceList:
    """Prices by the names of models: of models that run at home, or by a contract.

    Args:
        prices: The price of each model, as in `{"my-model": Price(input=0.1, output=0.4)}`.
        beyond: Knows the others; None: they are unknown.

    Raises `ConfigurationError` for what is no `Price` by a name.
    """

    def __init__(self, prices: Mapping[str, Price], *, beyond: Prices | None = None) -> None:
        if not isinstance(prices, Mapping) or not all(isinstance(each, Price) for each in prices.values()):
            raise ConfigurationError(
                f'PriceList({shown(prices)}) takes prices by name: {{"my-model": Price(input=…, output=…)}}.'
            )
        self._prices = dict(prices)
        self._beyond = beyond

    def cost(self, model: str, usage: Usage, /) -> float | None:
        """By this list, else by the one beyond it."""
        if model in self._prices:
            return self._prices[model].of(usage)
        return None if self._beyond is None else self._beyond.cost(model, usage)


def cost_of(prices: Prices, model: str, usage: Usage | None) -> float | None:
    """What this costs; None where it is unknown. A price list that fails, or says what is no price, does not know."""
    if usage is None:
        return None
    try:
        given = prices.cost(model, usage)
        cost = None if given is None else plain_number(given, "cost", least=0)
        known = cost is not None and math.isfinite(cost)
    except Exception as error:  # the list may be anybody's, and a turn does not end for it
        logger.warning("The prices do not know what %s costs.", model, exc_info=error)
        return None
    return round(float(cost), 10) if known and cost is not None else None
