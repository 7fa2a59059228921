"""Images of one's own that need no decoding: .npz files, arrays, torch data sets."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from estimators.split import SPLITS, Split

Parts = dict[str, Split | tuple[str, ...]]


def read_npz(path: Path) -> Parts:
    """Read ``x`` and ``y``, or ``x_train``, ``y_train`` and so on, from an ``.npz`` file; nothing is unpickled."""
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}; give an .npz with arrays x and y")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        cause = "objects, which are not unpickled" if "pickle" in str(error) else error
        raise ValueError(
            f"{str(path)!r} is no readable .npz ({cause}); write it with numpy.savez(path, x=..., y=...)"
        ) from None
    held, plain = sorted(arrays), {"x": "x_train", "y": "y_train"}
    arrays = {plain.get(key, key): value for key, value in arrays.items()}
    if "x_train" not in arrays or "y_train" not in arrays:
        raise ValueError(f"{str(path)!r} holds {held}; it needs x and y, or x_train and y_train")
    parts: dict[str, Split] = {}
    for name in SPLITS:
        pair = [key for key in (f"x_{name}", f"y_{name}") if key in arrays]
        if len(pair) == 1:
            raise ValueError(f"{str(path)!r} holds {pair[0]} alone; give x_{name} and y_{name}, or neither")
        if pair:
            parts[name] = as_split(arrays[f"x_{name}"], arrays[f"y_{name}"], f"{path.name}: {name}")
    _check_shapes(path.name, parts)
    return _with_classes({**parts})


def _check_shapes(name: str, parts: dict[str, Split]) -> None:
    """Refuse splits whose images differ in channels or side: none is resized behind the user's back."""
    wanted = parts["train"].x.shape[1:]
    for key, part in parts.items():
        if part.x.shape[1:] != wanted:
            raise ValueError(
                f"{name}: images of {key} have shape {part.x.shape[1:]}, those of train {wanted}; bring them to one"
            )


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
        least = f", least {y.min()}" if y.size and np.issubdtype(y.dtype, np.number) else ""
        raise ValueError(
            f"{where}: y is {y.dtype} of shape {y.shape}{least}; it must be (n,) integers from 0 on"
        )
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
        if 1 < x.max() < 2:
            raise ValueError(
                f"{where}: pixels reach {x.max():.4g}, neither [0, 1] nor [0, 255]; clip them to [0, 1] first"
            )
        x = np.rint(x * (255 if x.max() <= 1 else 1))
    if not np.issubdtype(x.dtype, np.number) or x.min() < 0 or x.max() > 255:
        raise ValueError(
            f"{where}: pixels are {x.dtype} from {x.min():.4g} to {x.max():.4g}; "
            "they must be bytes, or floats in [0, 1] or [0, 255]"
        )
    return Split(np.ascontiguousarray(x, np.uint8), y.astype(np.int64))
