from __future__ import annotations

import base64
import hashlib
from typing import Any

from september_engine._context.media import crowding, weigh
from september_engine._context.stored import LOST, put_back, references, take_out, wanted
from september_engine.messages import Prompt

from .pictures import document, image, jpeg, png, url

TEXT = {"type": "text", "text": "What is it?"}


def prompt(*content: Any) -> Prompt:
    return Prompt(system="", tools=[], messages=[{"role": "user", "content": list(content)}])


def in_base64(contents: dict[str, bytes]) -> dict[str, str]:
    return {digest: base64.b64encode(data).decode() for digest, data in contents.items()}


def test_a_content_gives_way_to_what_it_is_and_where_it_is() -> None:
    data = png(300, 200)
    kept, contents = take_out([image(data), TEXT])
    digest = hashlib.sha256(data).hexdigest()
    assert contents == {digest: data}
    source = {"type": "stored", "media_type": "image/png", "sha256": digest, "bytes": len(data)}
    assert kept == [{"type": "image", "source": source | {"width": 300, "height": 200}}, TEXT]


def test_what_belongs_to_the_block_stays_with_it() -> None:
    block = {**document(), "title": "A", "citations": {"enabled": True}}
    [kept], contents = take_out([block])
    assert kept == {**block, "source": kept["source"]}
    assert "width" not in kept["source"]
    assert put_back(prompt(kept), in_base64(contents)).messages[0]["content"] == [block]


def test_one_content_that_stands_twice_is_one() -> None:
    _, contents = take_out([image(), image(), image(jpeg(), "image/jpeg")])
    assert len(contents) == 2


def test_addresses_and_references_stay_as_they_are() -> None:
    kept, _ = take_out([image()])
    assert take_out([url("https://example.org/a.png"), *kept]) == ([url("https://example.org/a.png"), *kept], {})


def test_in_a_request_the_content_is_there_again_at_any_depth() -> None:
    [kept], contents = take_out([image()])
    result = {"type": "tool_result", "tool_use_id": "c", "content": [TEXT, kept]}
    asked = prompt(result, kept, url("https://example.org/a.png"))
    assert [one["sha256"] for one in references(asked.messages)] == list(contents) * 2
    assert wanted(asked) == set(contents)
    whole = put_back(asked, in_base64(contents))
    [message] = whole.messages
    assert message["content"] == [{**result, "content": [TEXT, image()]}, image(), url("https://example.org/a.png")]
    assert list(references(whole.messages)) == []
    assert wanted(whole) == set()
    assert asked.messages[0]["content"][1] == kept  # what was asked for is left alone


def test_what_is_lost_is_said_and_the_thread_goes_on() -> None:
    [kept], _ = take_out([image()])
    assert put_back(prompt(kept, TEXT), {}).messages[0]["content"] == [{"type": "text", "text": LOST}, TEXT]


def test_content_that_is_text_is_left_alone() -> None:
    said = Prompt(system="", tools=[], messages=[{"role": "user", "content": "hello"}])
    assert put_back(said, {}) == said
    assert list(references(said.messages)) == []
    assert wanted(said) == set()


def test_a_reference_weighs_what_its_content_weighs() -> None:
    for block in (image(png(300, 200)), image(jpeg(9, 7), "image/jpeg"), document(b"%PDF-1.7\n" + bytes(100))):
        [kept], _ = take_out([block])
        assert weigh(kept) == weigh(block)
    [large], _ = take_out([image(png(2001, 1))])
    assert crowding([weigh(large)] * 21) is not None
