"""The training half of the encoding: how a network is trained is searched together with what it is.

Two networks can swap ranks when the recipe changes (Dong et al. 2020, AutoHAS, table 1).
"""

from dataclasses import dataclass

from search_spaces.space import Choice, Configuration, Float, Parameter, Space

AUGMENT = ("none", "flip", "crop", "flip-crop", "trivial")
MIXES = ("none", "mixup", "cutmix")
NORMALIZE = ("data", "image", "half", "none")
SCHEDULES = ("one-cycle", "cosine", "wsd", "step", "constant")
LEAST_SIDE = 32  # images smaller than this are not made smaller still
IMBALANCED = 1.5  # largest class over smallest: beyond it a balanced loss is offered


@dataclass(frozen=True)
class Recipe:
    """A recipe with typed fields. What its optimizer does not use keeps its neutral value.

    ``warmup`` is a share of the full training, ``clip`` the largest norm of the gradient (0: any), ``erase`` the
    probability that a rectangle of an image is erased, ``mix`` one of ``MIXES`` with the parameter ``mix_alpha`` of its
    Beta distribution, ``ema`` the decay of the weight average or None, ``patience`` in epochs or None. Images are
    brought to ``side`` pixels (the shorter one; None: as they are), made "grey" or left "as is" by ``colour``, and
    ``normalize`` is one of: per channel by the data's mean and deviation ("data"), by those of each image ("image"), to
    [-1, 1] ("half"), to [0, 1] ("none"). ``balance`` weighs classes by the inverse of their frequency.
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
    mix: str = "none"
    mix_alpha: float = 1.0
    erase: float = 0.0
    clip: float = 0.0
    ema: float | None = None
    normalize: str = "data"
    side: int | None = None
    colour: str = "as is"
    balance: bool = False
    patience: int | None = None

    @property
    def moments(self) -> int:
        """How many values the optimizer keeps for each weight."""
        return {"sgd": 0, "rmsprop": 1}.get(self.optimizer, 2) + (self.momentum > 0)

    @classmethod
    def parse(cls, config: Configuration) -> "Recipe":
        """Read the recipe part of a configuration; what the space does not search keeps its default.

        ``normalize`` was once True or False, for "data" and "none": such configurations are still read.
        """
        optimizer = str(config.get("optimizer", "adamw"))
        own = {path: value for path, value in config.items() if "." not in path} | dict(
            config.part(f"optimizer.{optimizer}")
        )
        if "beta1" in own or "beta2" in own:
            own["betas"] = (own.pop("beta1", 0.9), own.pop("beta2", 0.999))  # type: ignore[assignment]
        if (alpha := config.get(f"mix.{own.get('mix')}.alpha")) is not None:
            own["mix_alpha"] = alpha
        if isinstance(own.get("normalize"), bool):
            own["normalize"] = "data" if own["normalize"] else "none"
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


def recipe_space(
    shape: tuple[int, int, int],
    classes: int,
    images: int,
    *,
    imbalance: float = 1.0,
    fixed_shape: bool = False,
) -> Space:
    """Return the space of recipes for ``images`` training images of ``shape`` (C, H, W).

    Batch sizes follow the number of images; colour images are mirrored and moved by default, grey ones moved
    only, since many grey things (digits) have no mirror image. Mixing and erasing pay in long trainings alone: they are
    drawn less often. ``imbalance`` is the size of the largest class over that
    of the smallest. With ``fixed_shape`` nothing is searched that changes the shape of the network's input.
    """
    small = images < 5_000
    sizes = (16, 32, 64, 128) if small else (32, 64, 128, 256)
    parts: dict[str, Parameter | Space] = {
        "optimizer": Choice(_optimizers()),
        "batch_size": Choice(sizes, ordered=True, default=32 if small else 64),
        "schedule": Choice(SCHEDULES),
        "warmup": Float(0.0, 0.4, default=0.15),
        "clip": Choice((0.0, 5.0, 1.0), ordered=True, default=0.0),
        "label_smoothing": Float(0.0, 0.2, default=0.05),
        "augment": Choice(AUGMENT, default="flip-crop" if shape[0] == 3 else "crop"),
        "mix": Choice(_mixes(), weights=(4, 1, 1)),
        "erase": Choice((0.0, 0.1, 0.25), ordered=True, weights=(4, 1, 1), default=0.0),
        "ema": Choice((None, 0.98, 0.995), ordered=True),
        "normalize": Choice(NORMALIZE),
        "patience": Choice((None, 5, 10)),
    }
    if imbalance > IMBALANCED:
        parts["balance"] = Choice((False, True))
    if not fixed_shape:
        parts |= _input_parts(shape)
    return Space(constraints=(), **parts)


def _optimizers() -> dict[str, Space | None]:
    adam = Space(
        lr=Float(3e-4, 1e-2, log=True, default=4e-3),
        weight_decay=Float(1e-6, 1e-1, log=True, default=1e-2),
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
    return {"adamw": adam, "sgd": sgd, "adam": adam, "rmsprop": rmsprop}


def _mixes() -> dict[str, Space | None]:
    """The range of mixup is that of Zhang et al. (2018, section 3.1); cutmix is uniform in the paper (section 4.1)."""
    return {
        "none": None,
        "mixup": Space(alpha=Float(0.1, 0.4, default=0.2)),
        "cutmix": Space(alpha=Float(0.5, 1.0, default=1.0)),
    }


def _input_parts(shape: tuple[int, int, int]) -> dict[str, Parameter | Space]:
    """Return the parameters that change the shape of images: a side of a half or three quarters, no colours."""
    parts: dict[str, Parameter | Space] = {}
    shorter = min(shape[1:])
    if shorter >= LEAST_SIDE:
        smaller = (4 * round(shorter * share / 4) for share in (0.5, 0.75))
        parts["side"] = Choice((*smaller, shorter), ordered=True, default=shorter)
    if shape[0] == 3:
        parts["colour"] = Choice(("as is", "grey"))
    return parts
