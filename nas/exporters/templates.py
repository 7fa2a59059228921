"""The texts of an export that are not the network itself."""

from collections.abc import Sequence

from estimators.preprocess import GREY, Standardise

Shape = tuple[int, int, int]

_HEAD = '''"""A trained image classifier in plain PyTorch. ``load()`` returns it; ``preprocess`` makes its input.

    import torch, model
    network = model.load()
    logits = network(model.preprocess(images))     # images: (n, {channels}, height, width) uint8
"""

from pathlib import Path

'''

_CONSTANTS = '''
IMAGE = {image!r}  # channels, height and width of the data set's images
SHAPE = {shape!r}  # of the network's input
{scale}CLASSES = {classes!r}


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """Turn (n, {channels}, height, width) uint8 images of any size into the network's input."""
{grey}    x = images.float()
    if x.shape[2:] != SHAPE[1:]:
        x = torch.nn.functional.interpolate(x, SHAPE[1:], mode="bilinear", antialias=True).round().clamp(0, 255)
{standardise}'''

_GREY = """    red, green, blue = images.int().split(1, 1)
    images = ({} * red + {} * green + {} * blue + 32768) >> 16
"""

_PER_CHANNEL = """    mean, std = (torch.tensor(value, device=x.device).view(-1, 1, 1) for value in (MEAN, STD))
    return (x / 255 - mean) / std
"""

_PER_IMAGE = """    std, mean = torch.std_mean(x, (1, 2, 3), correction=0, keepdim=True)
    return (x - mean) / std.clamp(min=x[0].numel() ** -0.5)
"""

_LOAD = '''

def load(folder: str | Path = Path(__file__).parent) -> Model:
    """Return the trained network in evaluation mode."""
    model = Model()
    model.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return model.eval()
'''

_LOAD_TRACED = '''

def load(folder: str | Path = Path(__file__).parent) -> torch.nn.Module:
    """Return the trained network (traced, in evaluation mode)."""
    return torch.export.load(Path(folder) / "model.pt2").module()
'''

PREDICT = '''"""Classify picture files: python predict.py IMAGE ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image, ImageOps

import model


def plain(picture: Image.Image) -> Image.Image:
    """Return deep grey pictures as bytes, and transparent ones laid on white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        tops = {"F": (1.0, 255.0, 65535.0), "I": (65535.0, 2.0**31 - 1)}.get(picture.mode, (65535.0,))
        top = next((top for top in tops if values.max() <= top), None)
        if top is None or values.min() < 0:
            raise ValueError(f"pixels from {values.min():g} to {values.max():g}")
        return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture.convert("RGBA"))
    return white


def read(path: str) -> torch.Tensor:
    """Return a picture as (1, C, H, W) uint8: upright, on white, of the size and the channels of the data set."""
    channels, height, width = model.IMAGE
    with Image.open(path) as raw:
        picture = plain(ImageOps.exif_transpose(raw)).convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(1, height, width, -1).permute(0, 3, 1, 2)


def main() -> int:
    if len(sys.argv) < 2:
        print("usage: python predict.py IMAGE ...", file=sys.stderr)
        return 2
    network, failures = model.load(), 0
    for path in sys.argv[1:]:
        try:
            image = read(path)
        except (OSError, ValueError) as error:
            print(f"{path}: not a readable picture ({error})", file=sys.stderr)
            failures += 1
            continue
        with torch.inference_mode():
            probabilities = network(model.preprocess(image)).softmax(1)[0]
        best = int(probabilities.argmax())
        print(f"{path}: {model.CLASSES[best]} ({probabilities[best]:.1%})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
'''

README = """# A trained image classifier

{classes} classes; plain PyTorch, nothing else is needed: `pip install -r requirements.txt`.

```console
python predict.py picture.png
```

```python
import model                                   # from this folder
network = model.load()                         # torch.nn.Module in evaluation mode
logits = network(model.preprocess(images))     # images: (n, C, H, W) uint8
```

`weights.safetensors` holds the weights, `recipe.json` how they came about, `check.safetensors` some images with the
logits they must give.

{about}
"""


def module_text(
    network: str, *, classes: Sequence[str], image: Shape, shape: Shape, standardise: Standardise
) -> str:
    """Return ``model.py``: the source of the network with its constants, ``preprocess`` and ``load``.

    ``image`` is the shape (C, H, W) of the data set's images, ``shape`` that of the network's input.
    """
    imports = "import torch\nfrom torch import nn\n"
    assert network.startswith(imports)
    head = _head(image) + "import torch\nfrom safetensors.torch import load_file\nfrom torch import nn\n"
    constants = _constants(classes, image, shape, standardise)
    return head + constants + network.removeprefix(imports).rstrip() + "\n" + _LOAD


def traced_text(*, classes: Sequence[str], image: Shape, shape: Shape, standardise: Standardise) -> str:
    """Return ``model.py`` of a design that has no graph."""
    return _head(image) + "import torch\n" + _constants(classes, image, shape, standardise) + _LOAD_TRACED


def _head(image: Shape) -> str:
    return _HEAD.format(channels=image[0])


def _constants(classes: Sequence[str], image: Shape, shape: Shape, standardise: Standardise) -> str:
    mean, std = (tuple(map(float, values)) for values in (standardise.mean, standardise.std))
    return _CONSTANTS.format(
        channels=image[0],
        image=tuple(image),
        shape=tuple(shape),
        scale="" if standardise.per_image else f"MEAN = {mean!r}\nSTD = {std!r}\n",
        classes=tuple(classes),
        grey=_GREY.format(*GREY) if image[0] != shape[0] else "",
        standardise=_PER_IMAGE if standardise.per_image else _PER_CHANNEL,
    )
