"""What an estimator is: it trains or scores one design at one fidelity and hands back plain numbers.

An estimator runs in any process and knows no study. It is pickled once per worker, so it holds paths and settings,
never tensors or open files.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from search_spaces.registry import Registry

estimators: "Registry[type[Estimator]]" = Registry("estimator", "estimators")


@dataclass(frozen=True, order=True)
class Fidelity:
    """How dear an evaluation is. ``epochs`` counts passes over the share ``data`` of the training images.

    ``data`` and ``side`` are shares in (0, 1]. Cost grows with each. Continuing along ``epochs`` is exact;
    changing ``data`` or ``side`` keeps the weights and claims no equality.
    """

    epochs: int = 1
    data: float = 1.0
    side: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 < self.data <= 1 or not 0 < self.side <= 1:
            raise ValueError(f"{self!r}: epochs must be at least 1, data and side in (0, 1]")

    @property
    def cost(self) -> float:
        """Relative cost: passes over the whole training set at full resolution."""
        return self.epochs * self.data * self.side**2


def _silent(step: int, metrics: Mapping[str, float]) -> None:
    """Report to nobody."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Context:
    """What an evaluation may use. Everything but the two callables is plain data.

    seed        counted randomness: generators come from ``rng(PURPOSE)`` and nowhere else
    epochs      epochs to have reached at the end of this step (those of its fidelity)
    horizon     epochs at which the learning-rate schedule ends (the full training, not this step)
    start       epochs already behind ``checkpoint``; 0 for a fresh start
    scratch     folder that is the evaluation's own; checkpoints are written there, atomically
    deadline    seconds this evaluation may take, or None
    memory      bytes that it may take beside the process and the data set, or None
    fold        of ``folds`` in a cross-validation, from 0
    partial     at the deadline the last whole epoch counts (the result is ``stopped``, with metrics), not a timeout
    report      ``report(step, metrics)``: appended to a file the engine tails, never waited for
    stopping    true once the evaluation should save and return (SIGTERM, or the deadline has passed)
    """

    seed: int
    scratch: Path
    lineage: int = 0
    replicate: int = 0
    epochs: int = 1
    horizon: int = 1
    start: int = 0
    checkpoint: Path | None = None
    device: str = "cpu"
    threads: int = 1
    deadline: float | None = None
    memory: float | None = None
    partial: bool = False
    fold: int = 0
    folds: int = 1
    report: Callable[[int, Mapping[str, float]], None] = field(default=_silent, compare=False)
    stopping: Callable[[], bool] = field(default=_never, compare=False)

    def entropy(self, purpose: int, epoch: int = 0) -> int:
        """Return a 63-bit seed that depends on (seed, lineage, replicate, epoch, purpose) and on nothing else."""
        key = (self.lineage, self.replicate, epoch, purpose)
        sequence = np.random.SeedSequence(self.seed, spawn_key=key)
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class Result:
    """What an evaluation yields: numbers, or an ``error`` that says why there are none.

    ``curve`` holds one map of metrics per epoch of this step. ``checkpoint`` is a path below the scratch folder.
    ``error`` is one line, ``"kind: cause"`` with kind one of nan, memory, timeout, exception, killed.
    ``stopped`` says that the evaluation ended early because it was asked to; the step counts as not done, unless
    its context was ``partial``: then as done at the epochs it reached. ``folds`` holds what each fold of a
    cross-validation yielded: its metrics, or its error in their place.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0
    checkpoint: str | None = None
    error: str | None = None
    stopped: bool = False
    folds: tuple[Mapping[str, float] | str, ...] = ()


class Estimator(ABC):
    """Scores a design. Same design, fidelity and context seed: same metrics on CPU (timed ones excepted)."""

    #: the fields of ``Fidelity`` this estimator obeys
    axes: tuple[str, ...] = ("epochs",)
    #: whether designs are trained; where they are not, a search has one rung, and its finals are trained by "train"
    trains: ClassVar[bool] = True
    #: attributes with the path of a file, or of a folder of files, that evaluations read; a path may be None
    reads: ClassVar[tuple[str, ...]] = ()
    #: attributes with the path of a file outside of the scratch folder that evaluations go on from and write
    writes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        """Train or score ``design`` from ``context.start`` to ``fidelity``.

        May raise: the caller turns an exception into a result with its cause. Must write nothing outside
        ``context.scratch`` and must return soon after ``context.stopping()`` turns true.
        """

    def prepare(self) -> None:
        """Load what every evaluation needs (data, libraries) ahead of the first; called once per worker."""

    def release(self) -> None:
        """Let go of what was kept for a continuation; called where none is to come."""
