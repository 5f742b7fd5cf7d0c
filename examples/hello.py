"""Hello: one turn with one tool, and its answer as it comes.

Without a key the offline model answers, and says so. With ANTHROPIC_API_KEY in the environment, Claude does.

It prints:

    Offline model: no API key is set, so I go by simple rules. I use word_count for this.
    [word_count: 6]
    Offline model: word_count gave: 6
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, TextDelta, ToolResult, tool


@tool
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


async def main(database: str) -> None:
    async with Engine(database, tools=[word_count]) as engine:
        async for event in engine.execute("How many words are in 'to be or not to be'?", task_id="hamlet"):
            match event:
                case TextDelta(text=text):
                    print(text, end="", flush=True)
                case ToolResult(tool=name, output=output):
                    print(f"\n[{name}: {output}]")
    print()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
