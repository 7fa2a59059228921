"""A study with its schedulers on recorded curves, under a simulated clock: workers train, and nothing is trained.

    from experiments.fidelity.simulate import simulate
    simulate(task("patch32_LSTM128_bs128"), "halving", "random", seed=0)

The study is ``nas.Study`` through ask and tell, in memory; the seconds it is told are the simulated ones. A worker
that is free asks at once; results are told in the order in which trainings end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from heapq import heappop, heappush
from typing import Any

import numpy as np

from estimators.estimator import Fidelity, Result
from experiments.fidelity.task import Pool, Task
from experiments.fidelity.trace import Piece, observed
from nas.plan import spaced
from nas.scheduler import Action, Fork, Scheduler, Start, schedulers
from nas.strategy import EXHAUSTED, Exhausted, Strategy
from nas.study import Finished, Study
from nas.trial import Trial
from search_spaces.configuration import Configuration

ETA = 3
Made = str | Callable[..., Any]  # a registered name, or what builds a scheduler or a strategy


class OnRows(Scheduler):
    """Asks the scheduler ``inner``; what it would start is replaced by the free row of a table that is nearest.

    A table without a free row is a space that holds no other design.
    """

    def __init__(
        self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),), *, inner: Made, pool: Pool
    ) -> None:
        super().__init__(strategy, ladder)
        make = schedulers.get(inner) if isinstance(inner, str) else inner
        self.inner: Scheduler = make(strategy, ladder)
        self.pool, ask = pool, strategy.ask

        def asked(index: int, pending: Sequence[Trial] = ()) -> Configuration | Exhausted:
            return ask(index, pending) if pool.free.any() else EXHAUSTED

        strategy.ask = asked  # type: ignore[method-assign]

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        action = self.inner.ask(trials, pending, may_start)
        assert not isinstance(action, Fork), "the weights of a parent are in no table"
        if isinstance(action, Start):
            row = self.pool.take(action.config)
            return replace(action, config=self.pool.task.configs[row])
        return action

    def tell(self, trial: Trial) -> None:
        self.inner.tell(trial)


def ladder_of(scheduler: Made, epochs: int) -> tuple[Fidelity, ...]:
    """Return fidelities up to ``epochs``: a third, a ninth, ... down to 1, or as the scheduler's ``spacing`` says."""
    made: Any = schedulers.get(scheduler) if isinstance(scheduler, str) else scheduler
    made = getattr(made, "func", made)
    rungs = {max(1, round(epochs / ETA**rung)) for rung in range(epochs.bit_length())}
    ladder = [Fidelity(rung) for rung in sorted(rungs)]
    return spaced(ladder, getattr(made, "spacing", "geometric"))


def replay(
    task: Task,
    scheduler: Made,
    strategy: Made = "random",
    seed: int = 0,
    budget: float | None = None,
    workers: int = 1,
    **problem: Any,
) -> tuple[Piece, ...]:
    """Return what a search of ``budget`` simulated seconds (by default the task's, shared by ``workers``) trains.

    The last trainings may end behind the budget. ``problem`` are further arguments of the ``Study``: several
    ``objectives``, the ``loss`` and what ``measure`` knows of a design.
    """
    budget = task.budget / workers if budget is None else budget
    pool = Pool(task)
    made = partial(OnRows, inner=scheduler, pool=pool)
    ladder = ladder_of(scheduler, task.epochs)
    with Study(task.space, strategy=strategy, scheduler=made, ladder=ladder, seed=seed, **problem) as study:
        return run(study, pool, budget, workers)


def run(study: Study, pool: Pool, budget: float, workers: int) -> tuple[Piece, ...]:
    """Keep ``workers`` busy until simulated second ``budget``; return their trainings in the order of their starts."""
    now, pieces = 0.0, list[Piece]()
    flights: list[tuple[float, int, int]] = []  # end, place among the pieces, trial
    while True:
        while len(flights) < workers and now < budget:
            if (trial := asked(study, left=budget - now, busy=bool(flights))) is None:
                break
            piece = begun(pool, trial, now)
            heappush(flights, (piece.end(pool.task), len(pieces), trial.number))
            pieces.append(piece)
        if not flights:
            return tuple(pieces)
        now, place, number = heappop(flights)
        study.tell(number, result_of(pool.task, pieces[place]))


def asked(study: Study, *, left: float, busy: bool) -> Trial | None:
    """Return the next trial, or None where the scheduler waits for what the ``busy`` train, or nothing is left.

    ``left`` are the seconds that the search still has.
    """
    try:
        return study.ask(left=left)
    except Finished:
        return None
    except ValueError:
        if busy:
            return None
        raise


def begun(pool: Pool, trial: Trial, now: float) -> Piece:
    """Return the training that ``trial`` asks for."""
    assert trial.asked is not None
    row, start = pool.rows[trial.config], trial.asked.start
    return Piece(row, start, pool.task.lived(row, start, trial.asked.fidelity.epochs), now)


def result_of(task: Task, piece: Piece) -> Result:
    """Return what a training yields: the loss of its last epoch, its curve, its seconds; a divergence is an error."""
    curve = task.losses[piece.row, piece.start : piece.stop].tolist()
    seconds = piece.end(task) - piece.began
    if np.isnan(curve[-1]):
        known = tuple({"loss": loss} for loss in curve[:-1])
        return Result(curve=known, seconds=seconds, error=f"nan: diverged in epoch {piece.stop}")
    points = tuple({"loss": loss} for loss in curve)
    return Result({"loss": curve[-1]}, points, seconds, checkpoint=f"epoch-{piece.stop}")


def simulate(
    task: Task, scheduler: Made, strategy: Made = "random", seed: int = 0, budget: float | None = None
) -> list[tuple[float, float]]:
    """Return (simulated second, validation loss) of every epoch that one worker trained, in order."""
    budget = task.budget if budget is None else budget
    seen = observed(task, replay(task, scheduler, strategy, seed, budget), budget)
    known = np.isfinite(seen.losses)
    return list(zip(seen.seconds[known].tolist(), seen.losses[known].tolist(), strict=True))
