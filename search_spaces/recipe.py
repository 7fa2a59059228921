"""The training half of the encoding: how a network is trained is searched together with what it is.

Two networks can swap ranks when the recipe changes (Dong et al. 2020, AutoHAS, table 1).
"""

from dataclasses import dataclass

from search_spaces.space import Choice, Configuration, Float, Space

AUGMENT = ("none", "flip", "crop", "flip-crop")
SCHEDULES = ("one-cycle", "cosine", "wsd", "step", "constant")


@dataclass(frozen=True)
class Recipe:
    """A recipe with typed fields. What its optimizer does not use keeps its neutral value.

    ``warmup`` is a share of the full training, ``ema`` the decay of the weight average or None, ``normalize``
    whether images are standardised per channel, ``patience`` in epochs or None.
    """

    optimizer: str
    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    alpha: float = 0.99
    batch_size: int = 64
    schedule: str = "one-cycle"
    warmup: float = 0.1
    label_smoothing: float = 0.0
    augment: str = "none"
    ema: float | None = None
    normalize: bool = True
    patience: int | None = None

    @classmethod
    def parse(cls, config: Configuration) -> "Recipe":
        """Read the recipe part of a configuration; what the space does not search keeps its default."""
        optimizer = str(config.get("optimizer", "adamw"))
        own = {path: value for path, value in config.items() if "." not in path} | dict(
            config.part(f"optimizer.{optimizer}")
        )
        if "beta1" in own or "beta2" in own:
            own["betas"] = (own.pop("beta1", 0.9), own.pop("beta2", 0.999))  # type: ignore[assignment]
        own.setdefault("lr", 2e-3)
        return cls(**{**own, "optimizer": optimizer})  # type: ignore[arg-type]


def image_shape(recipe: Configuration, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of images of ``shape`` under ``recipe``: smaller (``side``), grey (``colour``)."""
    channels, height, width = shape
    side = recipe.get("side")
    if side is not None:
        assert isinstance(side, int)
        shorter = min(height, width)
        height, width = round(height * side / shorter), round(width * side / shorter)
    return (1 if recipe.get("colour") == "grey" else channels), height, width


def recipe_space(shape: tuple[int, int, int], classes: int, images: int) -> Space:
    """Return the space of recipes for ``images`` training images of ``shape`` (C, H, W).

    Batch sizes follow the number of images; colour images are mirrored and moved by default, grey ones moved
    only, since many grey things (digits) have no mirror image.
    """
    small = images < 5_000
    sizes = (16, 32, 64, 128) if small else (32, 64, 128, 256)
    decay = Float(1e-6, 1e-1, log=True, default=1e-2)
    adam = Space(
        lr=Float(3e-4, 1e-2, log=True, default=4e-3),
        weight_decay=decay,
        beta1=Float(0.8, 0.95, default=0.9),
        beta2=Choice((0.95, 0.99, 0.999), ordered=True, default=0.99),
    )
    sgd = Space(
        lr=Float(1e-2, 0.5, log=True, default=0.1),
        weight_decay=Float(1e-6, 1e-2, log=True, default=5e-4),
        momentum=Float(0.8, 0.97, default=0.9),
        nesterov=Choice((True, False)),
    )
    rmsprop = Space(
        lr=Float(1e-4, 5e-3, log=True, default=1e-3),
        weight_decay=Float(1e-6, 1e-2, log=True, default=1e-5),
        alpha=Choice((0.9, 0.95, 0.99), ordered=True, default=0.95),
    )
    return Space(
        optimizer=Choice({"adamw": adam, "sgd": sgd, "adam": adam, "rmsprop": rmsprop}),
        batch_size=Choice(sizes, ordered=True, default=32 if small else 64),
        schedule=Choice(SCHEDULES),
        warmup=Float(0.0, 0.4, default=0.15),
        label_smoothing=Float(0.0, 0.2, default=0.05),
        augment=Choice(AUGMENT, default="flip-crop" if shape[0] == 3 else "crop"),
        ema=Choice((None, 0.98, 0.995), ordered=True),
        normalize=Choice((True, False)),
        patience=Choice((None, 5, 10)),
    )
