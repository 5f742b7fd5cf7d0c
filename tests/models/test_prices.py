"""Prices: known or unknown, and never 0 because nobody knows."""

from __future__ import annotations

import math
from typing import Any

import pytest

from september_engine.errors import ConfigurationError
from september_engine.messages import Usage
from september_engine.models.known_prices import KnownPrices
from september_engine.models.prices import Price, PriceList, Prices, cost_of

MILLION = 1_000_000
ALL = Usage(
    input_tokens=MILLION,
    output_tokens=MILLION,
    cache_hit_tokens=100_000,
    cache_write_tokens=100_000,
    cache_write_1h_tokens=40_000,
)


def test_each_kind_of_token_has_its_own_price() -> None:
    price = Price(input=4, output=20, cache_hit=0.2, cache_write=5, cache_write_1h=8)
    assert price.of(ALL) == pytest.approx(0.8 * 4 + 20 + 0.1 * 0.2 + 0.06 * 5 + 0.04 * 8)


def test_a_price_that_is_not_told_is_the_one_before_it() -> None:
    assert Price(input=4, output=20).of(ALL) == 24
    assert Price(input=4, output=20, cache_write=8).of(ALL) == pytest.approx(24.4)


def test_a_list_knows_its_own_and_asks_beyond_for_the_rest() -> None:
    beyond = PriceList({"far": Price(input=1, output=1), "near": Price(input=9, output=9)})
    prices = PriceList({"near": Price(input=2, output=2)}, beyond=beyond)
    assert prices.cost("near", ALL) == 4
    assert prices.cost("far", ALL) == 2
    assert prices.cost("nowhere", ALL) is None
    assert PriceList({}).cost("near", ALL) is None


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, "4", True, None])
def test_what_is_no_price_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Price\(input="):
        Price(input=wrong, output=1)
    if wrong is not None:
        with pytest.raises(ConfigurationError, match=r"Price\(cache_hit="):
            Price(input=1, output=1, cache_hit=wrong)


@pytest.mark.parametrize("wrong", [{"m": 0.5}, {"m": None}, [1], "m"])
def test_a_list_takes_prices_by_name(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes prices by name"):
        PriceList(wrong)


class Says:
    """A price list that says whatever it was told to."""

    def __init__(self, said: object) -> None:
        self.said = said

    def cost(self, model: str, usage: Usage, /) -> float | None:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said  # type: ignore[return-value]  # what it should not say


@pytest.mark.parametrize("said", [None, math.nan, math.inf, -1.0, "much", ValueError("no"), KeyError("model")])
def test_what_is_no_cost_is_unknown(said: object) -> None:
    assert cost_of(Says(said), "m", ALL) is None


def test_a_cost_is_told_without_binary_dust_and_nothing_costs_nothing() -> None:
    assert cost_of(Says(0.1 + 0.2), "m", ALL) == 0.3
    assert cost_of(Says(0), "m", ALL) == 0.0
    assert cost_of(Says(1.0), "m", None) is None


class TestKnownPrices:
    @pytest.fixture
    def prices(self) -> Prices:
        pytest.importorskip("genai_prices")
        return KnownPrices()

    def test_claude_has_a_price_and_the_parts_of_its_cache_have_theirs(self, prices: Prices) -> None:
        cost = prices.cost("claude-opus-5-5", ALL)
        assert cost is not None
        assert cost > 0
        plain = prices.cost("claude-opus-5-5", Usage(input_tokens=MILLION))
        hit = prices.cost("claude-opus-5-5", Usage(input_tokens=MILLION, cache_hit_tokens=MILLION))
        write = prices.cost("claude-opus-5-5", Usage(input_tokens=MILLION, cache_write_tokens=MILLION))
        longer = prices.cost(
            "claude-opus-5-5", Usage(input_tokens=MILLION, cache_write_tokens=MILLION, cache_write_1h_tokens=MILLION)
        )
        assert None not in (hit, plain, write, longer)
        assert hit < plain < write < longer  # type: ignore[operator]  # none of them is None

    @pytest.mark.parametrize("name", ["claude-of-the-future", "offline", "scripted", "gpt-5", "my-claude-opus-5-5", ""])
    def test_what_the_list_does_not_know_is_unknown(self, prices: Prices, name: str) -> None:
        assert prices.cost(name, ALL) is None

    def test_a_usage_that_contradicts_itself_has_no_price(self, prices: Prices) -> None:
        assert prices.cost("claude-opus-5-5", Usage(input_tokens=1, cache_hit_tokens=5)) is None

    def test_without_the_extra_nothing_is_known_and_nothing_is_loaded_twice(self) -> None:
        asked: list[int] = []

        def missing() -> None:
            asked.append(1)
            raise ImportError("No module named 'genai_prices'")

        prices = KnownPrices(load=missing)  # type: ignore[arg-type]  # it never gives a module
        assert prices.cost("claude-opus-5-5", ALL) is None
        assert prices.cost("claude-opus-5-5", ALL) is None
        assert len(asked) == 1

    def test_nothing_is_loaded_for_a_model_that_is_not_claude(self) -> None:
        KnownPrices(load=lambda: pytest.fail("it was loaded")).cost("offline", ALL)
