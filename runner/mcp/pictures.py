"""Makes a picture small enough for a model: its side, and its bytes.

Pure, over bytes. Decides nothing about how many pictures an answer has.
"""

import binascii
import io
from base64 import b64decode, b64encode
from dataclasses import dataclass

from PIL import Image

SIDE_PIXELS = 1568
"""Longest side; models shrink larger pictures themselves, and charge for them."""
PICTURE_BYTES = 300_000
MOST_PIXELS = 100_000_000
"""Pictures with more pixels are not opened: they would fill the memory."""
MOST_CHARACTERS = 40_000_000
_QUALITIES = (85, 70, 50)
_SMALLER = 0.7


@dataclass(frozen=True)
class Picture:
    """An image, in base64."""

    data: str
    media_type: str
    number: int = 0
    """Its place among the pictures of its cell, from 1; 0 where that is not known."""


def fitted(picture: Picture) -> Picture | None:
    """Return the picture within the limits; None if it cannot be read."""
    if len(picture.data) > MOST_CHARACTERS:
        return None
    try:
        raw = b64decode(picture.data)
        with Image.open(io.BytesIO(raw)) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            if max(image.size) <= SIDE_PIXELS and len(raw) <= PICTURE_BYTES:
                return picture
            image.load()
            return _shrunk(image)
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError):
        return None


def _shrunk(image: Image.Image) -> Picture:
    side = min(max(image.size), SIDE_PIXELS)
    while True:
        smaller = image.convert("RGBA" if "A" in image.mode or image.mode == "P" else "RGB")
        smaller.thumbnail((side, side))
        raw = _encoded(smaller, "PNG")
        if len(raw) <= PICTURE_BYTES:
            return Picture(b64encode(raw).decode(), "image/png")
        plain = _on_white(smaller)
        for quality in _QUALITIES:
            raw = _encoded(plain, "JPEG", quality)
            if len(raw) <= PICTURE_BYTES:
                return Picture(b64encode(raw).decode(), "image/jpeg")
        side = int(side * _SMALLER)


def _encoded(image: Image.Image, form: str, quality: int = 85) -> bytes:
    out = io.BytesIO()
    image.save(out, form, quality=quality)
    return out.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    """Return it without transparency, which JPEG does not have."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
