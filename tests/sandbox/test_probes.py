"""Nothing gets out: every probe, in every sandbox, as root and as an ordinary user; and that the probes can bite."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from september_engine.sandbox import choice

from .backends import sandbox_or_skip
from .probes import ALWAYS_HELD, NEEDS_ROOT, PROBES
from .users import USERS, of_user, output_as

AFTERWARDS = "the files of the host are as they were"
NOT_EVERYWHERE = 10
"""So many probes may find nothing to take even without a sandbox: a machine need not have what they look for."""


@cache
def got(package: Path, name: str, user: str) -> dict[str, str]:
    """What each probe got in this sandbox, as this user."""
    found: dict[str, str] = json.loads(output_as(package, "world", name, user))
    return found


@pytest.mark.parametrize("probe", [*PROBES, AFTERWARDS])
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", choice.STRONGEST_FIRST)
def test_nothing_gets_out(package: Path, name: str, user: str, probe: str) -> None:
    sandbox_or_skip(name)
    assert got(package, name, of_user(user))[probe] == ""


@pytest.mark.parametrize("user", USERS)
def test_without_a_sandbox_the_probes_get_what_they_are_after(package: Path, user: str) -> None:
    taken = got(package, "off", of_user(user))
    may = set(PROBES) - ALWAYS_HELD - (NEEDS_ROOT if user != "root" else set())
    held = {probe for probe in may if not taken[probe]}
    print(f"without a sandbox, {len(may) - len(held)} probes of {len(PROBES)} get out as {user}; not: {sorted(held)}")
    assert len(held) <= NOT_EVERYWHERE
    assert taken[AFTERWARDS] != ""


def test_there_are_enough_of_them() -> None:
    assert len(PROBES) >= 40
    assert all(function.__doc__ for function in PROBES.values())
