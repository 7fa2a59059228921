"""TaskSet (Metz et al. 2020): 12 text classifiers, each trained with the same 1,000 settings of Adam8p.

``taskset_adam8p.npz`` holds per task ``NAME_valid`` (1000, 51), the validation losses of the untrained network and
after each of 50 epochs, and ``hp`` (1000, 8), drawn log-uniformly (the betas by their distance to 1). An epoch, which
is a fiftieth of the training there, costs one simulated second.

A training has diverged once its loss is not finite, or above 3 times the median of the untrained networks.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from experiments.fidelity.task import Task
from experiments.record import ROOT
from search_spaces.space import Configuration, Float, Space

DATA = Path(os.environ.get("NAS_DATA", ROOT / "../shared/data")) / "taskset_adam8p.npz"
PREFIX, SUFFIX = "FixedTextRNNClassification_imdb_", "_valid"
DIVERGED = 3.0  # times the median loss of the untrained networks
FULLS = 20
RANGES = {  # appendix of Metz et al. 2020; the betas as 1 - beta
    "beta1": (1e-4, 1.0),
    "beta2": (1e-6, 1.0),
    "epsilon": (1e-10, 1e3),
    "exponential_decay": (1e-6, 1e-3),
    "l1": (1e-8, 10.0),
    "l2": (1e-8, 10.0),
    "learning_rate": (1e-8, 10.0),
    "linear_decay": (1e-7, 1e-4),
}


def adam_space() -> Space:
    """Return the eight settings, all logarithmic; ``beta1`` and ``beta2`` stand for their distance to 1."""
    return Space(**{name: Float(low, high, log=True) for name, (low, high) in RANGES.items()})


def settings_of(names: Sequence[str], table: np.ndarray) -> tuple[Configuration, ...]:
    """Return the rows of ``table`` (n, 8) as configurations; what rounding put out of a range is put on its bound."""
    values = table.astype(float)
    betas = [place for place, name in enumerate(names) if name.startswith("beta")]
    values[:, betas] = 1.0 - values[:, betas]
    low, high = np.array([RANGES[name] for name in names]).T
    rows = np.clip(values, low, high).tolist()
    return tuple(Configuration(dict(zip(names, row, strict=True))) for row in rows)


def until_diverged(losses: np.ndarray) -> np.ndarray:
    """Return ``losses`` (n, 1 + E) after epochs 1 to E, NaN from where each training has diverged."""
    bound = DIVERGED * np.nanmedian(losses[:, 0])
    failed = ~np.isfinite(losses) | (losses > bound)
    return np.where(np.logical_or.accumulate(failed, axis=1), np.nan, losses)[:, 1:]


def names() -> list[str]:
    """Return the short names of the tasks in the file, sorted."""
    with np.load(DATA) as data:
        found = [name for name in data.files if name.endswith(SUFFIX)]
    return sorted(name.removeprefix(PREFIX).removesuffix(SUFFIX) for name in found)


@cache
def read(name: str) -> Task:
    """Return the task of the short ``name``."""
    with np.load(DATA) as data:
        configs = settings_of([str(one) for one in data["hp_names"]], data["hp"])
        losses = until_diverged(data[f"{PREFIX}{name}{SUFFIX}"].astype(float))
    return Task(name, adam_space(), configs, losses, np.ones_like(losses), FULLS)
