"""Divergence is seen as soon as the device says so, without waiting for it."""

import math
from collections import deque

import torch
from torch import Tensor

AHEAD = 4  # steps between two copies on CUDA: each costs a launch


class Diverged(Exception):
    """The loss is no longer a finite number."""


class LossWatch:
    """Looks at the sum of an epoch's losses, which is finite as long as all of them are.

    On a CPU every step is looked at. On CUDA a copy to pinned memory is queued every ``AHEAD`` steps and looked at when
    it has arrived: the device is some steps behind the program, so that is when the loss is known, too.
    """

    def __init__(self, device: torch.device, epoch: int, batches: int) -> None:
        self._epoch, self._batches, self._cuda = epoch, batches, device.type == "cuda"
        self._sent: deque[tuple[int, Tensor, torch.cuda.Event]] = deque()

    def look(self, total: Tensor, step: int) -> None:
        """Look at ``total`` () after ``step``, counted from 1. Raises ``Diverged`` when a sum seen is not finite."""
        if not self._cuda:
            self._judge(total, step)
            return
        if step % AHEAD == 0:
            copy = torch.empty((), pin_memory=True).copy_(total, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self._sent.append((step, copy, event))
        while self._sent and self._sent[0][2].query():  # type: ignore[no-untyped-call]
            arrived, copy, _ = self._sent.popleft()
            self._judge(copy, arrived)

    def mean(self, total: Tensor) -> float:
        """Return the mean loss of the epoch that ``total`` () sums; waits for the device, may raise ``Diverged``."""
        self._judge(total, self._batches)
        return total.item() / self._batches

    def _judge(self, total: Tensor, step: int) -> None:
        if not math.isfinite(value := total.item()):
            raise Diverged(f"loss {value} at epoch {self._epoch}, step {step} of {self._batches}")
