"""Score a design by zero-cost proxies: one batch of its training images through its untrained network.

The batch holds the classes in their proportions and is the same for every design of a seed; so are the draws of the
weights for equal networks. The images are standardised as the design's recipe would have them, without augmentation.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from estimators.device import MEMORY_FORMAT, find_device, keep_memory, kernels, synchronize
from estimators.estimator import Context, Estimator, Fidelity, Result
from estimators.proxy import Unscored, proxies
from estimators.resident import Resident, resident, stratified_order
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design

WEIGHTS, BATCH, DRAWS = 111, 112, 113  # purposes of counted randomness


@dataclass(frozen=True)
class Scored:
    """What a proxy says: ``value``, the higher the better, or None with the reason ``why``; the ``seconds`` it took."""

    value: float | None
    seconds: float
    why: str = ""


def score(
    design: "Design",
    names: Sequence[str],
    data: Path | str,
    *,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "cpu",
) -> dict[str, Scored]:
    """Return what each of the proxies ``names`` says of ``design`` on the data set saved in the folder ``data``.

    The same design, data, seed and device give the same values on a CPU. Fewer images than ``batch_size`` are taken
    all. A ``ValueError`` names an unknown proxy, or a batch size below 2.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size={batch_size}: proxies compare images; give at least 2")
    functions = {name: proxies.get(name) for name in names}
    where = find_device(device)
    images, labels = batch(resident(str(data), str(where), design.shape), design, seed, batch_size)
    images, labels = images.to(where), labels.to(where)
    network = design.network(_entropy(seed, WEIGHTS))
    network.to(device=where, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    found = {}
    for name, function in functions.items():
        began, why = time.perf_counter(), ""
        value: float | None = None
        try:
            with kernels(exact=True):
                value = function(
                    network, images, labels, torch.Generator().manual_seed(_entropy(seed, DRAWS))
                )
        except Unscored as error:
            why = str(error)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            why = f"{name} cannot be taken of this network: {' '.join(str(error).split())[:200]}"
        synchronize(where)
        found[name] = Scored(value, time.perf_counter() - began, why)
    return found


def batch(data: Resident, design: "Design", seed: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return ``batch_size`` training images as the recipe of ``design`` standardises them, and their labels."""
    order = stratified_order(data.train.y.cpu().numpy(), _entropy(seed, BATCH))[:batch_size]
    index = torch.from_numpy(order).to(data.train.x.device)
    standardise = data.standardise.of_kind(Recipe.parse(design.recipe).normalize)
    return standardise(data.train.x.index_select(0, index)), data.train.y.index_select(0, index)


def _entropy(seed: int, purpose: int) -> int:
    state = np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class ZeroCost(Estimator):
    """Scores designs by the proxies ``names`` in a worker, which keeps data and libraries warm.

    The metrics of a result are the proxies' values; those that have none are left out, and a design without any is an
    error. It trains nothing, so it is no estimator that a search could choose.
    """

    axes = ()
    reads = ("data",)

    def __init__(self, data: Path | str, names: Sequence[str], *, batch_size: int = 64) -> None:
        self.data, self.names, self.batch_size = str(data), tuple(names), batch_size

    def evaluate(self, design: "Design", fidelity: Fidelity, context: Context) -> Result:
        """Score ``design``; the fidelity does not count, of the context seed, device and threads do."""
        began = time.monotonic()
        torch.set_num_threads(context.threads)
        found = score(
            design,
            self.names,
            self.data,
            seed=context.seed,
            batch_size=self.batch_size,
            device=context.device,
        )
        values = {name: one.value for name, one in found.items() if one.value is not None}
        error = None if values else f"nan: {next(iter(found.values())).why}"
        return Result(metrics=values, seconds=time.monotonic() - began, error=error)

    def prepare(self) -> None:
        """Set up the process before its first evaluation."""
        keep_memory()
