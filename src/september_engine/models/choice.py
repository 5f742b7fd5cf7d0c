"""choice: which model does what, from what the caller said and what the settings hold."""

from __future__ import annotations

from typing import NamedTuple

from .._seams import Clock
from ..errors import ConfigurationError
from ..settings import Settings
from .anthropic import DEFAULT_MODEL, AnthropicModel
from .base import Model
from .offline import OfflineModel

__all__ = ["OFFLINE_PACE", "Roles", "choose_fallback", "choose_light", "choose_model", "choose_planner", "chosen_name"]


OFFLINE_PACE = 0.015
"""Seconds between two words of the offline model: as fast as one reads, so that a stream can be seen to be one."""


class Roles(NamedTuple):
    """Which model does what in an engine; None where nobody does."""

    model: Model
    fallback: Model | None
    planner: Model | None
    light: Model | None


def choose_model(name: str | None, settings: Settings, clock: Clock | None = None) -> Model:
    """Claude, by this name or `LLM_MODEL`, where there is a key; else the offline model, which says so.

    With a `clock` the offline model writes at a pace, else all at once.

    Constructing Claude imports its SDK, which takes seconds: call this in a thread. Raises `ConfigurationError` where
    Claude was asked for and there is no key.
    """
    chosen, _ = chosen_name(settings)
    if chosen == "offline" and not (name and settings.llm_provider is None):
        return OfflineModel() if clock is None else OfflineModel(pace=OFFLINE_PACE, clock=clock)
    return _claude(name or chosen, settings)


def chosen_name(settings: Settings) -> tuple[str, str]:
    """The model that `choose_model` takes where no name is given, and why, for people. Nothing is imported."""
    if settings.llm_provider == "offline":
        return "offline", "LLM_PROVIDER says so"
    if settings.llm_provider is None and not settings.provider_key:
        return "offline", "there is no key"
    if settings.llm_model:
        return settings.llm_model, "LLM_MODEL says so"
    return DEFAULT_MODEL, "the default"


def choose_fallback(name: str | None, settings: Settings) -> Model | None:
    """The model of this name or `FALLBACK_MODEL`; None where there is neither.

    A setting without a key counts for nothing, and where the provider is "offline" so does a name. Raises
    `ConfigurationError` for a name without a key, as `choose_model` does.
    """
    return _beside(name, settings.fallback_model, settings)


def choose_planner(name: str | None, settings: Settings) -> Model | None:
    """The model of this name or `PLANNER_MODEL`; None where there is neither. As `choose_fallback`.

    Where nobody named one there is none: a call before every turn is not to be paid for by surprise.
    """
    return _beside(name, settings.planner_model, settings)


def choose_light(name: str | None, settings: Settings) -> Model | None:
    """The model of this name or `LIGHT_MODEL`, which summarises; None where there is neither. As `choose_fallback`."""
    return _beside(name, settings.light_model, settings)


def _beside(name: str | None, configured: str | None, settings: Settings) -> Model | None:
    if settings.llm_provider == "offline":
        return None
    if name is None and (configured is None or settings.provider_key is None):
        return None
    return _claude(name or configured or DEFAULT_MODEL, settings)


def _claude(name: str, settings: Settings) -> Model:
    if settings.provider_key is None:
        raise ConfigurationError(
            "A Claude model was asked for, but there is no key. Set ANTHROPIC_API_KEY (or LLM_API_KEY), or set "
            "LLM_PROVIDER=offline to go without."
        )
    return AnthropicModel(name=name, api_key=settings.provider_key, base_url=settings.anthropic_base_url)
