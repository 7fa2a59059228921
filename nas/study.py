"""The loop of a search: ask, evaluate, store, tell. What is stored can be asked again; what was told is never lost.

``ask`` and ``tell`` are the whole of it; ``optimize`` and ``run`` call them for you. A study in a file resumes where
it was: results are told again in their order, and an evaluation that had not ended runs again under its number.
"""

import contextlib
import math
import numbers
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from estimators.estimator import Context, Estimator, Fidelity, Result
from estimators.metric import METRICS
from nas.checkpoints import base_of, begins_at, beside, folder_of, share_of_disk, tidy
from nas.ending import FINISH, SAVE, Ending, heeded
from nas.executor import Executor, Limits, Task, executors
from nas.fidelity_trust import Ranking
from nas.flights import RETRIES, Flights, lost
from nas.frame import to_dataframe
from nas.function import Folded, Function, takes_context
from nas.growth import grown, same_study, space_row
from nas.hearing import HEARD, SOURCE, Ear, checked_row
from nas.history import (
    RETRIED,
    History,
    best_fidelity,
    fidelity_row,
    finished,
    pareto,
    queue_row,
    result_row,
    standing,
    start_row,
    step_row,
)
from nas.prior import Prior
from nas.problem import checked_problem
from nas.rungs import promise, time_to_start
from nas.scheduler import Continue, Done, Fork, Repeat, Scheduler, Start, Wait, schedulers
from nas.storage import Storage, storages
from nas.strategy import strategies
from nas.supervise import BROKEN, Reports
from nas.tracker import Tracker
from nas.trial import Budget, Constraint, Metrics, Objective, Step, Trial, checked_metrics
from nas.trust import Trust
from search_spaces.space import Configuration, Space, Value

# what no function needs to return
UNTOLD = {"seconds", *(name for name, metric in METRICS.items() if metric.free)}
MAX_KEPT = 12  # of the best and of the newest trials whose weights stay on disk, besides those that may go on
FOLLOW = 1.0  # seconds between looks at what evaluations under way report


class Finished(Exception):
    """Nothing is left to ask for: the space holds no design that was not started."""


