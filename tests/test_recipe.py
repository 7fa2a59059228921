"""What a recipe offers, when, and how it is read."""

from pathlib import Path

import numpy as np
import pytest

from estimators.dataset import Dataset, save
from estimators.split import Split
from nas.folder import OWN, Folder, Settings
from nas.front import _search_space
from search_spaces.recipe import NORMALIZE, Recipe, image_shape, recipe_space
from search_spaces.space import Configuration, Int, Space

COLOUR = (3, 32, 48)


def test_the_default_recipe_uses_nothing_unusual() -> None:
    default = recipe_space(COLOUR, 10, 50_000, imbalance=3.0).default()
    recipe = Recipe.parse(default)
    neutral = (recipe.mix, recipe.erase, recipe.clip, recipe.normalize, recipe.colour, recipe.balance)
    assert neutral == ("none", 0.0, 0.0, "data", "as is", False)
    assert recipe.optimizer == "adamw" and recipe.lr == 4e-3 and recipe.augment == "flip-crop"
    assert image_shape(default, COLOUR) == COLOUR


@pytest.mark.parametrize(
    ("shape", "sides", "colour"),
    [
        (COLOUR, (16, 24, 32), True),
        ((1, 28, 28), None, False),
        ((3, 8, 8), None, True),
        ((1, 224, 250), (112, 168, 224), False),
        ((3, 33, 33), (16, 24, 33), True),
    ],
)
def test_sides_and_colours_follow_the_images(
    shape: tuple[int, int, int], sides: object, colour: bool
) -> None:
    parts = recipe_space(shape, 10, 1_000).parts
    assert getattr(parts.get("side"), "options", None) == sides and ("colour" in parts) == colour
    fixed = recipe_space(shape, 10, 1_000, fixed_shape=True)
    assert not {"side", "colour"} & set(fixed.parts)
    rng = np.random.default_rng(0)
    assert all(image_shape(fixed.sample(rng), shape) == shape for _ in range(20))


def test_shapes_of_sampled_recipes() -> None:
    space, rng = recipe_space(COLOUR, 10, 1_000), np.random.default_rng(0)
    shapes = {image_shape(space.sample(rng), COLOUR) for _ in range(100)}
    assert shapes == {(c, side, side * 3 // 2) for c in (1, 3) for side in (16, 24, 32)}


def test_balance_is_offered_to_unequal_classes_only() -> None:
    assert "balance" not in recipe_space(COLOUR, 10, 1_000, imbalance=1.5).parts
    assert "balance" in recipe_space(COLOUR, 10, 1_000, imbalance=1.6).parts


def test_every_part_reaches_its_field() -> None:
    space, rng = recipe_space(COLOUR, 10, 1_000, imbalance=2.0), np.random.default_rng(0)
    mixes = set()
    for _ in range(60):
        config = space.sample(rng)
        recipe = Recipe.parse(config)
        for name in space.parts:
            assert getattr(recipe, name) == config[name]
        mixes.add(recipe.mix)
        if recipe.mix != "none":
            assert recipe.mix_alpha == config[f"mix.{recipe.mix}.alpha"]
        if recipe.optimizer == "rmsprop":
            assert recipe.alpha == config["optimizer.rmsprop.alpha"]
    assert mixes == {"none", "mixup", "cutmix"}


@pytest.mark.parametrize(("old", "new"), [(True, "data"), (False, "none")])
def test_configurations_of_before_are_read(old: bool, new: str) -> None:
    config = Configuration(
        {"optimizer": "sgd", "optimizer.sgd.lr": 0.1, "optimizer.sgd.momentum": 0.9, "normalize": old}
    )
    recipe = Recipe.parse(config)
    assert recipe.normalize == new in NORMALIZE and recipe.lr == 0.1
    assert (recipe.mix, recipe.erase, recipe.clip, recipe.side) == ("none", 0.0, 0.0, None)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("counts", [(20, 20), (30, 10)])
def test_a_search_offers_what_its_data_and_its_space_allow(
    tmp_path: Path, counts: tuple[int, int], own: bool
) -> None:
    folder = Folder(tmp_path)
    y = np.repeat([0, 1], counts)
    split = Split(np.zeros((40, *COLOUR), np.uint8), y)
    save(Dataset("data", split, split, split, ("a", "b")), folder.data)
    settings = Settings.parse({"data": "data", "trials": 1, "space": OWN if own else "chain"})
    mine = (Space(units=Int(1, 2)), lambda config: None) if own else None
    recipe = _search_space(settings, folder, mine).space.parts["recipe"]  # type: ignore[arg-type]
    assert isinstance(recipe, Space)
    assert ("balance" in recipe.parts) == (counts == (30, 10))
    assert ("side" in recipe.parts) == ("colour" in recipe.parts) == (not own)
