"""Resources: what the turns of one engine share, and what its rules say to a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import anyio
import attrs
from msgspec.structs import replace

from .._turn.commands import RunTool
from .._turn.limits import Limits
from ..messages import JSON
from ..models.base import Model, window_of
from ..models.prices import Prices
from ..permissions import Action, Allow, Decision, Deny, Policy, Rule, Unknown
from ..permissions import Ask as Refer
from ..tools.output import ToolError
from ..tools.tool import Tool
from .media import Attachments
from .remembering import Remembering
from .threads import RecentThreads
from .world import World

__all__ = ["AnyTool", "Resources", "fits"]

AnyTool: TypeAlias = Tool[..., Any]


@attrs.define(kw_only=True)
class Resources:
    """What the turns of one engine share. `provider` is how the last model call went: "ok" or its error's code.

    `light` is the model that summarises; None leaves it to the turn's own.
    """

    world: World
    model: Model
    fallback: Model | None
    planner: Model | None
    light: Model | None
    prices: Prices
    tools: Mapping[str, AnyTool]
    policy: Policy
    threads: anyio.CapacityLimiter
    concurrency: int
    progress_timeout: float
    attachments: Attachments
    recovers_media: bool = False
    remembering: Remembering | None = None
    recent: RecentThreads = attrs.field(factory=RecentThreads)
    provider: str = "ok"

    def limits_of(self, limits: Limits) -> Limits:
        """The limits of a turn that begins now: with the model's window, where nothing else was said."""
        window = limits.context_tokens if limits.context_tokens is not None else window_of(self.model)
        return replace(limits, context_tokens=window)

    def answering(self, fallback: bool) -> Model:
        """The model that answers, or that has taken over."""
        return self.fallback if fallback and self.fallback is not None else self.model

    def judge(self, name: str, input: dict[str, JSON], rules: Sequence[Rule]) -> Decision:
        """Whether the rules let this call run. A call that cannot run anyway is nobody's question."""
        tool = self.tools.get(name)
        if tool is None or not fits(tool, input):
            return Allow()
        actions = _actions(tool, input)
        try:
            decision = self.policy.judge(name, input, actions, declared=tool.declared, remembered=rules)
        except Exception as error:  # a policy may be anybody's; what is not understood asks
            return Refer(reason=f"The policy could not say whether it may run ({type(error).__name__}: {error}).")
        if isinstance(decision, Allow | Deny | Refer):
            return decision
        return Refer(reason=f"The policy did not say whether it may run, but gave a {type(decision).__name__}.")

    def refusal(self, command: RunTool, rules: Sequence[Rule], *, allowed: bool) -> str | None:
        """Why a call that is about to begin may not run by the rules of now; `allowed` is a person's yes to it."""
        match self.judge(command.tool, command.input, rules):
            case Deny(reason=reason):
                return f"Not run: {reason}"
            case Refer(reason=reason) if not allowed:
                return f"Not run, because the rules have changed: {reason} Call it again to ask."
            case _:
                return None


def fits(tool: AnyTool, input: Mapping[str, JSON]) -> bool:
    """Whether the tool takes this input."""
    try:
        tool.decode(input)
    except ToolError:
        return False
    return True


def _actions(tool: AnyTool, input: Mapping[str, JSON]) -> Sequence[Action]:
    """What the tool says it would do; a tool that cannot say it has not been understood."""
    if tool.actions is None:
        return ()
    try:
        actions = tuple(tool.actions(input))
        if strange := [each for each in actions if not isinstance(each, Action)]:
            raise TypeError(f"{type(strange[0]).__name__} is no action")
        return actions
    except Exception as error:
        return (Unknown(why=f"{tool.name} could not say what it would do ({type(error).__name__}: {error})"),)
