"""pictures: images made to fit what the provider takes, and looked at in full. Needs Pillow. Blocks; use a thread."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .._context.media import IMAGE_CHARS, MANY_IMAGES_SIDE, PIXELS, Unusable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["fitted", "look_at"]

SIDE = MANY_IMAGES_SIDE
"""Most pixels in width or height of what was made smaller: this fits, however many images there are."""

MOST_BYTES = IMAGE_CHARS // 4 * 3
QUALITY = 90
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}
ORIENTATION = 0x0112


def look_at(data: bytes, media_type: str) -> None:
    """Decode the image (of one that moves, its first picture). Raises `Unusable` where it is damaged or cut off."""
    with _opened(data, media_type) as image:
        image.load()


def fitted(data: bytes, media_type: str) -> tuple[bytes, str]:
    """The image as it can be sent, and its media type: itself where it fits and tells nothing but its picture.

    Otherwise it is upright, without metadata, and, where it was too large, at most `SIDE` pixels in width and height;
    what moved is its first picture. Raises `Unusable` where it cannot be decoded, or holds more than `PIXELS`.
    """
    with _opened(data, media_type) as image:
        large = len(data) > MOST_BYTES or max(image.size) > SIDE
        if large and media_type == "image/jpeg":
            image.draft("RGB", (SIDE, SIDE))  # decodes at a half, a quarter or an eighth, whatever is still enough
        image.load()
        if not large and not _tells_more(image):
            return data, media_type
        return _remade(image, "image/png" if media_type == "image/gif" else media_type)


@contextmanager
def _opened(data: bytes, media_type: str) -> Iterator[Image]:
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=(FORMATS[media_type],)) as image:
            if image.width * image.height > PIXELS:
                raise Unusable(f"is {image.width} x {image.height} pixels; at most {PIXELS:,} in all are decoded")
            yield image
    except Unusable:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything for damaged data
        raise Unusable(f"is damaged or cut off ({type(error).__name__})") from error


def _tells_more(image: Image) -> bool:
    """Whether there is anything beside the picture: where and when it was taken, comments, a text chunk."""
    beside = {"exif", "xmp", "comment", "photoshop", "XML:com.adobe.xmp", "Raw profile type exif"}
    return bool(image.getexif()) or bool(beside & image.info.keys()) or bool(getattr(image, "text", None))


def _remade(image: Image, media_type: str) -> tuple[bytes, str]:
    import PIL.Image
    import PIL.ImageOps

    upright = _in_eight_bits(PIL.ImageOps.exif_transpose(image))
    if upright.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        upright = upright.convert("RGB")
    if upright.mode in ("1", "P") and max(upright.size) > SIDE:  # these cannot be scaled smoothly
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
    upright.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    while True:
        made = _saved(upright, media_type)
        if len(made) <= MOST_BYTES:
            return made, media_type
        if media_type != "image/jpeg":
            media_type = "image/jpeg"  # noise, or a photograph in a format for drawings
        else:
            upright.thumbnail((max(upright.width * 3 // 4, 1), max(upright.height * 3 // 4, 1)))


def _in_eight_bits(image: Image) -> Image:
    """Of grey in sixteen bits the upper eight: `convert` would cut off what is lighter than they can tell."""
    if not image.mode.startswith("I"):
        return image
    wide = image.convert("I")
    return wide.point(lambda value: value / 256).convert("L")


def _saved(image: Image, media_type: str) -> bytes:
    import PIL.Image

    if media_type == "image/jpeg" and image.mode not in ("L", "RGB"):
        with_alpha = image.convert("RGBA")
        ground = PIL.Image.new("RGB", image.size, "white")
        ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
        image = ground
    # what Pillow would write along; which colour of a palette is none belongs to the picture
    image.info = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    into = io.BytesIO()
    options = {} if media_type == "image/png" else {"quality": QUALITY}
    image.save(into, FORMATS[media_type], **options)
    return into.getvalue()
