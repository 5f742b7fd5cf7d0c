from __future__ import annotations

from typing import Any

import PIL.Image
import pytest

from september_engine._context.media import IMAGE_TYPES, Unusable, content_problem
from september_engine._media import pictures
from september_engine._media.pictures import FORMATS, fitted, look_at

from .._context.pictures import png
from .files import noise, opened, picture, saved


def test_every_type_that_is_taken_can_be_decoded() -> None:
    assert FORMATS.keys() == IMAGE_TYPES.keys()


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_what_fits_stays_byte_for_byte(media_type: str, mode: str) -> None:
    if media_type == "image/jpeg" and mode in ("P", "1"):
        mode = "RGB"
    data = picture(media_type=media_type, mode=mode)
    look_at(data, media_type)
    assert fitted(data, media_type) == (data, media_type)


@pytest.mark.parametrize(
    ("media_type", "mode"),
    [
        ("image/png", "RGB"),
        ("image/png", "RGBA"),
        ("image/png", "P"),
        ("image/png", "1"),
        ("image/png", "I;16"),
        ("image/jpeg", "RGB"),
        ("image/jpeg", "L"),
        ("image/jpeg", "CMYK"),
        ("image/webp", "RGB"),
        ("image/gif", "P"),
    ],
)
def test_what_is_too_large_is_made_smaller_and_shows_the_same(media_type: str, mode: str) -> None:
    if mode == "I;16":
        data = saved(PIL.Image.new("I;16", (4000, 100)), media_type)
    else:
        data = picture(4000, 100, media_type, mode=mode)
    made, made_type = fitted(data, media_type)
    assert made_type == ("image/png" if media_type == "image/gif" else media_type)
    assert content_problem(made, made_type) is None
    image = opened(made)
    assert image.size == (2000, 50)
    if mode in ("RGB", "RGBA", "P", "CMYK"):
        red, _, blue = image.convert("RGB").getpixel((100, 25))  # type: ignore[misc]  # three numbers
        assert red > 200 > 100 > blue


def test_a_long_thin_image_keeps_a_pixel() -> None:
    made, _ = fitted(picture(30_000, 1), "image/png")
    assert opened(made).size == (2000, 1)


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_noise_is_made_smaller_until_it_fits(media_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 60_000)
    made, made_type = fitted(noise(500, 400, media_type), media_type)
    assert len(made) <= 60_000
    assert (made_type, opened(made).format) == ("image/jpeg", "JPEG")


def test_what_was_turned_stands_upright_and_tells_nothing_of_where_it_was_taken() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8825)[1] = "N"
    data = picture(40, 30, "image/jpeg", exif=exif, comment=b"at home")
    assert b"A camera" in data
    made, _ = fitted(data, "image/jpeg")
    assert b"A camera" not in made and b"at home" not in made and b"Exif" not in made
    image = opened(made)
    assert image.size == (30, 40)
    red, _, blue = image.getpixel((15, 5))  # type: ignore[misc]  # three numbers
    assert red > 200 > 100 > blue  # what was on the left is above


def test_text_in_a_png_goes_too() -> None:
    text: Any = __import__("PIL.PngImagePlugin", fromlist=["PngInfo"]).PngInfo()
    text.add_text("Author", "somebody")
    made, made_type = fitted(picture(pnginfo=text), "image/png")
    assert made_type == "image/png" and b"somebody" not in made


@pytest.mark.parametrize("width", [2100, 210])
def test_sixteen_bits_of_grey_become_eight_and_not_white(width: int) -> None:
    image = PIL.Image.new("I;16", (width, 1))
    image.putdata([place * 65_535 // width for place in range(width)])
    exif = PIL.Image.Exif()
    exif[0x010F] = "A camera"
    made, _ = fitted(saved(image, "image/png", exif=exif), "image/png")
    shown = opened(made)
    half = shown.getpixel((shown.width // 2, 0))
    assert isinstance(half, int)
    assert shown.mode == "L"
    assert 120 < half < 136


def test_what_can_be_seen_through_stays_so() -> None:
    image = PIL.Image.new("RGBA", (2100, 10), (0, 0, 0, 0))
    made, _ = fitted(saved(image, "image/png"), "image/png")
    assert opened(made).convert("RGBA").getpixel((5, 5)) == (0, 0, 0, 0)


def test_of_what_moves_the_first_picture_counts() -> None:
    frames = [PIL.Image.new("P", (2100, 10), colour) for colour in (1, 2, 3)]
    data = saved(frames[0], "image/gif", save_all=True, append_images=frames[1:])
    made, made_type = fitted(data, "image/gif")
    assert made_type == "image/png"
    assert opened(made).size[0] == 2000


@pytest.mark.parametrize("media_type", FORMATS)
def test_what_is_cut_off_is_refused(media_type: str) -> None:
    data = noise(60, 50, media_type)
    for call in (look_at, fitted):
        with pytest.raises(Unusable, match="is damaged or cut off"):
            call(data[: len(data) // 2], media_type)


def test_a_header_alone_is_no_image() -> None:
    with pytest.raises(Unusable, match="is damaged or cut off"):
        look_at(png(10, 10), "image/png")


def test_another_format_than_it_says_is_refused() -> None:
    with pytest.raises(Unusable, match="is damaged"):
        look_at(picture(media_type="image/gif"), "image/png")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PIXELS", 1000)
    for call in (look_at, fitted):
        with pytest.raises(Unusable, match="is 40 x 30 pixels; at most 1,000 in all"):
            call(picture(), "image/png")
