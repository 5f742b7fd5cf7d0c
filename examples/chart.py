"""Chart: an image in a turn, by its path. It is stored once, and every later turn of the thread still sees it.

The chart is drawn here, with nothing but the standard library. Without a key the offline model answers, which cannot
see; with ANTHROPIC_API_KEY in the environment, Claude does.

It prints:

    Offline model: I was given image/png of up to 320 pixels a side, and cannot look at that: no API key is set, …
    A message of the thread: image/png, 320 x 120 pixels, … bytes, stored under …
    Its content comes back as it was: True
    No chart: media[0]: …none.png cannot be read: No such file or directory
"""

from __future__ import annotations

import asyncio
import struct
import sys
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from september_engine import Engine
from september_engine.errors import InvalidRequest

HEIGHT, BAR = 120, 40
"""Pixels: of the chart, and of the width of a bar."""

WHITE, BLUE = b"\xff\xff\xff", b"\x20\x60\xc0"


def bar_chart(values: list[int]) -> bytes:
    """A PNG with a bar for each value, in percent of the height."""
    pixels = bytearray()
    for y in range(HEIGHT):
        pixels += b"\0"  # each line begins with its filter: none
        for value in values:
            pixels += (BLUE if HEIGHT - y <= value * HEIGHT // 100 else WHITE) * BAR
    header = struct.pack(">IIBBBBB", BAR * len(values), HEIGHT, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(pixels), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


async def main(database: str, folder: Path) -> None:
    chart = folder / "chart.png"
    chart.write_bytes(bar_chart([20, 35, 30, 55, 50, 70, 90, 85]))
    async with Engine(database) as engine:
        result = await engine.execute("What does this chart show?", task_id="sales", media=[chart])
        print(result.text)

        [asked, _] = await engine.messages("sales")
        source = asked.content[0]["source"]
        size = f"{source['width']} x {source['height']} pixels, {source['bytes']} bytes"
        print(f"A message of the thread: {source['media_type']}, {size}, stored under {source['sha256'][:4]}…")
        content = await engine.media("sales", source["sha256"])
        print("Its content comes back as it was:", content.data == chart.read_bytes())

        try:
            await engine.execute("And this one?", task_id="sales", media=[folder / "none.png"])
        except InvalidRequest as refused:
            print("No chart:", refused.message)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite", Path(folder)))
