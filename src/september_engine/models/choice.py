"""choice: which model answers, from what the caller said and what the settings hold."""

from __future__ import annotations

from .._seams import Clock
from ..errors import ConfigurationError
from ..settings import Settings
from .anthropic import DEFAULT_MODEL, AnthropicModel
from .base import Model
from .offline import OfflineModel

__all__ = ["OFFLINE_PACE", "choose_fallback", "choose_light", "choose_model", "choose_planner"]


OFFLINE_PACE = 0.015
"""Seconds between two words of the offline model: as fast as one reads, so that a stream can be seen to be one."""


def choose_model(name: str | None, settings: Settings, clock: Clock | None = None) -> Model:
    """Claude, by this name or `LLM_MODEL`, where there is a key; else the offline model, which says so.

    With a `clock` the offline model writes at a pace, else all at once.

    Constructing Claude imports its SDK, which takes seconds: call this in a thread. Raises `ConfigurationError` where
    Claude was asked for and there is no key.
    """
    if settings.llm_provider == "offline" or (settings.llm_provider is None and not settings.provider_key and not name):
        return OfflineModel() if clock is None else OfflineModel(pace=OFFLINE_PACE, clock=clock)
    if settings.provider_key is None:
        raise ConfigurationError(
            "A Claude model was asked for, but there is no key. Set ANTHROPIC_API_KEY (or LLM_API_KEY), or set "
            "LLM_PROVIDER=offline to go without."
        )
    chosen = name or settings.llm_model or DEFAULT_MODEL
    return AnthropicModel(name=chosen, api_key=settings.provider_key, base_url=settings.anthropic_base_url)


def choose_fallback(name: str | None, settings: Settings) -> Model | None:
    """The model of this name or `FALLBACK_MODEL`; None where there is neither, or no key to call it with."""
    return _claude(name or settings.fallback_model, settings)


def choose_planner(name: str | None, settings: Settings) -> Model | None:
    """The model of this name or `PLANNER_MODEL`; None where there is neither, or no key to call it with.

    Where nobody named one there is none: a call before every turn is not to be paid for by surprise.
    """
    return _claude(name or settings.planner_model, settings)


def choose_light(settings: Settings) -> Model:
    """The model for small work, `LIGHT_MODEL`. Raises `ConfigurationError` where it is not set or cannot be called."""
    model = _claude(settings.light_model, settings)
    if model is None:
        raise ConfigurationError("Distilling needs a model: set LIGHT_MODEL and a key, or pass Engine(distil=a_model).")
    return model


def _claude(name: str | None, settings: Settings) -> Model | None:
    if name is None or settings.provider_key is None or settings.llm_provider == "offline":
        return None
    return AnthropicModel(name=name, api_key=settings.provider_key, base_url=settings.anthropic_base_url)
