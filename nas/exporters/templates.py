"""The texts of an export that are not the network itself."""

from collections.abc import Sequence

_HEAD = '''"""A trained image classifier in plain PyTorch. ``load()`` returns it; ``preprocess`` makes its input.

    import torch, model
    network = model.load()
    logits = network(model.preprocess(images))     # images: (n, {C}, {H}, {W}) uint8
"""

from pathlib import Path

'''

_CONSTANTS = '''
SHAPE = {shape!r}
MEAN = {mean!r}
STD = {std!r}
CLASSES = {classes!r}


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """Turn (n, C, H, W) uint8 images into the network's input."""
    mean, std = torch.tensor(MEAN).view(-1, 1, 1), torch.tensor(STD).view(-1, 1, 1)
    return (images.float() / 255 - mean) / std
'''

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

import torch
from PIL import Image

import model


def read(path: str) -> torch.Tensor:
    """Return a picture as (1, C, H, W) uint8 of the size and the channels the network takes."""
    channels, height, width = model.SHAPE
    picture = Image.open(path).convert("L" if channels == 1 else "RGB")
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
    network: str,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    shape: tuple[int, int, int],
) -> str:
    """Return ``model.py``: the source of the network with its constants, ``preprocess`` and ``load``."""
    imports = "import torch\nfrom torch import nn\n"
    assert network.startswith(imports)
    head = _head(shape) + "import torch\nfrom safetensors.torch import load_file\nfrom torch import nn\n"
    return (
        head + _constants(classes, mean, std, shape) + network.removeprefix(imports).rstrip() + "\n" + _LOAD
    )


def traced_text(
    *, classes: Sequence[str], mean: Sequence[float], std: Sequence[float], shape: tuple[int, int, int]
) -> str:
    """Return ``model.py`` of a design that has no graph."""
    return _head(shape) + "import torch\n" + _constants(classes, mean, std, shape) + _LOAD_TRACED


def _head(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return _HEAD.format(C=channels, H=height, W=width)


def _constants(
    classes: Sequence[str], mean: Sequence[float], std: Sequence[float], shape: tuple[int, int, int]
) -> str:
    values = {"shape": tuple(shape), "classes": tuple(classes)}
    return _CONSTANTS.format(mean=tuple(map(float, mean)), std=tuple(map(float, std)), **values)
