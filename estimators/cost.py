"""What a network costs to run, measured."""

import statistics
import time

import torch
from torch import nn

from estimators.device import MEMORY_FORMAT, synchronize


@torch.inference_mode()
def latency(
    network: nn.Module,
    shape: tuple[int, int, int],
    *,
    device: torch.device,
    repeats: int = 30,
    warmup: int = 5,
) -> float:
    """Return the milliseconds of a forward pass of one ``(C, H, W)`` image, the median of ``repeats``.

    Other work on the same cores counts in: measure finalists alone.
    """
    network.eval()
    x = torch.zeros(1, *shape, device=device).contiguous(memory_format=MEMORY_FORMAT)
    times = []
    for _ in range(warmup + repeats):
        synchronize(device)
        start = time.perf_counter()
        network(x)
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[warmup:])
