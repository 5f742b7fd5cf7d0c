from __future__ import annotations

from .corpora import commands, is_allowed

BYPASS = commands("bypass")
EVERYDAY = commands("everyday")


def test_the_collections_are_as_large_as_they_are_said_to_be() -> None:
    assert len(set(BYPASS)) == len(BYPASS) >= 1300
    assert len(set(EVERYDAY)) == len(EVERYDAY) >= 340


def test_nothing_that_reaches_out_of_the_workspace_runs_by_itself() -> None:
    assert [command for command in BYPASS if is_allowed(command)] == []


def test_a_bypass_does_not_get_through_in_company() -> None:
    around = ("ls && {}", "if true; then {}\nfi", "echo $({}\n)", "{} | cat")
    found = [shape.format(command) for command in BYPASS for shape in around if is_allowed(shape.format(command))]
    assert found == []


def test_of_everyday_commands_fewer_than_one_in_twenty_ask() -> None:
    asking = [command for command in EVERYDAY if not is_allowed(command)]
    assert len(asking) < len(EVERYDAY) / 20, asking
