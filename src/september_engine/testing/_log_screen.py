"""What a client has on its screen while it reads a stream: a part of the log checker."""

from __future__ import annotations

import attrs

from ..events import ContentBlockStart, ContentBlockStop, Event, TextDelta, ThinkingDelta

__all__ = ["Screen"]


@attrs.define
class Screen:
    """What a client has on its screen: the text since the last answer or failure, and the block that is open."""

    text: str = ""
    cut: str | None = None
    block: ContentBlockStart | None = None
    blocks: int = 0

    def take(self, event: Event) -> str | None:
        """Take an event of the model's stream; why it cannot come now, or None."""
        match event:
            case ContentBlockStart():
                before, self.block = self.block, event
                self.blocks += 1
                if before is not None:
                    return f"block {event.block_index} starts, and block {before.block_index} is open"
                return None if event.block_index == self.blocks - 1 else f"block {event.block_index} is out of order"
            case ContentBlockStop():
                before, self.block = self.block, None
                same = before is not None and (before.block_index, before.block_type) == (
                    event.block_index,
                    event.block_type,
                )
                return None if same else f"block {event.block_index} stops, and is not open"
            case TextDelta() | ThinkingDelta():
                kind = "text" if isinstance(event, TextDelta) else "thinking"
                self.text += event.text if kind == "text" else ""
                return None if self.block is not None and self.block.block_type == kind else f"{kind} outside a block"
            case _:
                return None
