"""Prices of Claude, from the list that comes with genai-prices (the extra `prices`). It works without a network.

Only Claude's: the list finds a price for many names, but that a model of somebody's own is called as a hosted one does
not mean that it costs as much.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType

from .._extras import extra
from ..errors import BrokenExtra
from ..messages import Usage

__all__ = ["KnownPrices"]

logger = logging.getLogger(__name__)

PROVIDER = "anthropic"


def _load() -> ModuleType:
    with extra("prices", "A price list"):
        import genai_prices

    return genai_prices


class KnownPrices:
    """What Claude costs by its provider's price list. Where genai-prices is not installed, nothing is known.

    The list is loaded when it is first asked for a Claude model, which takes a part of a second.
    """

    def __init__(self, load: Callable[[], ModuleType] = _load) -> None:
        self._load = load
        self._list: ModuleType | None = None
        self._missing = False

    def cost(self, model: str, usage: Usage, /) -> float | None:
        """US dollars by the list; None for a model that it does not know."""
        if not model.startswith("claude-") or self._missing:
            return None
        try:
            prices = self._list = self._list or self._load()
        except ImportError as error:
            if isinstance(error, BrokenExtra):  # not installing it is a choice, this is none
                logger.warning("%s", error.message)
            self._missing = True
            return None
        used = prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_hit_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
        )
        try:
            return float(prices.calc_price(used, model, provider_id=PROVIDER).total_price)
        except (LookupError, ValueError):  # unknown, or a usage that contradicts itself
            return None
