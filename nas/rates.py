"""The learning rates that the default design of a space learns at, by optimizer, beside the ranges searched."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from estimators.dataset import Dataset, save
from estimators.device import find_device
from estimators.lr_range import Rates, lr_range
from estimators.resident import resident
from search_spaces.architecture import SearchSpace
from search_spaces.space import Choice, Float, Space


@dataclass(frozen=True)
class Found:
    """The rates that a sweep found, and the range (low, high) that is searched; None where it is not."""

    rates: Rates
    searched: tuple[float, float] | None


def rates(search_space: SearchSpace, dataset: Dataset, device: str, *, seed: int = 0) -> Mapping[str, Found]:
    """Sweep the rate of the default design on ``dataset`` with each optimizer of the recipes, by name."""
    design = search_space.decode(search_space.space.default())
    where, found = find_device(device), dict[str, Found]()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        folder = Path(place) / "data"
        save(dataset, folder)
        data = resident(str(folder), str(where), design.shape)
        for name in _optimizers(search_space).options:
            assert isinstance(name, str)
            swept = lr_range(design, data, seed=seed, optimizer=name, device=where)
            found[name] = Found(swept, _searched(search_space, name))
    resident.cache_clear()  # what it holds lay in the folder that is gone
    return found


def _optimizers(search_space: SearchSpace) -> Choice:
    recipe = search_space.space.parts["recipe"]
    assert isinstance(recipe, Space)
    choice = recipe.parts["optimizer"]
    assert isinstance(choice, Choice)
    return choice


def _searched(search_space: SearchSpace, optimizer: str) -> tuple[float, float] | None:
    rate = _optimizers(search_space).spaces[optimizer].parts.get("lr")
    return (rate.low, rate.high) if isinstance(rate, Float) else None
