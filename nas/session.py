"""One process at work on a run folder: search, final trainings, export, test; each part goes on where it was.

What is decided on the way (finals, the winner, the test) is stored as an event before it is acted on, so that a
resumed run decides nothing twice and uses the test images once per reported model.
"""

import contextlib
import inspect
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from estimators.cost.table import OpTable
from estimators.dataset import Dataset, open_saved
from estimators.device import find_device
from estimators.estimator import Estimator, estimators
from estimators.metric import METRICS
from nas.calibration import Failed, calibrate
from nas.checkpoints import share_of_disk
from nas.draws import features, known_of
from nas.duration import Durations
from nas.ending import heeded
from nas.exclusive import Known, Latencies, bound_on_latency, predicts_latency
from nas.executor import Executor, Limits, cores
from nas.exported import export_step
from nas.fidelity_trust import Ranking, next_look, rankings
from nas.final_training import FinalTraining
from nas.flights import Stranded
from nas.folder import INHERIT, Folder, Settings, executor_of, objectives_of
from nas.leaders import Decisions, Leaders
from nas.plan import (
    Cost,
    Finals,
    closing_seconds,
    counted_finals,
    search_end,
    step_limit,
    timed_finals,
)
from nas.shortage import share_of_training
from nas.signals import Signals
from nas.status import status_of
from nas.storage import storages
from nas.study import Study
from nas.time_left import TimeLeft
from nas.tracker import Tracker, trackers
from nas.trial import Budget, Constraint, Metrics, Step, Trial
from search_spaces.architecture import SearchSpace
from search_spaces.space import Configuration

STATUS_SHARE = 0.02  # of the engine's time that writing the status may take while designs are searched
MUCH_LESS = 0.9  # of the limit that batches are cut by: with less free than that, it is told


def build_estimator(
    settings: Settings,
    folder: Folder,
    *,
    without: Sequence[str] = (),
    training: bool = False,
    inherit: bool = False,
) -> Estimator:
    """Return the estimator of a run, asked for every metric that objectives and constraints name.

    Those in ``without`` are known from elsewhere. Where designs are to be trained (``training``) and the run's own
    estimator does not do that, it is "train". With ``inherit`` trainings begin with the weights of the run's supernet.
    """
    named = [*settings.objectives, *(Constraint.parse(text).name for text in settings.constraints)]
    known = {"seconds", *without}
    metrics = [name for name in dict.fromkeys(named) if not METRICS[name].free and name not in known]
    kind: Any = estimators.get(settings.estimator)
    options: dict[str, Any] = {"metrics": metrics, "precision": settings.precision}
    if training and not kind.trains:
        kind = estimators.get("train")
    if inherit and INHERIT in kind.reads:
        options[INHERIT] = folder.supernet
    estimator: Estimator = kind(folder.data, **options)
    return estimator


def latencies_of(settings: Settings, search_space: SearchSpace, known: Known) -> Latencies:
    """Return the predicted latencies of a run: of one image, with the threads that trainings have."""
    table = OpTable(find_device(settings.device), threads=cores())
    return Latencies(search_space, known, table, seed=settings.seed, bound=bound_on_latency(settings))


def open_study(
    settings: Settings,
    search_space: SearchSpace,
    measure: Callable[[Configuration], Metrics],
    storage: Path | None,
) -> Study:
    """Return the study of a run, in the file ``storage`` or in memory; ``measure`` tells what is known of a design."""
    return Study(
        search_space.space,
        objectives=objectives_of(settings),
        constraints=settings.constraints,
        strategy=settings.strategy,
        scheduler=settings.scheduler,
        ladder=settings.fidelities,
        seed=settings.seed,
        storage=storage,
        key=search_space.key,
        measure=measure,
        features=partial(features, search_space),
        timed=settings.budget is not None,
    )


def measure_of(
    settings: Settings, search_space: SearchSpace, table: Mapping[str, Any] | None
) -> Callable[[Configuration], Metrics]:
    """Return what is known of a design before it is trained, latencies as in the stored ``table``.

    A ``ValueError`` says that these were predicted for another machine.
    """
    known = known_of(search_space, settings.precision, settings.device)
    if not predicts_latency(settings):
        return known
    latencies = latencies_of(settings, search_space, known)
    if table is None or not latencies.holds(table):
        raise ValueError("the latencies of this run were predicted for another machine; replay it there")
    latencies.restore(table)
    return latencies.measure


