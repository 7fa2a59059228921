"""A training step recorded once as a CUDA graph, and launched as one thing from then on.

A small network's step is some hundreds of kernels of a few microseconds, and Python launches them more slowly than a
GPU runs them. The recording takes about as long as a step and waits for the device once. A graph runs the same kernels
on the same addresses: what goes in is copied to where it was recorded. What cannot be recorded (an op that waits for
the device, memory for both forms of the step) is run step by step as before. That is found out before, as far as it can
be: a recording that fails half way leaves the device's random numbers recording, and they have to be mended.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from estimators.mix import Labels

WARM = 3  # steps before the recording: kernels are tuned, the optimizer's state is there

Work = Callable[[Tensor, Labels], Tensor]


class Recorded:
    """``work`` recorded with inputs like ``z`` (n, C, H, W) and ``labels``; recording runs none of its kernels.

    The stream that is current records: it must not be the default one. Raises ``RuntimeError`` when ``work`` does
    what a graph cannot hold.
    """

    def __init__(self, work: Work, z: Tensor, labels: Labels, network: nn.Module) -> None:
        self._z, self._y = z.clone(), labels.y.clone()
        self._other = None if labels.other is None else labels.other.clone()
        self._share = torch.ones((), device=z.device)
        self._graph = torch.cuda.CUDAGraph()
        for parameter in network.parameters():
            parameter.grad = None  # gradients too get their addresses from the recording
        stream = torch.cuda.current_stream(z.device)
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._loss = work(self._z, Labels(self._y, self._other, self._share))
        self._gradients = [(parameter, parameter.grad) for parameter in network.parameters()]

    def fits(self, z: Tensor, labels: Labels) -> bool:
        """Return whether the batch has the shape that was recorded."""
        return z.shape == self._z.shape and (labels.other is None) == (self._other is None)

    def __call__(self, z: Tensor, labels: Labels) -> Tensor:
        """Run the recording; the loss () that it returns is overwritten by the next run."""
        self._z.copy_(z)
        self._y.copy_(labels.y)
        if self._other is not None and labels.other is not None:
            self._other.copy_(labels.other)
            self._share.fill_(labels.share)
        self._graph.replay()
        for parameter, gradient in self._gradients:  # a step in between may have made others
            parameter.grad = gradient
        return self._loss


class Replay:
    """``work`` as a graph: none at first, recorded after ``WARM`` steps, given up for good if that fails."""

    def __init__(self, work: Work, network: nn.Module, *, batch_size: int, enabled: bool) -> None:
        self._work, self._network, self._batch_size = work, network, batch_size
        self._enabled, self._warm = enabled, 0
        self._recorded: Recorded | None = None
        self._taken = 0.0  # bytes that the last step before the recording took, one after the other

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Run the last step before the recording; give up if it waits for the device, which no graph can hold.

        A recording that fails for that leaves the device's random numbers unusable to later steps.
        """
        if not self._enabled or self._warm != WARM or self.recorded:
            yield
            return
        device = next(self._network.parameters()).device
        before, taken = torch.cuda.get_sync_debug_mode(), _taken(device)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode(before)
        self._taken = max(self._taken, _taken(device) - taken)  # an epoch's rest takes less
        if any("synchroniz" in str(warning.message) for warning in heard):
            self.give_up()

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return self._recorded is not None

    def prepared(self, z: Tensor, labels: Labels) -> Recorded | None:
        """Return the graph for this batch; None: it has to be run step by step, as an epoch's rest always is."""
        if not self._enabled or len(z) != self._batch_size:
            return None
        if self._recorded is None:
            self._warm += 1
            if self._warm > WARM:
                self._record(z, labels)
        fits = self._recorded is not None and self._recorded.fits(z, labels)
        return self._recorded if fits else None

    def _record(self, z: Tensor, labels: Labels) -> None:
        if not has_room(z.device, self._taken):
            self.give_up()
            return
        try:
            self._recorded = Recorded(self._work, z, labels, self._network)
        except RuntimeError:  # out of memory is one
            self.give_up()
            mend(z.device)

    def forget(self) -> None:
        """Free the graph and its memory; the next step records another one."""
        self._recorded = None
        self._warm = min(self._warm, WARM - 1)

    def give_up(self) -> None:
        """Free the graph and its memory, and record no other."""
        self._enabled, self._recorded = False, None


# of this process: its allocator takes what failed there for still recording
_failed: set[torch.device] = set()


def has_room(device: torch.device, taken: float) -> bool:
    """Return whether a step can be recorded on ``device``: there is memory for it beside what this process holds.

    A recording can take none of what is kept from freed tensors. A step needs no more than it takes one after the other
    (``taken``), nor than the most that was held so far beyond what is held between steps.
    """
    if device in _failed:
        return False
    most = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    need = min(float(most), taken)
    if _free(device) < need:
        torch.cuda.empty_cache()
    return _free(device) >= need


def _taken(device: torch.device) -> float:
    """Return the bytes that tensors of this process have taken of ``device``, freed ones included."""
    return float(torch.cuda.memory_stats(device).get("allocated_bytes.all.allocated", 0))


def _free(device: torch.device) -> float:
    """Return the bytes that this process may still take of ``device``."""
    free, whole = torch.cuda.mem_get_info(device)
    share = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # torch 2.8
    if share is None:
        return float(free)
    return min(float(free), float(share(device)) * whole - torch.cuda.memory_reserved(device))


def mend(device: torch.device) -> None:
    """Let ``device`` give random numbers again after a recording that failed, and have none tried there any more.

    A copy of the generator's state does not record. What torch lacks for that must not end the training.
    """
    _failed.add(device)
    with suppress(AttributeError, RuntimeError):
        generator = torch.cuda.default_generators[device.index]
        generator.graphsafe_set_state(generator.clone_state())
