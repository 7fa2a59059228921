"""One picture file: what its header says, and its pixels as bytes.

What becomes of odd pictures: transparency is laid on white; CMYK and palettes become colours; of several frames the
first is taken; EXIF rotations are undone; 16 bits are scaled to 8; pictures of floats are read as lying in [0, 1],
[0, 255] or [0, 65535], the smallest range that holds them. A file's name says nothing about its format.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
RANGES = {"F": (1.0, 255.0, 65535.0), "I": (65535.0, 2.0**31 - 1)}
ORIENTATION = 0x0112  # the EXIF tag of how the camera was held
GAP = (
    2  # a JPEG is decoded at no less than so many times the side wanted, so that its own scaling is not seen
)


@dataclass(frozen=True)
class Head:
    """What a header says of a picture: Pillow's mode, (W, H) in pixels as stored, and whether it has transparency."""

    mode: str
    size: tuple[int, int]
    transparent: bool


def head(path: str) -> Head | str:
    """Return what the header of ``path`` says; or, as a string, why it cannot be read."""
    try:
        with Image.open(path) as picture:
            return Head(picture.mode, picture.size, bool(picture.has_transparency_data))
    except Exception as error:
        return _reason(path, error)


def decode(path: str, side: int, grey: bool) -> np.ndarray | str:
    """Return the pixels (C, side, side) as uint8, C = 1 if ``grey``, else 3; or, as a string, why there are none."""
    try:
        with Image.open(path) as raw:
            raw.draft(None, (GAP * side, GAP * side))
            raw.load()
            picture = _plain(_upright(raw)).convert("L" if grey else "RGB")
    except Exception as error:
        return _reason(path, error)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.uint8)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))


def is_named_picture(path: str) -> bool:
    """Return whether the name of ``path`` claims that it is a picture."""
    return os.path.splitext(path)[1].lower() in Image.registered_extensions()  # noqa: PTH122


def _upright(picture: Any) -> Any:
    try:
        turned = picture.getexif().get(ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:  # the pixels are whole, what is broken is only what is said about them
        return picture


def _plain(picture: Any) -> Any:
    """Return ``picture`` as one that Pillow converts to grey or colour without loss of meaning."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _scaled(picture)
    if not picture.has_transparency_data:
        return picture
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture.convert("RGBA"))
    return white


def _scaled(picture: Any) -> Any:
    values = np.asarray(picture, np.float64)
    low, high = float(values.min()), float(values.max())
    ranges = RANGES.get(picture.mode, (65535.0,))
    top = next((top for top in ranges if high <= top), None)
    if top is None or not low >= 0:
        raise ValueError(f"pixels from {low:g} to {high:g}")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known format" if os.path.getsize(path) else "empty"  # noqa: PTH202
    said = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    return said[:80] or type(error).__name__
