from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from september_engine._turn.limits import EVENT_BYTES, HEAD_CHARS, Limits, backoff_ms, clip, is_blocks, shown

from .build import text

IMAGE: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}


def test_limits_are_stored_in_full_so_that_a_later_default_does_not_change_an_old_turn() -> None:
    assert set(msgspec.json.decode(msgspec.json.encode(Limits()))) == set(Limits.__struct_fields__)


@pytest.mark.parametrize(("attempt", "least"), [(1, 250), (2, 500), (3, 1000), (5, 4000), (6, 4000), (500, 4000)])
def test_waits_double_from_half_a_second_up_to_eight_and_chance_spreads_their_upper_half(
    attempt: int, least: int
) -> None:
    assert backoff_ms(attempt, None, 0.0) == least
    assert backoff_ms(attempt, None, 0.5) == least * 1.5
    assert least < backoff_ms(attempt, None, 0.999) <= least * 2


@pytest.mark.parametrize(("asked", "waits"), [(0, 0), (1.5, 1500), (59.9, 59_900), (3600, 60_000), (math.inf, 60_000)])
def test_a_provider_is_given_the_wait_it_asks_for_up_to_a_minute(asked: float, waits: int) -> None:
    assert backoff_ms(1, asked, 0.5) == waits


@pytest.mark.parametrize("nonsense", [math.nan, -5.0])
def test_a_wait_that_makes_no_sense_is_replaced_by_ours(nonsense: float) -> None:
    assert backoff_ms(2, nonsense, 0.0) == 500


@pytest.mark.parametrize("output", ["", "ten bytes!", None, 5, ["a"], {"a": 1}, [text("ten")]])
def test_an_output_that_fits_is_kept_as_it_is(output: Any) -> None:
    assert clip(output, 30) == output


def test_a_long_output_keeps_its_head_and_tail_and_counts_what_is_missing() -> None:
    assert clip("h" * 90 + "t" * 30, 40) == "h" * 30 + "\n[… 80 bytes left out …]\n" + "t" * 10
    assert clip(["x" * 100], 8) == '["xxxx\n[… 96 bytes left out …]\n"]'
    assert clip("abc", 0) == "\n[… 3 bytes left out …]\n"


@settings(deadline=None)
@given(st.text(min_size=10), st.integers(0, 30))
def test_a_clipped_text_is_cut_between_characters_and_nothing_is_miscounted(value: str, limit: int) -> None:
    clipped = clip(value, limit)
    if len(value.encode()) <= limit:
        assert clipped == value
        return
    head, rest = clipped.split("\n[… ", 1)
    left_out, tail = rest.split(" bytes left out …]\n", 1)
    assert value.startswith(head)
    assert value.endswith(tail)
    assert len(head.encode()) + int(left_out) + len(tail.encode()) == len(value.encode())
    assert len(head.encode()) + len(tail.encode()) <= limit


def test_pictures_are_never_clipped_but_the_text_beside_them_is() -> None:
    assert clip([IMAGE], 1) == [IMAGE]
    clipped = clip([text("x" * 50), IMAGE, text("short")], 40)
    assert clipped == [text("x" * 15 + "\n[… 30 bytes left out …]\n" + "x" * 5), IMAGE, text("short")]


@pytest.mark.parametrize("output", [[], "text", {"type": "text"}, [text(), "text"], [{"type": "row"}], None])
def test_only_a_list_of_content_blocks_is_content(output: Any) -> None:
    assert not is_blocks(output)
    assert is_blocks([text(), IMAGE, {**IMAGE, "type": "document"}])


def test_a_value_that_is_too_large_for_an_event_is_shown_by_its_head_and_where_to_find_it() -> None:
    fits = "x" * (EVENT_BYTES - 2)
    assert shown(fits, tool_call_id="a") == fits
    assert shown(fits + "x", tool_call_id="a", turn_id="t") == {
        "truncated": True,
        "bytes": EVENT_BYTES + 1,
        "head": "x" * HEAD_CHARS,
        "reference": {"tool_call_id": "a", "turn_id": "t"},
    }
    large = shown({"rows": [fits]}, tool_call_id="a")
    assert large["head"].startswith('{"rows":["xxx')
    assert len(msgspec.json.encode(large)) < EVENT_BYTES