class Study:
    """A search over ``space``. ``storage`` is a path (one that exists is resumed) or None for memory only.

    ``objectives`` are names or ``Objective``s, by default the loss, minimised. ``strategy`` and ``scheduler`` are
    registered names, or callables that build one as their classes do. ``ladder`` holds the fidelities of a
    multi-fidelity scheduler, cheapest first; ``key``, ``measure``, ``timed`` and ``features`` are as in ``Problem``.
    ``priors`` are guesses by path: the first trial is their mode, and their say fades with the trials, the sooner the
    worse they prove. A ``ValueError`` says what does not fit, also when the file holds another study.

    ``timed=True`` says that the budget is time: the models then weigh what they propose by its seconds, and ``auto``
    lets ``tpe`` serve the share of asks that ``gp`` has no time for. ``optimize(f, budget=...)`` alone does not switch
    it on, since what is asked would then depend on the clock. A study belongs to one thread, the one that opened it.
    """

    def __init__(
        self,
        space: Space,
        *,
        objectives: Sequence[str | Objective] = ("loss",),
        constraints: Sequence[str | Constraint] = (),
        strategy: str | Callable[..., Any] = "auto",
        scheduler: str | Callable[..., Any] = "full",
        ladder: Sequence[Fidelity] = (Fidelity(),),
        seed: int = 0,
        storage: str | Path | None = None,
        durable: bool = False,
        key: Callable[[Configuration], str] | None = None,
        measure: Callable[[Configuration], Metrics] | None = None,
        timed: bool = False,
        features: Callable[[Configuration], Mapping[str, float]] | None = None,
        priors: Mapping[str, Prior] | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.problem = checked_problem(
            space,
            objectives,
            constraints,
            key=key,
            measure=measure,
            timed=timed,
            features=features,
            priors=priors or {},
        )
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed={seed!r}; give a whole number from 0 up")
        self.seed = seed
        make_strategy = strategies.get(strategy) if isinstance(strategy, str) else strategy
        make_scheduler = schedulers.get(scheduler) if isinstance(scheduler, str) else scheduler
        self.strategy = make_strategy(self.problem, seed=seed)
        self.scheduler: Scheduler = make_scheduler(self.strategy, ladder)
        self.trackers = list(trackers)
        self.history = History()
        self._ear = Ear(self.problem, self.strategy)
        self._handed: set[int] = set()  # trials in flight that this process knows of
        self._asked_at: dict[int, float] = {}
        self._reports: dict[int, Reports] = {}  # by trials under way
        self.quota: float = math.inf  # bytes that checkpoints may take
        self.ending: Ending | None = None  # what was asked of ``run``, before its budget is spent
        self._path = Path(storage) if storage else None
        self._storage: Storage = storages.get("log")(self._path, durable=durable)
        try:
            self._open(_name(strategy), _name(scheduler))
        except BaseException:
            self.close()
            raise

    def _open(self, strategy: str, scheduler: str) -> None:
        about = {
            "kind": "study",
            **space_row(self.problem),
            "objectives": [[one.name, one.maximize] for one in self.problem.objectives],
            "constraints": [str(one) for one in self.problem.constraints],
            "strategy": strategy,
            "scheduler": scheduler,
            "ladder": [fidelity_row(one) for one in self.scheduler.ladder],
            "seed": self.seed,
        }
        told = self.history.read(self._storage.rows)
        self._opened = time.monotonic() - self.history.seconds
        if (stored := self.history.study) is not None:
            same_study(stored, about)
            if self.history.grown or stored["space"] != about["space"]:
                filled = stored.get("filled", {})
                self.history, about["filled"] = grown(self.history, self.problem, filled)
                told = [self._as_now(trial) for trial in told]
        elif self.history.trials:  # a damaged store has lost which study it was: its trials have to fit
            self.history, about["filled"] = grown(self.history, self.problem, {})
            told = [self._as_now(trial) for trial in told]
        told = self._completed(told)
        self.scheduler.lost = self.history.lost
        if stored is None or any(stored.get(name) != about[name] for name in about):
            self._append(about)
            self.history.study = about
        self.strategy.queue = self.history.queue
        self.strategy.taken = self.history.taken
        for trial in self.history.trials.values():
            if not trial.fork:
                self.strategy.started(trial.key)
        for trial in told:
            if trial.replicate == 0:
                self.scheduler.tell(trial)

    def _as_now(self, trial: Trial) -> Trial:
        """Return an older version of a trial as it stands in the space that has grown."""
        now = self.history.trials[trial.number]
        return replace(trial, config=now.config, key=now.key)

    def _completed(self, told: list[Trial]) -> list[Trial]:
        """Return ``told`` with the free metrics that results need and that were not free when a trial was started.

        Such as the latency, which trainings measured once: no later step tells it any more.
        """
        needed, trials = set(self.problem.needed), self.history.trials
        lacking = [trial for trial in trials.values() if not needed <= trial.free.keys()]
        if not lacking:
            return told
        needed &= self.problem.measure(lacking[0].config).keys()
        found = dict[int, Trial]()
        for trial in lacking:
            if missing := needed - trial.free.keys():
                known = self.problem.measure(trial.config)
                added, _ = checked_metrics({name: known[name] for name in missing}, ())
                found[trial.number] = replace(trial, free={**trial.free, **added})
                self.history.put(found[trial.number])
        return [
            replace(trial, free=found[trial.number].free) if trial.number in found else trial
            for trial in told
        ]

    def close(self) -> None:
        """Give the store back."""
        self._storage.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Active seconds of the study: time in which no process had it open does not count."""
        return time.monotonic() - self._opened

    def spend(self, seconds: float) -> None:
        """Count ``seconds`` that went by for this study before it was opened."""
        self._opened -= seconds

    def _append(self, *rows: Mapping[str, Any]) -> None:
        self._storage.append(*({**row, "t": round(self.seconds, 3)} for row in rows))

    def note(self, name: str, value: Any) -> None:
        """Keep a plain JSON value under ``name`` in the store; ``history.events`` has the newest."""
        self._note({name: value})

    def _note(self, values: Mapping[str, Any]) -> None:
        """Keep all of ``values``, or none."""
        self._append(*({"kind": "event", "name": name, "value": value} for name, value in values.items()))
        self.history.events.update(values)

    @property
    def under_way(self) -> int:
        """How many evaluations were begun by ``task`` and have not landed."""
        return len(self._reports)

    @property
    def exhausted(self) -> bool:
        """Whether a design was asked for and the space held none that was not started."""
        return self.history.events.get("exhausted") == self.problem.space.fingerprint

    # what there is

    @property
    def trials(self) -> list[Trial]:
        """All trials in the order of their numbers."""
        return list(self.history.trials.values())

    @property
    def searched(self) -> Mapping[int, Trial]:
        """The trials that the scheduler knows of: repeats are not among them."""
        return self.history.searched

    @property
    def best_fidelity(self) -> Fidelity | None:
        """The fidelity at which ``best`` and ``pareto`` compare, see ``nas.history.best_fidelity``."""
        return best_fidelity(self.searched.values())

    def standing(self) -> list[tuple[Trial, Metrics]]:
        """Return the feasible trials with their metrics at ``best_fidelity``, best first."""
        return standing(self.searched.values(), self.problem)

    @property
    def best(self) -> Trial | None:
        """The best feasible trial at ``best_fidelity``; None before the first success."""
        order = self.standing()
        return order[0][0] if order else None

    @property
    def pareto(self) -> list[Trial]:
        """The feasible trials at ``best_fidelity`` that no other one beats in all objectives."""
        return pareto(self.searched.values(), self.problem)

    def to_dataframe(self) -> Any:
        """Return one row per trial as a ``pandas.DataFrame``: number, state, seconds, parameters, metrics."""
        return to_dataframe(self.trials)

    # what is asked first

    def enqueue(self, config: Mapping[str, Value]) -> None:
        """Have ``config`` asked before what the strategy proposes, after all that was enqueued before it.

        It may be partial: then the strategy proposes the rest. An option that a path stands under is implied. A design
        that was started already is not started again (``repeat`` does that); it is skipped, with an event ``skipped``.
        A ``ValueError`` names the path that is wrong, or the constraint that cannot hold; then nothing is enqueued.
        """
        if not isinstance(config, Mapping):
            raise ValueError(f"enqueue got {config!r}; give a map from path to value")
        given = self.problem.space.partial(config)
        whole = self.problem.space.complete({}, np.random.default_rng(0), fixed=given)
        if whole.keys() == given.keys() and self.problem.violation(free := self.problem.measure(whole)):
            raise ValueError(
                f"{dict(whole)!r} breaks {', '.join(map(str, self.problem.constraints))}: it has {dict(free)!r}; "
                "enqueue another, or loosen a bound"
            )
        self._append(queue_row(given, len(self.strategy.queue)))
        self.strategy.queue.append(given)

    def hear(
        self, scored: Iterable[tuple[Mapping[str, Value], float]], objectives: Sequence[str] = ()
    ) -> None:
        """Have models hear a cheaper source: ``scored`` are configurations with what it says of them, more is better.

        At least four of them, best drawn over the whole space; parameters that one lacks have their defaults. What the
        source would say of any other design is predicted, and how much is made of that follows from the results.
        ``objectives`` are those it speaks of, all by default. ``gp`` and ``auto`` hear it, until ``heed(False)``. A
        ``ValueError`` says what is wrong with one of them; then nothing is stored.
        """
        self._note({SOURCE: checked_row(self.problem, scored, objectives), HEARD: True})

    def heed(self, heard: bool) -> None:
        """Have models hear the source that there is, if ``heard``, or no longer."""
        if SOURCE in self.history.events and self.history.events.get(HEARD) != heard:
            self.note(HEARD, heard)

    # ask and tell

    def ask(self, *, left: float | None = None) -> Trial:
        """Return a trial to evaluate to ``trial.asked.fidelity``; raises ``Finished`` when nothing is left.

        ``left`` are the seconds that you have: near their end no design is started any more, where the best ones need
        them to be trained to the end. What an earlier process asked for and never told comes first. A ``ValueError``
        says that a result must be told before more can be asked.
        """
        trial = self._next(may_start=self._time_to_start(left))
        if isinstance(trial, Wait):
            raise ValueError(
                "nothing can be asked until one of the trials in flight is told; call tell first"
            )
        if isinstance(trial, Done):
            raise Finished(
                f"the space holds no design that was not started: {self.history.starts} were; widen a range or add an "
                "option, and open the study again"
            )
        return trial

    def _time_to_start(self, left: float | None) -> bool:
        """Return whether ``left`` seconds, if they are counted, hold another start beside what is to be ended."""
        if left is None or not (owed := self.scheduler.owed(self.searched)):
            return True
        return time_to_start(self.scheduler.ladder[0].cost, owed, self.searched.values(), left)

    def _next(self, may_start: bool) -> Trial | Wait | Done:
        taken = self.strategy.taken
        try:
            return self._due(may_start)
        except BaseException:  # what was taken of the queue and not started is still in it
            self.strategy.taken = max(taken, self.history.taken)
            self.strategy.skipped.clear()
            raise

    def _due(self, may_start: bool) -> Trial | Wait | Done:
        asked = sorted(self.history.asked.values(), key=lambda trial: trial.number)
        for trial in asked:
            if trial.number not in self._handed:
                return self._hand(trial)
        pending = [trial.number for trial in asked if trial.replicate == 0]
        self._ear.follow(self.history.events)
        action = self.scheduler.ask(self.searched, pending, may_start)
        for skipped in self.strategy.skipped:
            self.note("skipped", skipped)
        self.strategy.skipped.clear()
        if isinstance(action, Done) and may_start and not self.exhausted:
            self.note("exhausted", self.problem.space.fingerprint)
        if isinstance(action, Wait | Done):
            return action
        return self._begin(action)

    def repeat(self, number: int, replicate: int, fidelity: Fidelity) -> Trial:
        """Begin (or go on with) replicate ``replicate`` of trial ``number``, to ``fidelity``; hand it out."""
        if number not in self.history.trials:
            raise ValueError(
                f"no trial {number!r} in this study; repeat one of the {len(self.trials)} it has"
            )
        if not _whole(replicate) or replicate < 1:
            raise ValueError(f"replicate={replicate!r}; give a whole number from 1 up, 0 is the trial itself")
        for trial in self.trials:
            if trial.parent == number and trial.replicate == replicate:
                if trial.asked is not None:
                    return self._hand(trial)
                return self._begin(Continue(trial.number, fidelity))
        return self._begin(Repeat(number, replicate, fidelity))

    def _begin(self, action: Start | Continue | Fork | Repeat) -> Trial:
        history = self.history
        rows = []
        if isinstance(action, Continue):
            trial = history.trials[action.trial]
        else:
            trial = self._new(action)
            rows.append(start_row(trial, self.strategy.taken))
        start = begins_at(trial, history.trials, action.fidelity)
        step = Step(history.steps, trial.number, action.fidelity, start)
        trial = replace(trial, asked=step)
        self._append(*rows, step_row(step))
        history.steps += 1
        history.put(trial)
        if isinstance(action, Start):
            self.history.taken = self.strategy.taken
            self.strategy.started(trial.key)
        return self._hand(trial)

    def _new(self, action: Start | Fork | Repeat) -> Trial:
        number = self.history.next_number
        parent = None
        if isinstance(action, Start):
            config = action.config
        elif isinstance(action, Fork):
            parent, config = self.history.trials[action.parent], action.config
        else:
            parent = self.history.trials[action.trial]
            config = parent.config
        return Trial(
            number,
            config,
            replicate=action.replicate if isinstance(action, Repeat) else 0,
            parent=parent.number if parent else None,
            lineage=parent.lineage if parent else number,
            key=self.problem.key(config),
            known=self.history.results,
            free=checked_metrics(self.problem.measure(config), ())[0],
            server=self.strategy.server if isinstance(action, Start) else "",
            replaces=action.replaces if isinstance(action, Fork) else None,
        )

    def _hand(self, trial: Trial) -> Trial:
        self._handed.add(trial.number)
        self._asked_at[trial.number] = time.monotonic()
        if not trial.steps:
            self._track("started", trial)
        return trial

    def tell(
        self,
        trial: Trial | int,
        values: float | Mapping[str, float] | Result | None = None,
        *,
        error: str | None = None,
    ) -> Trial:
        """Store what became of ``trial``: one number, a map of metrics with every objective, or an ``error``.

        NaN and infinities are failures with a cause, not numbers. A ``ValueError`` says that the trial is unknown,
        was told already, or that a metric is missing; then nothing is stored.
        """
        number = trial.number if isinstance(trial, Trial) else trial
        known = self.history.trials.get(number) if isinstance(number, Hashable) else None
        if known is None:
            raise ValueError(f"no trial {number!r} in this study; tell what ask returned")
        if known.asked is None:
            raise ValueError(f"trial {number} was told already; ask for another")
        result = values if isinstance(values, Result) else self._result(values, error)
        if not isinstance(values, Result) or not result.seconds:
            elapsed = time.monotonic() - self._asked_at.get(number, time.monotonic())
            result = replace(result, seconds=elapsed)
        step = finished(known.asked, self._plain(result, known.free), self.history.results)
        self._append(result_row(step))
        updated = replace(known, steps=(*known.steps, step), asked=None)
        self.history.put(updated)
        self.history.results += 1
        self._handed.discard(number)
        if updated.replicate == 0:
            self.scheduler.tell(updated)
        self._track("logged", updated, step, self.best if self.trackers else None)
        return updated

    def _result(self, values: float | Mapping[str, float] | None, error: str | None) -> Result:
        if error is not None and values is not None:
            raise ValueError(f"tell got both values {values!r} and error {error!r}; give one of them")
        if error is not None:
            return Result(error=str(error))
        if values is None:
            raise ValueError("tell got neither values nor an error; give a number, a map, or error='...'")
        if isinstance(values, Mapping):
            return Result(metrics=values)
        return Result(metrics={self.problem.objectives[0].name: values})

    def _plain(self, result: Result, free: Metrics) -> Result:
        """Return ``result`` with plain floats; a needed one that is not finite becomes an error."""
        spent, error = checked_metrics({"seconds": result.seconds}, ("seconds",))
        if error:
            raise ValueError(f"seconds={result.seconds!r}; tell a finite number, or leave it out")
        result = replace(
            result,
            seconds=spent["seconds"],
            curve=tuple(checked_metrics(point, ())[0] for point in result.curve),
            folds=tuple(one if isinstance(one, str) else checked_metrics(one, ())[0] for one in result.folds),
        )
        if result.error is not None:
            return replace(result, metrics=checked_metrics(result.metrics, ())[0])
        needed = [name for name in self.problem.needed if name not in free or name in result.metrics]
        timed = {"seconds": result.seconds} if "seconds" in needed else {}
        metrics, error = checked_metrics({**timed, **result.metrics}, needed)
        return replace(result, metrics={} if error else metrics, error=error)

    def _track(self, what: str, *arguments: Any) -> None:
        for tracker in list(self.trackers):
            try:
                getattr(tracker, what)(*arguments)
            except Exception as error:
                self.trackers.remove(tracker)
                if isinstance(error, OSError) and error.errno in BROKEN and what != "ended":
                    raise  # what it shows lies on the disk of the store: no search goes on there
                with contextlib.suppress(OSError):  # a full disk is told of by what needs it
                    self.note("tracker failed", f"{type(tracker).__name__}: {error!r}")

    def compare(self, signals: Sequence[Trust | Ranking]) -> None:
        """Tell the trackers how well cheap signals and low fidelities rank what was trained."""
        self._track("compared", signals, self.history.results)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell the trackers that the search is over."""
        self._track("ended", self.history.trials, self.best, summary)

    # the loop

    def optimize(
        self,
        function: Callable[..., Any],
        *,
        trials: int | None = None,
        budget: str | float | None = None,
        folds: int | None = None,
        limits: Limits | None = None,
        workers: int = 1,
        executor: Executor | None = None,
    ) -> Trial | None:
        """Evaluate ``f(config)`` or ``f(config, context)``; return the best trial.

        ``trials`` counts starts and ``budget`` active seconds (or "30m"), both from now on; whichever comes first
        ends it, and so does an exhausted space (``exhausted`` says so). What raises is a failed trial. With ``limits``,
        evaluations run in a child process that keeps them. ``folds`` calls ``f(config, context)`` once per fold of a
        cross-validation, with ``context.fold``, and counts the means, see ``nas.function.Folded``.

        With several ``workers`` so many evaluations run at a time, each in a child process; more of them than cores
        serve functions that wait. Ctrl-C ends a search in child processes when what is in flight is finished, SIGTERM
        when it is saved (``nas.ending``); a worker that dies is replaced and what it had runs again, twice at most. An
        ``executor`` of your own (a pool, a cluster; ``docs/executors.md``) is used in their place, and left open.

        A trial that is continued goes on from its weights if the function saves them: save before you report, as
        ``*.safetensors`` in ``context.scratch``, and begin at ``context.start`` from ``context.checkpoint``. Those of a
        study in ``study.log`` stay in ``study-checkpoints`` beside it, for a resume.
        """
        if not callable(function):
            raise ValueError(f"optimize got {function!r}; give a function f(config) or f(config, context)")
        if trials is not None and (not _whole(trials) or trials < 0):
            raise ValueError(
                f"trials={trials!r}; give how many to start from now on, a whole number from 0 up"
            )
        if trials is None and budget is None and self.problem.space.size == math.inf:
            raise ValueError("optimize has no end; give trials=, budget=, or a finite space")
        seconds = None if budget is None else self.seconds + Budget.parse_seconds(budget)
        total = None if trials is None else self.history.starts + trials
        self._needs_rungs(function)
        reported = tuple(name for name in self.problem.needed if name not in UNTOLD)
        single = Function(function, self.problem.objectives[0].name, reported)
        needed = tuple(one.name for one in self.problem.objectives if one.name not in UNTOLD)
        bounded = tuple(one.name for one in self.problem.constraints)
        estimator = single if folds is None else Folded(replace(single, needed=None), folds, needed, bounded)
        isolate = limits is not None or workers > 1 or executor is not None
        ended = heeded(self) if isolate else contextlib.nullcontext()
        with _placing(executor, workers, isolate) as executor, ended, beside(self._path) as folder:
            self.quota = share_of_disk(folder)
            self.run(
                estimator,
                lambda config: config,
                executor,
                Budget(total, seconds),
                folder=folder,
                limits=lambda trial: limits or Limits(),
                settings={"threads": executor.threads},
            )
        return self.best

    def _needs_rungs(self, function: Callable[..., Any]) -> None:
        """Raise a ``ValueError`` where a scheduler should stop ``function`` early and has no rung to do so at."""
        assert self.history.study is not None
        name, top = self.history.study["scheduler"], self.scheduler.ladder[-1].epochs
        if self.scheduler.needs_rungs and len(self.scheduler.ladder) == 1 and takes_context(function):
            raise ValueError(
                f"scheduler {name!r} stops trials at the rungs of a ladder, and this study has one rung, {top} epochs; "
                "give it a ladder, for example ladder=[Fidelity(1), Fidelity(3), Fidelity(9)], or scheduler='full'"
            )

    def run(
        self,
        estimator: Estimator,
        decode: Callable[[Configuration], Any],
        executor: Executor,
        budget: Budget,
        *,
        folder: Path,
        limits: Callable[[Trial], Limits] = lambda trial: Limits(),
        settings: Mapping[str, Any] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep ``executor`` busy until ``budget`` (absolute: starts and active seconds of the study) is spent.

        Checkpoints lie in ``folder``, one folder per trial; ``settings`` are further fields of every ``Context``.
        At the end of the time what is in flight is asked to stop, and stays unfinished: a resume goes on with it.
        ``ending`` ends it before: ``FINISH`` with what is in flight, ``SAVE`` as the end of the time does.
        """
        flights, done = Flights(executor), False
        with self._asking_again(), _released(estimator):
            while True:
                while not (done or self._over(budget) or self.ending) and flights.room:
                    counted = budget.trials is None or self.history.starts < budget.trials
                    left = None if budget.seconds is None else budget.seconds - self.seconds
                    trial = self._next(counted and self._time_to_start(left))
                    if not isinstance(trial, Trial):
                        done = isinstance(trial, Done)
                        break
                    trial = self._grounded(trial, folder)
                    task = self.task(trial, estimator, decode, folder, limits(trial), settings or {})
                    flights.place(task, trial)
                if not flights:
                    return
                self._land(flights, budget, folder)
                done = done and all(number in self._handed for number in self.history.asked)
                between()

    @contextlib.contextmanager
    def _asking_again(self) -> Iterator[None]:
        """Have what is handed out inside and not told asked for again later: it was interrupted."""
        before = set(self._handed)
        try:
            yield
        finally:
            self._handed &= before

    def _over(self, budget: Budget) -> bool:
        return budget.seconds is not None and self.seconds >= budget.seconds

    def _land(self, flights: Flights, budget: Budget, folder: Path) -> None:
        """Wait for results, for the end of the time, or for the wish to end; tell what has come in."""
        left = None if budget.seconds is None else max(budget.seconds - self.seconds, 0.0)
        if self.ending == FINISH:
            flights.recall()
        flights.waits()
        landed = set() if self.ending == SAVE else self.wait(flights, left)
        if self.ending == SAVE or (not landed and self._over(budget)):
            flights.executor.stop()
            landed, _ = wait_for(flights)
        flights.woken(len(landed))
        for future in sorted(landed, key=flights.number):
            self.land(*flights.land(future), folder)

    def wait(
        self, flights: Collection["Future[Result]"], seconds: float | None = None
    ) -> set["Future[Result]"]:
        """Return which of ``flights`` landed first, within ``seconds``; trackers hear what is reported meanwhile.

        It returns early, with what there is, when ``ending`` changes.
        """
        end, ending = math.inf if seconds is None else time.monotonic() + seconds, self.ending
        while True:
            left = max(end - time.monotonic(), 0.0)
            landed, _ = wait_for(flights, timeout=min(left, FOLLOW), return_when=FIRST_COMPLETED)
            for number, reports in self._reports.items():
                for epoch, metrics in reports.new():
                    self._track("reported", self.history.trials[number], epoch, metrics)
            if landed or not left or self.ending != ending:
                return landed

    def land(self, trial: Trial, result: Result, folder: Path, *, reached: int = 0) -> Trial:
        """Tell ``result`` of ``trial``, then drop the checkpoints that nobody needs any more.

        What was stopped stays unfinished, unless what it ``reached`` counts: then it is finished at so many epochs.
        So does, ``RETRIES`` times, what a worker died of that nobody knows the cause of: it is asked for again.
        """
        if result.stopped and not reached:
            self._reports.pop(trial.number, None)
            return trial
        if lost(result):
            if self._again(trial.number, str(result.error)):
                self._reports.pop(trial.number, None)
                return trial
            result = replace(result, error=f"{result.error}, {RETRIES + 1} times")
        if result.stopped:
            trial = self._shorten(trial, reached)
        try:
            updated = self.tell(trial, result)
        except ValueError as error:
            updated = self.tell(trial, Result(error=f"exception: {error}"))
        self._reports.pop(trial.number, None)  # not before: till then a signal finds it under way
        wanted, order = self._worth_keeping, self._promising
        if dropped := tidy(self.history, updated, folder, wanted, quota=self.quota, promising=order):
            self.note("checkpoints dropped", {"quota": self.quota, "trials": dropped})
        return updated

    def _again(self, number: int, error: str) -> bool:
        """Return whether the step of trial ``number`` is placed again after ``error``; it is counted in the store."""
        asked = self.history.trials[number].asked
        assert asked is not None
        name = f"{RETRIED} {asked.index}"
        times = self.history.events.get(name, {"times": 0})["times"]
        if times >= RETRIES:
            return False
        self.note(name, {"trial": number, "times": times + 1, "error": error})
        self._handed.discard(number)
        return True

    def _worth_keeping(self) -> set[int]:
        """Return the trials whose weights are promising, recent, or go on as the scheduler says."""
        best = {trial.number for trial, _ in self.standing()[:MAX_KEPT]}
        return best | {*list(self.history.trials)[-MAX_KEPT:], *self.scheduler.keeps(self.searched)}

    def _promising(self, numbers: Collection[int]) -> list[int]:
        """Return ``numbers``, the most promising first: the best, what may go on by its promise, then the others."""
        going, best = set(self.scheduler.keeps(self.searched)), self.best
        share = promise(self.problem, self.searched.values(), self.scheduler.ladder)
        first = None if best is None else best.number
        return sorted(numbers, key=lambda one: (one != first, one not in going, share.get(one, 1.0), one))

    def _shorten(self, trial: Trial, epochs: int) -> Trial:
        """Return ``trial`` as if it had been asked for no more than ``epochs``."""
        trial = self.history.trials[trial.number]  # it may have begun from the start, its checkpoint gone
        assert trial.asked is not None
        fidelity = replace(trial.asked.fidelity, epochs=epochs)
        trial = replace(trial, asked=replace(trial.asked, fidelity=fidelity))
        self.history.put(trial)
        return trial

    def _checkpoint(self, trial: Trial, folder: Path) -> Path | None:
        """Return what ``trial`` goes on from, if it is still there."""
        base = base_of(trial, self.history.trials)
        path = None if base is None else folder / folder_of(base[0]) / str(base[1].checkpoint)
        return path if path is not None and path.exists() else None

    def _grounded(self, trial: Trial, folder: Path) -> Trial:
        """Return ``trial``, asked for from step 0 if the checkpoint that it was to go on from is gone."""
        assert trial.asked is not None
        if not trial.asked.start or self._checkpoint(trial, folder) is not None:
            return trial
        trial = replace(trial, asked=replace(trial.asked, start=0))
        self.history.put(trial)
        return trial

    def task(
        self,
        trial: Trial,
        estimator: Estimator,
        decode: Callable[[Configuration], Any],
        folder: Path,
        limits: Limits,
        settings: Mapping[str, Any],
    ) -> Task:
        """Return the evaluation that ``trial.asked`` stands for."""
        trial = self._grounded(trial, folder)
        assert trial.asked is not None
        fidelity, scratch = trial.asked.fidelity, folder / folder_of(trial)
        self._reports[trial.number] = Reports(scratch)
        fields: dict[str, Any] = {
            "seed": self.seed,
            "scratch": scratch,
            "lineage": trial.lineage,
            "replicate": trial.replicate,
            "epochs": fidelity.epochs,
            "horizon": max(self.scheduler.ladder[-1].epochs, fidelity.epochs),
            "start": trial.asked.start,
            "checkpoint": self._checkpoint(trial, folder) if trial.asked.start else None,
            "deadline": limits.seconds,
        }
        context = Context(**{**fields, **settings})
        return Task(estimator, decode(trial.config), fidelity, context, limits)


@contextlib.contextmanager
def _placing(executor: Executor | None, workers: int, isolate: bool) -> Iterator[Executor]:
    """Yield ``executor``, or one for so many ``workers`` that is closed in the end."""
    if executor is not None:
        yield executor
        return
    kind: Any = executors.get("process" if workers > 1 else "serial")
    options = {"oversubscribe": True} if workers > 1 else {"isolate": isolate}
    with contextlib.closing(kind(workers=workers, **options)) as made:
        yield made


@contextlib.contextmanager
def _released(estimator: Estimator) -> Iterator[None]:
    """Have ``estimator`` let go of what it keeps for a continuation in the end."""
    try:
        yield
    finally:
        estimator.release()


def _whole(number: Any) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def _name(plugin: str | Callable[..., Any]) -> str:
    return plugin if isinstance(plugin, str) else getattr(plugin, "__name__", repr(plugin))
