"""What a training step of a candidate on shared tensors costs, of the step of the same network by itself.

    python -m experiments.supernet_step.run [--quick] [--spaces chain,mobile,cell,residual]

Both steps are timed in turn, on one thread, in CPU seconds; the candidate's holds its making. ``--quick`` is two
designs a space and keeps nothing.
"""

import argparse
import time

import numpy as np
import torch

from estimators.device import keep_memory
from estimators.loop import Training
from estimators.mix import Labels
from estimators.preprocess import Standardise
from estimators.sharing.candidate import Candidate
from estimators.sharing.training import SharedTraining
from estimators.sharing.weights import SharedWeights
from experiments.record import Record
from search_spaces.architecture import Design, SearchSpace, family
from search_spaces.recipe import Recipe, recipe_space

COMMAND = "python -m experiments.supernet_step.run"
MEASURED = ("estimators/sharing", "estimators/loop.py", "search_spaces")
SPACES = ("chain", "mobile", "cell", "residual")
SHAPE, CLASSES, BATCH = (1, 28, 28), 10, 64
DESIGNS, REPEATS, MOST = 14, 9, 12e6  # multiply-accumulates of a design at most
BAR = 1.1


def designs(space: SearchSpace, count: int) -> list[Design]:
    """Return the first ``count`` random designs that images pass and that are not too large."""
    found: list[Design] = []
    seed = 0
    while len(found) < count:
        one = space.decode(space.space.sample(np.random.default_rng(seed)))
        seed += 1
        if one.graph is not None and one.graph.reached and 0 < one.macs <= MOST:
            found.append(one)
    return found


def ratios(name: str, count: int, repeats: int) -> list[float]:
    """Return, for each of ``count`` designs of the space ``name``, the median step on views over that without."""
    recipes = recipe_space(SHAPE, CLASSES, 6_000)
    space, recipe = SearchSpace(family(name, SHAPE, CLASSES), recipes), Recipe.parse(recipes.default())
    plain, shared = Standardise((0.0,), (1.0,)), SharedWeights()
    chosen = designs(space, count)
    for design in chosen:
        Candidate(design, shared)  # the tensors are as large as they will be
    training = SharedTraining(shared, recipe, plain)
    z = torch.randn(BATCH, *SHAPE).to(memory_format=torch.channels_last)
    labels = Labels(torch.randint(CLASSES, (BATCH,)))
    found = []
    for design in chosen:
        own = Training(design.network(0), recipe, plain, device=torch.device("cpu"), dtype=torch.float32)
        own.network.train()
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(repeats + 2):
            for kept, step in zip(
                times,
                (
                    lambda own=own: own.step(z, labels, 1.0),
                    lambda design=design: training.step(z, labels, 1.0, [design]),
                ),
                strict=True,
            ):
                began = time.process_time()
                step()
                if turn >= 2:  # the first ones make kernels
                    kept.append(time.process_time() - began)
        found.append(float(np.median(times[1]) / np.median(times[0])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--spaces", default=",".join(SPACES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    record = Record(__file__, *MEASURED)
    for name in options.spaces.split(","):
        found = ratios(name, 2 if options.quick else DESIGNS, 3 if options.quick else REPEATS)
        middle = float(np.median(found))
        spread = f"{min(found):.2f} to {max(found):.2f}"
        print(f"{name}: {middle:.3f} ({spread})", flush=True)
        if not options.quick:
            record.add(name, {"ratios": found})
            claim = f"{name}: a step on shared tensors over the network's own, median of {DESIGNS} designs"
            bar = f"<= {BAR}; {spread}"
            record.show(claim, middle, bar, middle <= BAR, seeds=[0], command=COMMAND)


if __name__ == "__main__":
    main()
