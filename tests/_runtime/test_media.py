from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from september_engine._context.media import Unusable
from september_engine._context.stored import LOST
from september_engine._media.files import read_media
from september_engine._runtime.media import Attachments, Taken
from september_engine.errors import InvalidRequest, MessageNotFound, StoreBusy, StoreCorrupt
from september_engine.messages import Block, Content, Prompt
from september_engine.store.base import Blob
from september_engine.testing.store_writer import Writer
from tests._context.pictures import document, image, jpeg, png, url
from tests.engines import FlakyStore

TEXT = {"type": "text", "text": "What is it?"}


async def opened(store: FlakyStore | None = None, **options: Any) -> Attachments:
    store = store or FlakyStore()
    await store.open()
    return Attachments(store, read=read_media, **options)


def prompt(*content: Block) -> Prompt:
    return Prompt(system="", tools=[], messages=[{"role": "user", "content": list(content)}])


async def stored(store: FlakyStore, *contents: bytes) -> None:
    """As a turn leaves them."""
    writer = Writer(store, "t")
    await writer.begin("turn")
    blobs = [Blob(sha256=hashlib.sha256(data).hexdigest(), body=data) for data in contents]
    await writer.more("a", blobs=blobs)


async def test_files_contents_and_blocks_are_taken_alike(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    path.write_bytes(png(3, 2))
    attachments = await opened()
    taken = await attachments.take("t", [path, png(3, 2), image(png(3, 2)), TEXT, url("https://example.org/")], "media")
    assert taken.blocks[0] == taken.blocks[1] == taken.blocks[2]
    assert taken.blocks[3:] == [TEXT, url("https://example.org/")]
    assert list(taken.contents.values()) == [png(3, 2)]
    assert await attachments.take("t", [], "media") == Taken([], {}, {})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"BM\0\0", "is not a PNG, JPEG, GIF, WebP or PDF"),
        (png(30_000, 30_000), "is 30000 x 30000 pixels; at most 8000 x 8000 are taken"),
        (png()[:20], "is cut off or damaged: it has no readable size"),
        (png() + bytes(5 * 2**20), "characters of base64; at most 5242880 are taken"),
    ],
    ids=["bitmap", "bomb", "cut off", "large"],
)
async def test_what_cannot_be_used_is_named_by_its_place_and_its_file(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "chart.png"
    path.write_bytes(data)
    attachments = await opened()
    for given, subject in ((path, str(path)), (data, "the content")):
        with pytest.raises(InvalidRequest) as refused:
            await attachments.take("t", [image(), given], "media")
        assert refused.value.message.startswith(f"media[1]: {subject} ")
        assert says in refused.value.message
        assert refused.value.details == {"index": 1}


async def test_what_is_too_much_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"media\[20\].*each must be within 2000 pixels"):
        await (await opened()).take("t", [png(2001, 1)] * 21, "media")


async def test_what_was_prepared_is_what_is_checked_and_taken() -> None:
    def prepare(block: Block) -> Block:
        if block["type"] == "document":
            raise Unusable("is locked")
        return image(jpeg(5, 5), "image/jpeg")

    attachments = await opened(prepare=prepare)
    taken = await attachments.take("t", [image(png(9000, 1))], "media")
    assert list(taken.contents.values()) == [jpeg(5, 5)]
    with pytest.raises(InvalidRequest, match=r"media\[0\]: is locked$"):
        await attachments.take("t", [document()], "media")


async def test_an_output_without_media_is_itself() -> None:
    attachments = await opened()
    for output in ("text", [1], {"type": "image"}, None, [TEXT]):
        kept, contents = await attachments.kept("t", output)
        assert kept is output
        assert contents == {}
    kept, contents = await attachments.kept("t", [TEXT, image()])
    assert (kept[0], kept[1]["source"]["type"], list(contents.values())) == (TEXT, "stored", [png()])


async def test_a_request_gets_its_contents_from_the_store_and_then_from_memory() -> None:
    store = FlakyStore()
    attachments = await opened(store)
    await stored(store, png(3, 2))
    taken = Taken.out_of([image(png(3, 2))])
    whole = await attachments.restored("t", prompt(*taken.blocks, TEXT))
    assert whole == prompt(image(png(3, 2)), TEXT)
    store.reading = StoreBusy("not now")
    assert await attachments.restored("t", prompt(*taken.blocks, TEXT)) == whole
    with pytest.raises(StoreBusy):
        await attachments.restored("another task", prompt(*taken.blocks))
    attachments.drop("t")
    with pytest.raises(StoreBusy):
        await attachments.restored("t", prompt(*taken.blocks))


async def test_a_prompt_without_references_is_itself() -> None:
    asked = prompt(image(), url("https://example.org/a.png"), TEXT)
    assert await (await opened()).restored("t", asked) is asked


async def test_what_is_lost_or_damaged_is_said_and_keeps_nobody_from_going_on() -> None:
    store = FlakyStore()
    attachments = await opened(store)
    [block] = Taken.out_of([image()]).blocks
    gone = prompt({"type": "text", "text": LOST}, TEXT)
    assert await attachments.restored("t", prompt(block, TEXT)) == gone
    store.reading = StoreCorrupt("The checksum does not match.")
    assert await attachments.restored("t", prompt(block, TEXT)) == gone


async def test_memory_holds_so_much_and_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    attachments = await opened()
    blocks = [(await attachments.take("t", [png(3, number)], "media")).blocks[0] for number in (1, 2, 3)]
    digests = [block["source"]["sha256"] for block in blocks]
    assert attachments.peek("t", digests[0]) == base64.b64encode(png(3, 1)).decode()
    monkeypatch.setattr(Attachments, "MOST_CHARS", 100)  # two of 44 characters each
    await attachments.restored("t", prompt(blocks[0]))
    assert [attachments.peek("t", digest) is not None for digest in digests] == [True, False, True]


async def test_one_content_is_given_by_its_hash() -> None:
    store = FlakyStore()
    attachments = await opened(store)
    await stored(store, png())
    content = await attachments.content("t", hashlib.sha256(png()).hexdigest())
    assert content == Content(media_type="image/png", data=png())
    with pytest.raises(MessageNotFound):
        await attachments.content("t", "0" * 64)
