"""Functions with known minima: three classical ones, one of mixed parameters, one of conditional ones."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from experiments.tables.table import Function
from search_spaces.space import Choice, Configuration, Float, Int, Space

# Hartmann-6 (Dixon and Szegö 1978, table 4)
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = np.array(
    [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ]
)
P = np.array(
    [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ]
)


def branin(config: Configuration) -> float:
    """Branin (Dixon and Szegö 1978): minimum 0.397887 at (-pi, 12.275), (pi, 2.275) and (9.42478, 2.475)."""
    x, y = config["x1"], config["x2"]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(config: Configuration) -> float:
    """Hartmann-6 (Dixon and Szegö 1978): minimum -3.322368."""
    x = np.array([config[f"x{i}"] for i in range(1, 7)])
    return -float(ALPHA @ np.exp(-(A * (x - P) ** 2).sum(1)))


def rosenbrock5(config: Configuration) -> float:
    """Rosenbrock's valley (1960) in five dimensions: minimum 0 at (1, ..., 1)."""
    x = np.array([config[f"x{i}"] for i in range(1, 6)])
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def mixed(config: Configuration) -> float:
    """A training in caricature, 8 mixed dimensions: minimum 0 at adam, gelu, lr 1e-3, 6 layers of 128.

    The best learning rate depends on the optimizer and on the depth, as it does in truth; each wrong option costs.
    """
    place = {"sgd": -1.0, "adam": -3.0, "rmsprop": -3.5}[config["optimizer"]]
    cost = {"sgd": 0.1, "adam": 0.0, "rmsprop": 0.15}[config["optimizer"]]
    cost += {"relu": 0.08, "gelu": 0.0, "tanh": 0.3, "sigmoid": 0.6}[config["activation"]]
    lr = math.log10(config["lr"]) - place + 0.1 * (config["layers"] - 6)
    size = math.log2(config["width"] / 128) + 0.3 * (config["layers"] - 6)
    cost += 0.3 * lr**2 + 0.05 * size**2 + 0.02 * (config["layers"] - 6) ** 2
    cost += 1.5 * (config["dropout"] - 0.2 - 0.02 * math.log2(config["width"] / 128)) ** 2
    cost += 0.02 * (math.log10(config["decay"]) + 4) ** 2 * (1 + abs(lr))
    return cost + 0.02 * (config["batch"] - 3) ** 2


def conditional(config: Configuration) -> float:
    """Three kinds of model with parameters of their own, 9 in all: minimum 0 in the one that is hardest to tune."""
    shared = 0.5 * (config["smooth"] - 0.3) ** 2
    match config["model"]:
        case "linear":
            return 0.3 + shared + 0.02 * (math.log10(config["model.linear.penalty"]) + 2) ** 2
        case "trees":
            depth, count = config["model.trees.depth"], math.log2(config["model.trees.count"])
            kind = 0.05 * (config["model.trees.criterion"] == "gini")
            return 0.15 + shared + kind + 0.01 * (depth - 8) ** 2 + 0.02 * (count - 8) ** 2
    lr = math.log10(config["model.network.lr"]) + 3
    width = math.log2(config["model.network.width"]) - 7
    if config["model.network.optimizer"] == "adam":
        return shared + 0.25 * lr**2 + 0.03 * (width + lr) ** 2
    momentum = config["model.network.optimizer.sgd.momentum"] - 0.9
    return 0.05 + shared + 0.2 * (lr - 2) ** 2 + 0.03 * width**2 + momentum**2


def _floats(count: int, low: float, high: float) -> Space:
    return Space(**{f"x{i}": Float(low, high) for i in range(1, count + 1)})


def mixed_space() -> Space:
    """Return the space of ``mixed``: three floats, three integers and ordered choices, two unordered choices."""
    return Space(
        lr=Float(1e-5, 1.0, log=True),
        decay=Float(1e-6, 1e-1, log=True),
        dropout=Float(0.0, 0.8),
        layers=Int(1, 12),
        width=Int(8, 1024, log=True),
        batch=Int(0, 6),
        optimizer=Choice(("sgd", "adam", "rmsprop")),
        activation=Choice(("relu", "gelu", "tanh", "sigmoid")),
    )


def conditional_space() -> Space:
    """Return the space of ``conditional``: choices open spaces, two deep."""
    network = Space(
        lr=Float(1e-6, 1.0, log=True),
        width=Int(8, 1024, log=True),
        optimizer=Choice({"adam": None, "sgd": Space(momentum=Float(0.0, 0.99))}),
    )
    trees = Space(depth=Int(1, 20), count=Int(8, 2048, log=True), criterion=Choice(("gini", "entropy")))
    linear = Space(penalty=Float(1e-6, 1e2, log=True))
    return Space(smooth=Float(0.0, 1.0), model=Choice({"linear": linear, "trees": trees, "network": network}))


MAKE: dict[str, Callable[[], tuple[Space, Callable[[Configuration], float], float]]] = {
    "branin": lambda: (Space(x1=Float(-5.0, 10.0), x2=Float(0.0, 15.0)), branin, 0.39788736),
    "hartmann6": lambda: (_floats(6, 0.0, 1.0), hartmann6, -3.32236801),
    "rosenbrock5": lambda: (_floats(5, -5.0, 10.0), rosenbrock5, 0.0),
    "mixed": lambda: (mixed_space(), mixed, 0.0),
    "conditional": lambda: (conditional_space(), conditional, 0.0),
}


@cache
def function(name: str) -> Function:
    """Return the function ``name`` as a table."""
    return Function(name, *MAKE[name]())
