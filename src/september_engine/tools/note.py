"""`note`: the agent writes the working memory of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import Meta

from .._turn.inputs import WriteNote
from .._turn.notes import note_problem
from ..errors import ConfigurationError
from ..messages import JSON
from ._annotations import Forms, settled
from ._forms import Definitions, Form
from .schema import untitled
from .tool import Tool, ToolInputError, tool

__all__ = ["NoteKeys", "note_tool"]


@attrs.frozen
class NoteKeys:
    """The keys of working memory and the types of their values; None: any JSON under any short key.

    Raises `ConfigurationError` for a key that cannot be one, and a type that a model cannot be told about.
    """

    kinds: Mapping[str, Any] | None = None
    _forms: dict[str, Form] = attrs.field(init=False, factory=dict, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for key, kind in (self.kinds or {}).items():
            if (problem := note_problem(WriteNote(key=key, value=0), {})) is not None:
                raise ConfigurationError(f"notes={{…}} has a key that cannot be one. {problem}")
            try:
                self._forms[key] = Forms().of(kind)
                self.schema(key)
            except Exception as error:  # a type's own code takes part, and may raise anything
                why = str(error).strip().splitlines()[-1]
                raise ConfigurationError(f"The type of the note {key!r} has no JSON Schema ({why}).") from error

    def problem(self, key: str, value: JSON) -> str | None:
        """Why this value cannot stand under this key, or None. Removing is always possible."""
        if self.kinds is None or value is None:
            return None
        if key not in self.kinds:
            return f"There is no key {key!r}. Keys: {', '.join(self.kinds)}."
        try:
            self._forms[key].read(value)
        except Exception as error:  # a type's own __post_init__ takes part, and may raise anything
            return f"The value of {key!r} does not fit: {error}."
        return None

    def schema(self, key: str) -> dict[str, JSON]:
        """The JSON Schema of what stands under this key."""
        parts = Definitions()
        schema = self._forms[key].schema(parts)
        return dict(settled(untitled({**schema, **({"$defs": parts.schemas} if parts.schemas else {})})))

    def listed(self) -> str:
        """The keys with their schemas, one a line."""
        return "\n".join(f"- {key}: {msgspec.json.encode(self.schema(key)).decode()}" for key in self._forms)


@tool(safe_to_repeat=True)
def _note(
    key: Annotated[str, Meta(description="A short name, such as 'city'.", min_length=1, max_length=128)],
    value: Annotated[Any, Meta(description="What to keep under it, in place of what was there; null removes it.")],
    minutes: Annotated[float | None, Meta(description="For how long; left out or null: for good.")] = None,
) -> str:
    """Note something in the working memory of this conversation: what you must still know in later turns.

    You are shown all of it when it has changed. Keep results, choices and facts that you would otherwise have to ask
    for or find out again. Do not keep what the conversation says anyway, nor secrets.
    """
    raise AssertionError("the call is its own result; nothing runs")


def note_tool(keys: NoteKeys) -> Tool[[str, Any, float | None], str]:
    """The tool, for these keys."""
    schema, description = _note.input_schema, _note.description
    if keys.kinds is not None:
        key = {**schema["properties"]["key"], "enum": list(keys.kinds)}
        schema = {**schema, "properties": {**schema["properties"], "key": key}}
        description += f"\n\nThe keys, and the JSON Schema of what stands under each:\n{keys.listed()}"

    def write(input: Mapping[str, JSON]) -> WriteNote:
        arguments: dict[str, Any] = _note.decode(input)
        if (problem := keys.problem(arguments["key"], arguments["value"])) is not None:
            raise ToolInputError(problem)
        return WriteNote(**arguments)

    return attrs.evolve(_note, name="note", description=description, input_schema=schema, writes=write)
