"""Latency of a network, measured: percentiles of the time of a forward pass.

Notation
    B   images in a batch        pass   one forward pass over a batch, in evaluation mode and float32
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from estimators.device import MEMORY_FORMAT, kernels

ROUND, ROUNDS = 3, 10  # passes in a round of warm-up, and most rounds
STABLE = 0.05  # a round that is no more than this share quicker than the one before ends the warm-up


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a pass: quantiles of ``n`` passes over batches of ``batch_size`` images."""

    median: float
    p10: float
    p90: float
    p99: float
    n: int
    batch_size: int = 1

    @property
    def image(self) -> float:
        """Milliseconds for each image of the batch, by the median."""
        return self.median / self.batch_size


def latency(
    network: nn.Module,
    shape: tuple[int, int, int],
    *,
    device: torch.device,
    batch_size: int = 1,
    threads: int | None = None,
    repeats: int = 30,
) -> Latency:
    """Return how long ``network`` takes over ``batch_size`` images of ``shape`` (C, H, W), in ``repeats`` passes.

    ``threads`` are those of the CPU; the number that was set is set again afterwards (None: it stays). The network is
    left in evaluation mode. Passes before it is warm are not counted. Other work on the same cores counts in: measure
    what matters alone. A ``ValueError`` says that one of the counts is below 1.
    """
    for name, count in (("batch_size", batch_size), ("repeats", repeats), ("threads", threads)):
        if count is not None and count < 1:
            raise ValueError(f"{name}={count}: give at least 1")
    network.eval()
    x = torch.zeros(batch_size, *shape, device=device).contiguous(memory_format=MEMORY_FORMAT)
    with using_threads(threads), torch.inference_mode(), kernels(exact=True):
        warm_up(lambda: network(x), device)
        times = passes(lambda: network(x), device, repeats)
    p10, median, p90, p99 = (float(q) for q in np.quantile(times, (0.1, 0.5, 0.9, 0.99)))
    return Latency(median, p10, p90, p99, repeats, batch_size)


@contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Compute with so many threads inside; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def warm_up(run: Callable[[], Tensor], device: torch.device) -> None:
    """Call ``run`` in rounds until one is not markedly quicker than the one before."""
    before = np.inf
    for _ in range(ROUNDS):
        now = float(np.median(passes(run, device, ROUND)))
        if now > (1 - STABLE) * before:
            return
        before = now


def passes(run: Callable[[], Tensor], device: torch.device, repeats: int) -> np.ndarray:
    """Return the milliseconds (repeats,) of calls of ``run``: by events on CUDA, by the clock elsewhere."""
    if device.type == "cuda":
        return _events(run, device, repeats)
    times = np.empty(repeats)
    for at in range(repeats):
        start = time.perf_counter()
        run()
        times[at] = time.perf_counter() - start
    return 1e3 * times


def _events(run: Callable[[], Tensor], device: torch.device, repeats: int) -> np.ndarray:
    """Wait before each call, so that a pass is the time from its first launch and not that of a queue."""
    times = np.empty(repeats)
    stream = torch.cuda.current_stream(device)
    for at in range(repeats):
        torch.cuda.synchronize(device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        times[at] = start.elapsed_time(end)
    return times
