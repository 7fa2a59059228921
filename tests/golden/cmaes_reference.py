"""What the package ``cmaes`` does with given samples, as JSON. Runs in an environment of its own.

    python -m venv cmaes && cmaes/bin/pip install cmaes==0.13.1 scipy
    cmaes/bin/python tests/golden/cmaes_reference.py > tests/golden/cmaes.json

``updates`` holds the points of each generation, best first, and the distribution after it. ``margins`` is the same with
two integers in 0, 1, ..., 4 and 0, 1 (CMA-ES with Margin). ``evaluations`` are those until a loss of 1e-8.
"""

import importlib.metadata
import itertools
import json

import numpy as np
from cmaes import CMA, CMAwM

GENERATIONS = 12


def ellipsoid(x):
    return sum(10 ** (6 * i / max(len(x) - 1, 1)) * v**2 for i, v in enumerate(x))


def sphere(x):
    return sum(v**2 for v in x)


def rosenbrock(x):
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


FUNCTIONS = {"sphere": sphere, "ellipsoid": ellipsoid, "rosenbrock": rosenbrock}


def state(cma):
    return {"mean": cma._mean.tolist(), "sigma": float(cma._sigma), "cov": cma._C.tolist()}


def updates(n):
    cma = CMA(mean=np.linspace(0.3, 0.6, n), sigma=0.4, seed=n)
    rows = []
    for _ in range(GENERATIONS):
        points = sorted((cma.ask() for _ in range(cma.population_size)), key=ellipsoid)
        cma.tell([(x.copy(), float(rank)) for rank, x in enumerate(points)])
        rows.append({"x": [x.tolist() for x in points], **state(cma)})
    return rows


def margins():
    bounds = np.array([[-10.0, 10.0], [-10.0, 10.0], [0.0, 4.0], [0.0, 1.0]])
    cma = CMAwM(
        mean=np.array([1.0, -1.0, 2.2, 0.4]),
        sigma=0.7,
        bounds=bounds,
        steps=np.array([0.0, 0.0, 1.0, 1.0]),
        seed=1,
    )
    rows = []
    for _ in range(4 * GENERATIONS):
        mean, scale = cma._cma._mean.copy(), cma._A.copy()
        found = sorted(
            (cma.ask() for _ in range(cma.population_size)), key=lambda p: sphere(p[0] - [0, 0, 3, 0])
        )
        cma.tell([(raw.copy(), float(rank)) for rank, (_, raw) in enumerate(found)])
        x = [(mean + (raw - mean) * scale).tolist() for _, raw in found]
        rows.append({"x": x, **state(cma._cma), "scale": cma._A.tolist()})
    return {"alpha": cma.margin, "rows": rows}


def evaluations(function, n, seed):
    cma = CMA(mean=np.full(n, 3.0) if function is not rosenbrock else np.zeros(n), sigma=1.0, seed=seed)
    count = 0
    while True:
        points = [cma.ask() for _ in range(cma.population_size)]
        losses = [function(x) for x in points]
        count += len(losses)
        if min(losses) < 1e-8 or count > 20_000:
            return count
        cma.tell(list(zip(points, losses, strict=True)))


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "cmaes": importlib.metadata.version("cmaes"),
                "updates": {n: updates(n) for n in (1, 2, 5, 10)},
                "margins": margins(),
                "evaluations": {
                    name: [evaluations(f, 5, seed) for seed in range(20)] for name, f in FUNCTIONS.items()
                },
            }
        )
    )
