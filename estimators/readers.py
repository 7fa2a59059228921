"""Images of one's own: folders of class folders, .npz files, arrays, torch data sets."""

import warnings
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from estimators.split import Split

NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
MOST_BROKEN = 0.1  # share of unreadable files above which a folder is refused
SIDE = 64  # pixels a folder's pictures are brought to at most, unless told otherwise

Parts = dict[str, Split | tuple[str, ...]]


def read_folder(folder: Path, side: int | None = None) -> tuple[Parts, list[str]]:
    """Read class folders below ``folder``, or below its train, val and test folders.

    All pictures are brought to one square side: ``side``, or the median of the shorter sides, 64 at most. They
    are grey when every picture is.
    """
    split_folders = _split_folders(folder)
    base = split_folders.get("train", folder)
    classes = tuple(sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not classes:
        loose = sum(p.is_file() for p in base.iterdir())
        raise ValueError(
            f"{str(base)!r} holds no class folders ({loose} files); put each class into a folder of its own"
        )
    files = {name: _files(where, classes) for name, where in (split_folders or {"train": folder}).items()}
    paths = [path for rows in files.values() for path, _ in rows]
    if not paths:
        raise ValueError(
            f"the class folders of {str(base)!r} are empty; put the pictures of each class there"
        )
    with ThreadPoolExecutor() as pool:
        pictures = dict(zip(paths, pool.map(_open, paths), strict=True))
        broken = [path for path, picture in pictures.items() if isinstance(picture, str)]
        notes = _report_broken(folder, broken, len(paths))
        good = [picture for picture in pictures.values() if not isinstance(picture, str)]
        side = side or min(SIDE, int(np.median([min(picture.size) for picture in good])))
        grey = all(picture.mode == "L" for picture in good)
        sizes = {picture.size for picture in good}
        if sizes != {(side, side)}:
            notes.append(f"pictures of {len(sizes)} size(s) resized to {side}x{side}")
        parts: Parts = {"classes": classes}
        for name, rows in files.items():
            kept = [(path, label) for path, label in rows if not isinstance(pictures[path], str)]
            arrays = list(pool.map(lambda row: _array(pictures[row[0]], side, grey), kept))
            if arrays:
                parts[name] = Split(np.stack(arrays), np.array([label for _, label in kept], np.int64))
    return parts, notes


def _split_folders(folder: Path) -> dict[str, Path]:
    found = {}
    for name, spellings in NAMES.items():
        for spelling in spellings:
            if (folder / spelling).is_dir():
                found[name] = folder / spelling
    return found if "train" in found else {}


def _files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    strange = sorted(
        p.name for p in folder.iterdir() if p.is_dir() and p.name not in classes and p.name[0] != "."
    )
    if strange:
        raise ValueError(
            f"{str(folder)!r} has class {strange[0]!r}, which the training folder lacks; add or remove it"
        )
    return [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]


def _open(path: Path) -> Any:
    """Return the picture, upright, grey (L) or colour (RGB); or, as a string, why it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as raw:
                picture = ImageOps.exif_transpose(raw)
                picture.load()
        if picture.mode.startswith("I") or picture.mode == "F":
            values = np.asarray(picture, np.float64)
            top = 65535.0 if picture.mode.startswith("I") else max(float(values.max()), 1e-12)
            return Image.fromarray(np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8))
        if picture.mode in ("L", "1", "LA"):
            return picture.convert("L")
        return picture.convert("RGBA").convert("RGB") if picture.mode == "P" else picture.convert("RGB")
    except Exception as error:
        return " ".join(str(error).split())[:80] or type(error).__name__


def _array(picture: Any, side: int, grey: bool) -> np.ndarray:
    from PIL import Image

    picture = picture if grey else picture.convert("RGB")
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.uint8)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))


def _report_broken(folder: Path, broken: list[Path], total: int) -> list[str]:
    if not broken:
        return []
    named = ", ".join(str(path.relative_to(folder)) for path in broken[:5])
    if len(broken) > MOST_BROKEN * total:
        raise ValueError(
            f"{len(broken)} of {total} files in {str(folder)!r} are no readable pictures ({named}); "
            f"at most {MOST_BROKEN:.0%} may be: remove or repair them"
        )
    return [f"{len(broken)} of {total} files are no readable pictures and left out: {named}"]


def read_npz(path: Path) -> Parts:
    """Read ``x`` and ``y``, or ``x_train``, ``y_train`` and so on, from an ``.npz`` file; nothing is unpickled."""
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}; give an .npz with arrays x and y")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r} is no readable .npz ({error}); write it with numpy.savez(path, x=..., y=...)"
        ) from None
    plain = {"x": "x_train", "y": "y_train"}
    arrays = {plain.get(key, key): value for key, value in arrays.items()}
    if "x_train" not in arrays or "y_train" not in arrays:
        raise ValueError(f"{str(path)!r} holds {sorted(arrays)}; it needs x and y, or x_train and y_train")
    parts: Parts = {}
    for name in NAMES:
        if f"x_{name}" in arrays and f"y_{name}" in arrays:
            parts[name] = as_split(arrays[f"x_{name}"], arrays[f"y_{name}"], f"{path.name}: {name}")
    return _with_classes(parts)


def read_objects(data: Any) -> Parts:
    """Read a pair of arrays, or anything with ``len`` and ``[i] -> (image, label)``."""
    if isinstance(data, tuple | list) and len(data) == 2 and hasattr(data[0], "shape"):
        return _with_classes({"train": as_split(np.asarray(data[0]), np.asarray(data[1]), "data")})
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ValueError(
            f"data is a {type(data).__name__}; give a name, a folder, an .npz, (x, y), or a torch data set"
        )
    pairs = [data[i] for i in range(len(data))]
    images = [np.asarray(image) for image, _ in pairs]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise ValueError(
            f"the images have {len(shapes)} shapes, such as {sorted(shapes)[:2]}; resize them to one"
        )
    labels = np.asarray([int(label) for _, label in pairs])
    return _with_classes({"train": as_split(np.stack(images), labels, "data")})


def _with_classes(parts: Parts) -> Parts:
    top = max(int(part.y.max()) for part in parts.values() if isinstance(part, Split))
    return {**parts, "classes": tuple(map(str, range(top + 1)))}


def as_split(x: np.ndarray, y: np.ndarray, where: str) -> Split:
    """Check arrays and turn them into a ``Split``: (n, H, W), (n, H, W, C) or (n, C, H, W), bytes or floats."""
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(y) == 0 or y.min() < 0:
        raise ValueError(f"{where}: y is {y.dtype} of shape {y.shape}; it must be (n,) integers from 0 on")
    if len(x) != len(y):
        raise ValueError(f"{where}: {len(x)} images and {len(y)} labels; give one label per image")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < 4:
        raise ValueError(
            f"{where}: x has shape {x.shape}; it must be (n, H, W), (n, H, W, C) or (n, C, H, W) "
            "with 1 or 3 channels and at least 4x4 pixels"
        )
    if np.issubdtype(x.dtype, np.floating):
        if not np.isfinite(x).all():
            raise ValueError(f"{where}: x holds NaN or infinite pixels; remove those images")
        x = np.rint(x * (255 if x.max() <= 1 else 1))
    if not np.issubdtype(x.dtype, np.number) or x.min() < 0 or x.max() > 255:
        raise ValueError(
            f"{where}: pixels are {x.dtype}; they must be bytes, or floats in [0, 1] or [0, 255]"
        )
    return Split(np.ascontiguousarray(x, np.uint8), y.astype(np.int64))
