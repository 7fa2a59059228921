"""A supernet trained before the search, where its scores are asked for: as the estimator, or as a signal beside others.

Its share of the search's time is planned once, from what designs are predicted to take, and stored; a resume goes on
with the file, epoch by epoch. With a budget of trials alone its epochs are a number, so that no clock has a say.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from estimators.estimator import Context, Fidelity
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan
from estimators.supernet import SupernetTraining
from nas.calibration import Failed
from nas.duration import Durations
from nas.executor import Executor, Limits, Task
from nas.folder import Folder
from nas.study import Study
from search_spaces.architecture import Design, SearchSpace

EVENT, DONE = "supernet", "supernet trained"
SHARES = {"estimator": 0.5, "signal": 0.25}  # of the seconds of the search, by what the scores are for
COUNTED = 30  # epochs under a budget of trials
LEAST, MOST = (
    5,
    300,
)  # epochs: with fewer it has learned nothing, and more are seldom better than more designs
SAMPLE = 16  # designs by whose predicted seconds the epochs are planned
BESIDES = 1.2  # times the seconds of trainings of the same designs that an epoch is planned to take
SLACK = 1.5  # times its planned seconds it may take


class Pretraining:
    """Has the supernet of ``search_space`` trained in the run ``folder``.

    ``role`` says what its scores are for: "estimator" or "signal". ``settings`` are further fields of a ``Context``.
    """

    def __init__(
        self,
        study: Study,
        search_space: SearchSpace,
        executor: Executor,
        durations: Durations,
        *,
        folder: Folder,
        role: str,
        precision: str,
        settings: Mapping[str, Any],
        memory: int | None,
    ) -> None:
        self.study, self.search_space, self.executor, self.durations = (
            study,
            search_space,
            executor,
            durations,
        )
        self.folder, self.role, self.precision = folder, role, precision
        self.settings, self.memory = settings, memory

    def run(self, seconds: float | None) -> None:
        """Train what is left of it, given the ``seconds`` of the search; raises ``Failed`` if it cannot be trained."""
        events = self.study.history.events
        if DONE in events and self.folder.supernet.exists():
            return
        if EVENT not in events:
            self.study.note(EVENT, self._planned(seconds))
        plan = self.study.history.events[EVENT]
        context = Context(
            seed=self.study.seed,
            scratch=self.folder.checkpoints / "supernet",
            epochs=plan["epochs"],
            deadline=plan["seconds"],
            partial=True,
            **self.settings,
        )
        grace = Limits().grace
        limits = Limits(None if plan["seconds"] is None else plan["seconds"] + grace, self.memory)
        training = SupernetTraining(
            self.folder.data,
            self.search_space,
            Plan(plan["epochs"], self._paths()),
            self.folder.supernet,
            precision=self.precision,
        )
        result = self.executor.submit(
            Task(training, None, Fidelity(plan["epochs"]), context, limits)
        ).result()
        reached = int(result.metrics.get("epochs", 0))
        if result.error is not None or not reached:
            cause = result.error or f"not one epoch ended in {plan['seconds']:.0f} s"
            raise Failed(
                f"the supernet could not be trained: {cause}; give a longer --budget, or another estimator"
            )
        about = {"epochs": reached, "loss": result.metrics["train_loss"], "seconds": round(result.seconds, 3)}
        self.study.note(DONE, about)

    def _planned(self, seconds: float | None) -> dict[str, Any]:
        """Return the epochs, and the seconds that they may take."""
        if seconds is None:
            return {"epochs": COUNTED, "seconds": None}
        allowed = SHARES[self.role] * seconds
        epoch = self._epoch_seconds()
        epochs = min(MOST, int(allowed / epoch))
        if epochs < LEAST:
            needed = math.ceil(LEAST * epoch / SHARES[self.role])
            raise Failed(
                f"an epoch of the supernet takes about {epoch:.0f} s here, and {LEAST} are the least: the search has "
                f"{seconds:.0f} s and needs {needed}; give a longer --budget, or the estimator 'train'"
            )
        return {"epochs": epochs, "seconds": SLACK * allowed}

    def _epoch_seconds(self) -> float:
        """Return the seconds of an epoch: the mean of what designs that it would train on are predicted to take."""
        paths = replace(self._paths(), each=SAMPLE)
        designs = next(paths.draws(self.search_space, self.study.seed, epoch=0, horizon=1))
        model = self.durations.model([])
        assert model is not None  # the calibration is there
        return BESIDES * sum(model.predict(self._work(one)).median for one in designs) / len(designs)

    def _work(self, design: Design) -> Any:
        return self.durations.work(design.config, 1, self.durations.images)

    def _paths(self) -> Paths:
        bounds = [one.bound for one in self.study.problem.constraints if one.name == "macs" and one.upper]
        return Paths(macs=min(bounds, default=None))
