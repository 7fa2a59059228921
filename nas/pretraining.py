"""A supernet trained before the search, where its scores are asked for: as the estimator, or as a signal beside others.

Its share of the search's time is planned once, from what designs are predicted to take, and stored; a resume goes on
with the file, epoch by epoch. With a budget of trials alone its epochs are a number, so that no clock has a say.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from estimators.estimator import Context, Fidelity, Result
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan
from estimators.supernet import SupernetTraining
from nas.calibration import Failed
from nas.duration import Durations
from nas.executor import Executor, Limits, Task
from nas.flights import evaluated
from nas.folder import Folder
from nas.study import Study
from search_spaces.architecture import Design, SearchSpace

EVENT, DONE = "supernet", "supernet trained"
SHARES = {"estimator": 0.5, "signal": 0.25}  # of the seconds of the search, by what the scores are for
COUNTED = 30  # epochs under a budget of trials
# epochs: with fewer it has learned nothing, and more are seldom better than more designs
LEAST, MOST = 5, 300
PIECES = 20  # parts in which it is trained
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
        self.study, self.search_space = study, search_space
        self.executor, self.durations = executor, durations
        self.folder, self.role, self.precision = folder, role, precision
        self.settings, self.memory = settings, memory

    def run(self, seconds: float | None) -> None:
        """Train what is left of it, given the ``seconds`` of the search; raises ``Failed`` if it cannot be trained.

        After each of ``PIECES`` parts what it took is stored: after a kill the time goes on where it was.
        """
        events = self.study.history.events
        if DONE in events and self.folder.supernet.exists():
            return
        if EVENT not in events:
            self.study.note(EVENT, {**self._planned(seconds), "reached": 0, "spent": 0.0})
        plan = self._prolonged(self.study.history.events[EVENT], seconds)
        while plan["reached"] < plan["epochs"]:
            result = self._part(plan)
            if result.error is not None:
                raise Failed(
                    f"the supernet could not be trained: {result.error}; use another space, or the estimator 'train'"
                )
            reached = int(result.metrics["epochs"])
            plan = {**plan, "reached": reached, "spent": round(plan["spent"] + result.seconds, 3)}
            self.study.note(EVENT, plan)
            if result.stopped:
                break
        if plan["reached"] < min(LEAST, plan["epochs"]):
            raise Failed(
                f"{plan['reached']} epochs of the supernet ended in {plan['spent']:.0f} s, and {LEAST} are the least; "
                "give a longer --budget, or the estimator 'train'"
            )
        self.study.note(DONE, {"epochs": plan["reached"], "seconds": plan["spent"]})

    def _prolonged(self, plan: Mapping[str, Any], seconds: float | None) -> Mapping[str, Any]:
        """Return ``plan`` with the time that it may have of a search of ``seconds`` more: a budget may have grown."""
        if seconds is None or plan["seconds"] is None:
            return plan
        return {**plan, "seconds": max(plan["seconds"], plan["spent"] + SHARES[self.role] * seconds)}

    def _part(self, plan: Mapping[str, Any]) -> Result:
        """Train the next part; at the end of the time its last whole epoch counts."""
        upto = min(plan["epochs"], plan["reached"] + math.ceil(plan["epochs"] / PIECES))
        limits = Limits(memory=self.memory)
        if plan["seconds"] is not None:  # with time to save, or to be ended, before it is up
            left = max(plan["seconds"] - plan["spent"], 1.0)
            limits = replace(limits, seconds=left - min(limits.grace, left / 10))
        training = SupernetTraining(
            self.folder.data,
            self.search_space,
            Plan(plan["epochs"], self._paths()),
            self.folder.supernet,
            precision=self.precision,
        )
        context = Context(
            seed=self.study.seed,
            scratch=self.folder.checkpoints / "supernet",
            epochs=upto,
            partial=True,
            **self.settings,
        )
        return evaluated(self.executor, Task(training, None, Fidelity(upto), context, limits))

    def _planned(self, seconds: float | None) -> dict[str, Any]:
        """Return the epochs, and the seconds that they may take."""
        if seconds is None:
            return {"epochs": COUNTED, "seconds": None}
        allowed = SHARES[self.role] * seconds
        epoch = self._epoch_seconds()
        epochs = min(MOST, int(allowed / epoch))
        if epochs < LEAST:
            raise Failed(
                f"an epoch of the supernet takes about {epoch:.0f} s here, and {LEAST} are the least: that is "
                f"{LEAST * epoch / allowed:.1f} times what it may have; give a --budget so much longer, or the "
                "estimator 'train'"
            )
        return {"epochs": epochs, "seconds": SLACK * allowed}

    def _epoch_seconds(self) -> float:
        """Return the seconds of an epoch: the mean of what designs that it would train on are predicted to take."""
        paths = replace(self._paths(), each=SAMPLE)
        try:
            designs = next(paths.draws(self.search_space, self.study.seed, epoch=0, horizon=1))
        except ValueError as error:
            raise Failed(f"the supernet could not be trained: {error}") from None
        model = self.durations.model([])
        assert model is not None  # the calibration is there
        return BESIDES * sum(model.predict(self._work(one)).median for one in designs) / len(designs)

    def _work(self, design: Design) -> Any:
        return self.durations.work(design.config, 1, self.durations.images)

    def _paths(self) -> Paths:
        bounds = [one.bound for one in self.study.problem.constraints if one.name == "macs" and one.upper]
        return Paths(macs=min(bounds, default=None))
