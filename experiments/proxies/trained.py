"""Proxies on designs of a searched space that were trained: all with the default recipe, so that networks alone differ.

Half of the designs are random, half have multiply-accumulates within 10 % of the middle of the space: there, nothing
that only counts them can rank.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from estimators.dataset import load, open_saved, save
from estimators.estimator import Context, Fidelity
from estimators.split import Split
from estimators.train import TrainEstimator
from nas.draws import draw
from nas.executor import cores
from nas.joint import joint_space
from nas.warm_start import with_default_recipe
from search_spaces.architecture import Design

BAND = 0.1  # of the middle, to both sides
SAMPLE = 200  # draws whose median is the middle
MOST = 2  # times the default's multiply-accumulates: beyond it a design is not trained
IMAGES, JUDGED, EPOCHS, SEED = 4_000, 2_000, 5, 0


def saved(folder: Path) -> Path:
    """Save Fashion-MNIST with the first ``JUDGED`` of its validation images into ``folder``."""
    whole = load("fashion-mnist", seed=SEED)
    val = Split(whole.val.x[:JUDGED], whole.val.y[:JUDGED])
    return save(replace(whole, val=val, saved_in=None), folder)


def designs(name: str, data: Path, number: int) -> Iterator[tuple[str, Design]]:
    """Yield ``number`` different networks of the space ``name`` with what they are: "random" or "band"."""
    space = joint_space(open_saved(data), name)
    limit = MOST * space.measure(space.space.default())["macs"]
    sample = [one for i in range(SAMPLE) if (one := _design(space, i)) is not None and one.macs <= limit]
    middle = float(np.median([one.macs for one in sample]))
    met: set[str] = set()
    for kind, low, high in (("random", 0.0, limit), ("band", (1 - BAND) * middle, (1 + BAND) * middle)):
        found = 0
        for i in count():
            one = _design(space, i)
            if one is not None and low <= one.macs <= high and one.key not in met:
                met.add(one.key)
                found += 1
                yield kind, one
            if found == number // 2:
                break


def _design(space, number: int) -> Design | None:
    drawn = draw(space, number, SEED)
    if isinstance(drawn, str):
        return None
    try:
        one = space.decode(with_default_recipe(space, drawn.design.config))
        return one if one.macs else None
    except ValueError:  # the default recipe's images are too small for it
        return None


def accuracy_of(design: Design, data: Path, *, images: int, epochs: int) -> dict:
    """Train ``design`` on ``images`` of the saved ones; return its validation accuracy and the seconds."""
    share = min(1.0, images / len(open_saved(data).train))
    with TemporaryDirectory(prefix="nas-") as scratch:
        context = Context(seed=SEED, scratch=Path(scratch), epochs=epochs, horizon=epochs, threads=cores())
        result = TrainEstimator(data).evaluate(design, Fidelity(epochs, share), context)
    assert result.error is None, result.error
    return {"accuracy": result.metrics["accuracy"], "seconds": result.seconds}
