"""Pictures of every odd kind: what is read is what a person sees."""

import io

import numpy as np
import pytest
from PIL import Image

from estimators.pictures import Head, decode, head

SIDE = 12
COLOURS = np.array([[250, 20, 30], [10, 200, 40], [0, 30, 220], [90, 90, 90]], np.uint8)


def encoded(picture, kind="png", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def of_palette(index):
    picture = Image.frombytes("P", index.shape[::-1], index.astype(np.uint8).tobytes())
    picture.putpalette(COLOURS.tobytes())
    return picture


def alpha_of(index):
    return np.where(index == 0, 0, 255).astype(np.uint8)


def turned(rgb):
    """A JPEG as a camera held sideways stores it: rows and columns are exchanged, the tag says how."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(np.rot90(rgb)), "jpeg", quality=95, subsampling=0, exif=exif)


def animated(index):
    first, second = of_palette(index), of_palette(3 - index)
    return encoded(first, "gif", save_all=True, append_images=[second])


def colour_key(rgb):
    return encoded(Image.fromarray(rgb), "png", transparency=tuple(map(int, COLOURS[0])))


def odd_kinds(rgb, index, grey, alpha):
    """Return what encodes the same picture in every kind. ``index`` (H, W) in 0 to 3 chooses colours."""
    colour, wide = Image.fromarray(rgb), grey.astype(np.uint16) * 257
    return {
        "rgb.png": lambda: encoded(colour),
        "palette.png": lambda: encoded(of_palette(index)),
        "palette-clear.png": lambda: encoded(of_palette(index), transparency=0),
        "palette-clear.gif": lambda: encoded(of_palette(index), "gif", transparency=0),
        "animated.gif": lambda: animated(index),
        "rgba.png": lambda: encoded(Image.fromarray(np.dstack([rgb, alpha]))),
        "key.png": lambda: colour_key(rgb),
        "cmyk.tif": lambda: encoded(colour.convert("CMYK"), "tiff"),
        "cmyk.jpg": lambda: encoded(colour.convert("CMYK"), "jpeg", quality=95, subsampling=0),
        "really-a-bmp.jpg": lambda: encoded(colour, "bmp"),
        "no-ending": lambda: encoded(colour, "tiff", compression="tiff_lzw"),
        "turned.jpg": lambda: turned(rgb),
        "grey.png": lambda: encoded(Image.fromarray(grey)),
        "la.png": lambda: encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])),
        "1bit.png": lambda: encoded(Image.fromarray(grey > 99)),
        "16bit.png": lambda: encoded(Image.fromarray(wide)),
        "16bit.tif": lambda: encoded(Image.fromarray(wide), "tiff"),
        "32bit.tif": lambda: encoded(Image.fromarray(wide.astype(np.int32)), "tiff"),
        "unit.tif": lambda: encoded(Image.fromarray((grey / 255).astype(np.float32)), "tiff"),
        "bytes-as-floats.tif": lambda: encoded(Image.fromarray(grey.astype(np.float32)), "tiff"),
    }


def broken_kinds(rgb):
    """Return files that are called pictures and are none: name -> bytes."""
    whole = Image.fromarray(rgb)
    files = {f"half.{kind}": encoded(whole, kind) for kind in ("png", "jpeg", "bmp", "tiff")}
    return {
        **{name: content[: len(content) // 2] for name, content in files.items()},
        "empty.png": b"",
        "text.jpg": b"not a picture",
        "nan.tif": encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "tiff"),
        "negative.tif": encoded(Image.fromarray(np.full((9, 9), -7, np.float32)), "tiff"),
    }


def example():
    rng = np.random.default_rng(0)
    index = np.kron(rng.integers(0, 4, (SIDE // 4, SIDE // 4)), np.ones((4, 4), int))
    grey = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    return COLOURS[index], index, grey, alpha_of(index)


RGB, INDEX, GREYS, ALPHA = example()
ON_WHITE = np.where(ALPHA[..., None] > 0, RGB, 255)
EXPECTED = {
    **dict.fromkeys(["palette-clear.png", "palette-clear.gif", "rgba.png", "key.png"], ON_WHITE),
    **dict.fromkeys(["grey.png", "16bit.png", "16bit.tif", "32bit.tif"], GREYS),
    **dict.fromkeys(["unit.tif", "bytes-as-floats.tif"], GREYS),
    "la.png": np.where(ALPHA > 0, GREYS, 255),
    "1bit.png": np.where(GREYS > 99, 255, 0),
}


@pytest.mark.parametrize("name", odd_kinds(RGB, INDEX, GREYS, ALPHA))
def test_every_odd_kind_is_read_as_a_person_sees_it(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(odd_kinds(RGB, INDEX, GREYS, ALPHA)[name]())
    expected = EXPECTED.get(name, RGB)
    if expected.ndim == 2:
        assert np.array_equal(decode(str(path), SIDE, True)[0], expected)
        expected = np.dstack([expected] * 3)
    found = decode(str(path), SIDE, False).transpose(1, 2, 0).astype(int)
    loss = 40 if path.suffix == ".jpg" and "bmp" not in name else 0
    assert np.abs(found - expected).max() <= loss and np.abs(found - expected).mean() <= loss / 5


@pytest.mark.parametrize("name", broken_kinds(RGB))
def test_broken_files_come_with_a_reason(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(
        broken_kinds(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))[name]
    )
    reason = decode(str(path), SIDE, False)
    assert isinstance(reason, str) and reason and str(tmp_path) not in reason


def test_a_header_is_read_without_the_pixels(tmp_path):
    content = odd_kinds(RGB, INDEX, GREYS, ALPHA)["rgba.png"]()
    (tmp_path / "cut.png").write_bytes(content[:60])
    assert head(str(tmp_path / "cut.png")) == Head("RGBA", (SIDE, SIDE), True)
    assert head(str(tmp_path / "none.png")) != head(str(tmp_path / "cut.png"))


def test_a_large_jpeg_decoded_small_looks_like_one_decoded_whole(tmp_path):
    rows = np.linspace(0, 12, 1200)
    waves = np.sin(rows)[:, None, None] * np.cos(rows * np.array([[1.0], [0.7], [1.3]])).T
    photo = Image.fromarray((127.5 + 127 * waves).astype(np.uint8))
    photo.save(tmp_path / "photo.jpg", quality=90)
    with Image.open(tmp_path / "photo.jpg") as whole:
        reference = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR), int)
    found = decode(str(tmp_path / "photo.jpg"), 32, False).transpose(1, 2, 0)
    assert np.abs(found - reference).mean() < 1 and np.abs(found - reference).max() < 6
