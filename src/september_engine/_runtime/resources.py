"""Resources: what the turns of one engine share, and what its rules say to a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import anyio
import attrs
from msgspec.structs import replace

from .._context.causes import reason_of
from .._turn.commands import RunTool
from .._turn.limits import Limits
from .._turn.state import Request
from ..messages import JSON
from ..models.base import Model, window_of
from ..models.prices import Prices
from ..permissions import (
    Action,
    Allow,
    Decision,
    Deny,
    Effect,
    Policy,
    Read,
    Rule,
    Unknown,
    Write,
    beyond,
    effects_of,
    opening_in_words,
)
from ..permissions import Ask as Refer
from ..tools.output import ToolError
from ..tools.tool import Tool
from .isolation import in_thread
from .media import Attachments
from .remembering import Remembering
from .threads import RecentThreads
from .world import World

__all__ = ["AnyTool", "Resources", "fits"]

AnyTool: TypeAlias = Tool[..., Any]


@attrs.define(kw_only=True)
class Resources:
    """What the turns of one engine share. `provider` is how the last model call went: "ok" or its error's code.

    `erasing` is what deleting a task tells: the same as `remembering`, or where memory is off, what is only asked to
    erase what was remembered while it was on.
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
    erasing: Remembering | None = None
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

    def wanted(self, name: str, input: dict[str, JSON]) -> tuple[Effect, ...]:
        """What this call would need opened, because it is outside of the tool's own folders."""
        tool = self.tools.get(name)
        if tool is None or tool.opened is None:
            return ()
        return beyond(_actions(tool, input), tool.roots)

    def opening(self, name: str, input: dict[str, JSON], opens: Sequence[Effect]) -> str:
        """What the question says of what a yes opens; of a tool that is held to no folders, nothing."""
        tool = self.tools.get(name)
        return "" if tool is None or tool.opened is None else opening_in_words(opens, _actions(tool, input))

    def again(self, name: str, input: dict[str, JSON], opens: Sequence[Effect]) -> tuple[Rule, ...]:
        """The rule that opens for the same call again what others would not: reading, about which nobody is asked."""
        if not any(isinstance(effect, Read) for effect in opens):
            return ()
        effects = effects_of(_actions(self.tools[name], input))
        return (Rule(effect="allow", tool=name, input=input, effects=effects),)

    async def obstacle(self, name: str, input: dict[str, JSON], opens: Sequence[Effect]) -> ToolError | None:
        """Why this call could not be done even after a yes that opens this, as far as can be told before it runs.

        Cancelling stops the wait.
        """
        tool = self.tools.get(name)
        if tool is None or tool.check is None:
            return None
        check, thread = tool.check, f"september-engine-check-{name}"
        try:
            await in_thread(lambda: check(input, opens), limiter=self.threads, name=thread)
        except ToolError as error:
            return error
        except Exception:  # what it found out is that it does not know: the call itself will tell
            return None
        return None

    def verdict(self, command: RunTool, rules: Sequence[Rule], approval: Request | None) -> str | tuple[Effect, ...]:
        """What is opened for a call that is about to begin; or, as text, why it may not run by the rules of now.

        `approval` is the request for it that a person said yes to.
        """
        match self.judge(command.tool, command.input, rules):
            case Deny(reason=reason):
                return f"Not run: {reason}"
            case Refer(reason=reason) if approval is None:
                return f"Not run, because the rules have changed: {reason} Call it again to ask."
        if approval is not None and approval.opens is not None:
            return approval.opens
        wanted = self.wanted(command.tool, command.input)
        if approval is not None:  # asked by a release that named in the question what is written, and recorded no more
            return tuple(each for each in wanted if isinstance(each, Write) and f": {each.path}." in approval.question)
        tool = self.tools.get(command.tool)
        if not wanted or tool is None:
            return ()
        # the roots of other tools are theirs; what is left is what the host itself allowed
        theirs = {root for each in self.tools.values() for root in each.roots}
        roots = [root for root in self.policy.roots if root not in theirs]
        actions = _actions(tool, command.input)
        return self.policy.opened(command.tool, command.input, actions, wanted, roots=roots, remembered=rules)


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
        return (Unknown(why=f"{tool.name} could not say what it would do ({reason_of(error)})"),)