class Session:
    """A run folder opened for work. ``executor`` may be warm already; ``spent`` are seconds used before it."""

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        search_space: SearchSpace,
        *,
        executor: Executor | None = None,
        spent: float = 0.0,
    ) -> None:
        with contextlib.ExitStack() as undo:  # what is open when the rest fails
            if executor is not None:
                undo.callback(executor.close)
            self._open(folder, settings, search_space, spent, undo)
            self.executor = executor or undo.enter_context(contextlib.closing(executor_of(settings)))
            self.memory, self.watched = self._memory_limits()
            self.signals = self._signals()
            undo.pop_all()
        self.rungs: list[Ranking] = []
        self._until: float | None = None  # when the search ends, in seconds of the study
        self._status_due = 0.0  # when ``status.json`` is rewritten while designs are searched
        self._ranked = -1  # how many results ``rungs`` tell of

    def _open(
        self,
        folder: Folder,
        settings: Settings,
        search_space: SearchSpace,
        spent: float,
        undo: contextlib.ExitStack,
    ) -> None:
        """Open the study of the folder, with all that knows of its data and its past."""
        self.folder, self.settings, self.search_space = folder, settings, search_space
        self.dataset: Dataset = open_saved(folder.data)
        self.estimator = build_estimator(settings, folder, without=("latency",), inherit=settings.inherits)
        self.cost = Cost.of(settings.cost) if settings.cost is not None else None
        self.durations = Durations(
            search_space.decode,
            search_space.space.default(),
            images=len(self.dataset.train),
            val=len(self.dataset.val),
            cost=self.cost,
        )
        known = known_of(search_space, settings.precision, settings.device)
        self.latencies = latencies_of(settings, search_space, known) if predicts_latency(settings) else None
        resumed = folder.store.exists()
        table = self._latency_table() if resumed and self.latencies is not None else None
        measure = self.latencies.measure if self.latencies else known
        self.study = open_study(settings, search_space, measure, folder.store)
        undo.callback(self.study.close)
        self.decisions = Decisions(self.study, settings.round)
        self.leaders = Leaders(
            self.study,
            self.decisions,
            self.latencies,
            folder.checkpoints,
            trained=self.estimator.trains,
        )
        self.study.spend(spent)
        self.study.quota = settings.checkpoint_quota or share_of_disk(folder.checkpoints)
        if self.latencies is not None:
            self._keep_fit(self.latencies, table)
        folder.sweep()
        self.time_left = TimeLeft(self.study, settings, self.durations, self._finals_after)
        self.study.trackers += self._trackers(resumed)

    def _memory_limits(self) -> tuple[int, int]:
        """Return the bytes that batches are cut by, which are the run's for ever, and that a process may hold now.

        Runs of before have none in their settings: what is free when one is first gone on with is kept as an event.
        """
        now, name = self.executor.memory(), "memory limit"
        limit = self.settings.memory or self.study.history.events.get(name)
        if limit is None:
            limit = now
            self.study.note(name, limit)
        if now < MUCH_LESS * limit and "memory short" not in self.study.history.events:
            self.study.note("memory short", {"limit": limit, "now": now})
        return limit, min(limit, now)

    def _latency_table(self) -> Mapping[str, Any] | None:
        """Have latencies predicted as before the interruption, where the machine is the same; return what is stored.

        The study needs them while it opens: it completes trials of before with what is known of their designs.
        """
        with storages.get("log")(self.folder.store, write=False) as store:
            events = [row for row in store.rows if row["kind"] == "event" and row["name"] == "latency table"]
        assert self.latencies is not None
        if events and self.latencies.holds(events[-1]["value"]):
            self.latencies.restore(events[-1]["value"])
        return events[-1]["value"] if events else None

    def _keep_fit(self, latencies: Latencies, stored: Mapping[str, Any] | None) -> None:
        """Store how latencies are predicted, in a new run and on another machine; there it is also told."""
        if stored is not None and latencies.holds(stored):
            return
        self.study.note("latency table", latencies.about())
        if stored is not None:
            now = latencies.machine()
            before = {name: stored.get(name) for name in now}
            self.study.note("latency fitted anew", {"before": before, "now": now})

    def _signals(self) -> Signals:
        return Signals(
            self.study,
            self.search_space,
            self.executor,
            self.durations,
            folder=self.folder,
            settings=self.settings,
            context=self._context(),
            memory=self.watched,
            trains=self.estimator.trains,
            left=self._search_left,
        )

    def _trackers(self, resumed: bool) -> list[Tracker]:
        problem, built = self.study.problem, []
        offers = {
            "draw": self.draw,
            "seconds": self.settings.budget,
            "trials": self.settings.trials,
            "left": self.time_left.now,
            "begun": [trial.number for trial in self.study.trials if trial.parent is None],
        }
        for name in self.settings.trackers:
            try:
                kind = trackers.get(name)
                taken = inspect.signature(kind).parameters
                options = {key: value for key, value in offers.items() if key in taken}
                built.append(kind(self.folder.path, problem, resumed=resumed, **options))
            except Exception as error:
                self.study.note("tracker failed", f"{name}: {error!r}")
        return built

    def draw(self, config: Configuration) -> bytes:
        """Return a picture of the network of ``config`` as PNG."""
        from nas.picture import picture

        design = self.search_space.decode(config)
        if design.graph is None:
            return b""
        png: bytes = picture(design.graph.simplified(), design.shape)
        return png

    def run(self) -> Mapping[str, Any]:
        """Do all that is left to do; return the closing status. Raises ``Failed`` if there is no model to show."""
        state, cause = "interrupted", None
        try:
            self.status("running")
            if self.decisions.get("finals") is None:
                with heeded(self.study):
                    self._search()
                self.leaders.measure()
            with heeded(self.study):
                self._finals()
            self._conclude()
            state = "finished"
        except (Failed, Stranded, OSError) as error:
            cause = str(error)
            raise
        finally:
            try:
                self.executor.close()
            finally:
                status = self.status(state, cause)
                self.study.end(status)
                self.study.close()
        return status

    # the three parts

    def _search(self) -> None:
        settings, seconds = self.settings, None
        if settings.budget is not None:
            seconds = search_end(settings.began, settings.budget, self.cost, len(self.dataset.train))
        if settings.budget is not None and self.cost is None and self.signals.pretraining is not None:
            self._time_default()
        budget = Budget(settings.trials, seconds)
        self._until = seconds
        self.signals.begin()
        self._keep_up()
        self.study.run(
            self.estimator,
            self.search_space.decode,
            self.executor,
            budget,
            folder=self.folder.checkpoints,
            limits=self._limits,
            settings=self._context(),
            between=self._between,
        )
        if self._ranked < self.study.history.results:
            self.study.compare(self._rank())

    def _time_default(self) -> None:
        """Measure what an epoch costs, in a run begun without a budget of time: its supernet is planned by it."""
        self.cost = calibrate(
            build_estimator(self.settings, self.folder, training=True),
            self.search_space,
            self.executor,
            self.folder,
            len(self.dataset.train),
            self.settings.device,
            self.watched,
        )
        self.durations.learn(self.search_space.space.default(), self.cost)

    def _finals(self) -> None:
        """Train the best designs again from the start, with fresh seeds and on all of the data."""
        if self.decisions.get("winner") is not None:
            return
        stored = self.decisions.get("finals")
        if stored is None:
            standing = self.leaders.standing()
            if not standing:
                raise Failed(self.leaders.why_none(self.folder.path))
            plan = self._plan(standing, self._left())
            stored = {"trials": list(plan.trials), "epochs": plan.epochs} if plan else {}
            self.decisions.keep("finals", stored)
        if stored:
            if self.settings.inherits:
                self.signals.pretrain()  # its file may be gone since
            self._training().run(Finals(tuple(stored["trials"]), stored["epochs"]))

    def _training(self) -> FinalTraining:
        return FinalTraining(
            self.study,
            self.executor,
            estimator=partial(
                build_estimator, self.settings, self.folder, training=True, inherit=self.settings.inherits
            ),
            decode=self.search_space.decode,
            checkpoints=self.folder.checkpoints,
            settings=self._context(),
            memory=self.watched,
            replicate=self.settings.round,
            left=self._left,
            epoch_seconds=self._epoch_seconds,
            told=self._told,
        )

    def _told(self) -> None:
        self.status("running")

    def _plan(self, standing: list[Trial], left: float | None) -> Finals | None:
        """Return the final trainings of the best of ``standing`` in the seconds ``left``, if there is a budget."""
        numbers = [trial.number for trial in standing]
        if self.settings.budget is None or left is None:
            return counted_finals(numbers, len(self.dataset.train))
        each = [self._epoch_seconds(trial) for trial in standing]
        return timed_finals(numbers, each, left, self.executor.slots)

    def _epoch_seconds(self, trial: Trial) -> float:
        """Return the seconds of an epoch on all of the data, from what the trial's own steps took.

        Of one that was never trained they are predicted.
        """
        cost, images = self.cost or Cost(0.0, 1.0), len(self.dataset.train)
        if not self.estimator.trains and (predicted := self.durations.finals([(trial, 1)], [])) is not None:
            return predicted.median
        done = [step for step in trial.steps if step.error is None and step.curve]
        taken = sum(step.seconds for step in done)
        default = sum(cost.seconds(step.fidelity.data * images, len(step.curve)) for step in done)
        return cost.seconds(images) * taken / default if default else cost.seconds(images)

    def _conclude(self) -> None:
        """Choose by validation, export, verify, and look at the test images, once."""
        winner = self.decisions.get("winner")
        if winner is None:
            found = self.leaders.winner(self.settings.round)
            if found is None:
                raise Failed(self.leaders.why_none(self.folder.path))
            trial, step = found
            winner = {"trial": trial.number, "step": step.index}
            self.decisions.keep("winner", winner)
        trial = self.study.history.trials[winner["trial"]]
        step = next(step for step in trial.steps if step.index == winner["step"])
        if self.decisions.get("export") is None:
            self._export(trial, step)
            self.decisions.keep("export", self.folder.best.name)
        if self.decisions.get("test") is None:
            self.decisions.keep("test", self._test())

    def _export(self, trial: Trial, step: Step) -> None:
        fresh = self.folder.path / ".best.new"
        shutil.rmtree(fresh, ignore_errors=True)
        design = self.search_space.decode(trial.config)
        export_step(
            self.folder,
            self.settings,
            design,
            self.dataset,
            trial,
            step,
            fresh,
            metrics=self.leaders.reached(trial, step),
        )
        shutil.rmtree(self.folder.best, ignore_errors=True)
        fresh.rename(self.folder.best)

    def _test(self) -> dict[str, float]:
        import torch

        from estimators.score import scores
        from nas.exporters.pytorch import evaluate_exported

        test = self.dataset.test
        logits = torch.from_numpy(evaluate_exported(self.folder.best, test.x))
        return scores(logits, torch.from_numpy(test.y))

    # what they share

    def _between(self) -> None:
        """Keep up what follows from results; the status of thousands of trials is not written at each of them."""
        self._keep_up()
        began = time.monotonic()
        if began >= self._status_due:
            self.status("running")
            self._status_due = began + (time.monotonic() - began) / STATUS_SHARE

    def _keep_up(self) -> None:
        """Compare rungs when an eighth more results are in: each time costs as much as there are trials."""
        signals, results = self.signals.keep_up(), self.study.history.results
        rungs = self._rank() if results >= next_look(max(self._ranked, 0)) else []
        if signals or rungs:
            self.study.compare([*signals, *rungs])

    def _search_left(self) -> float | None:
        """Return the seconds that are left of the search, None where no time is counted."""
        return None if self._until is None else self._until - self.study.seconds

    def _rank(self) -> list[Ranking]:
        study = self.study
        self._ranked = study.history.results
        self.rungs = rankings(study.searched.values(), study.problem, study.scheduler.ladder)
        return self.rungs

    def _limits(self, trial: Trial) -> Limits:
        if self.cost is None or trial.asked is None:
            return Limits(memory=self.watched)
        predicted = self.durations.step(trial, self.study.trials)
        assert predicted is not None  # the calibration is there
        return Limits(seconds=step_limit(predicted), memory=self.watched)

    def _finals_after(self, seconds: float) -> Finals | None:
        """Return the final trainings of what stands now, when the search goes on for ``seconds``."""
        standing, left = self.leaders.standing(), self._left()
        return self._plan(standing, None if left is None else left - seconds) if standing else None

    def _context(self) -> dict[str, Any]:
        memory = share_of_training(self.memory)
        return {"threads": self.executor.threads, "device": self.settings.device, "memory": memory}

    def _left(self) -> float | None:
        """Return the seconds left for final trainings."""
        if self.settings.budget is None:
            return None
        closing = closing_seconds(self.settings.budget - self.settings.began)
        return self.settings.budget - closing - self.study.seconds

    def status(self, state: str, cause: str | None = None) -> dict[str, Any]:
        """Write ``status.json`` and return what it says; ``cause`` is why a run has no model."""
        left = self.time_left.predict(running=state == "running")
        status = status_of(
            self.study.trials,
            self.study.problem,
            self.study.history.events,
            self.settings,
            state=state,
            seconds=self.study.seconds,
            best=self.folder.best,
            error=cause,
            left=left,
            rungs=self.rungs if state == "running" and self._ranked >= 0 else None,
        )
        try:
            self.folder.write_status(status)
        except OSError as error:
            if state == "running":
                raise
            status["error"] = status["error"] or str(error)
        return status
