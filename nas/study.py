"""The loop of a search: ask, evaluate, store, tell. What is stored can be asked again; what was told is never lost.

``ask`` and ``tell`` are the whole of it; ``optimize`` and ``run`` call them for you. A study in a file resumes where
it was: results are told again in their order, and an evaluation that had not ended runs again under its number.
"""

import contextlib
import inspect
import math
import numbers
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
from nas.executor import Executor, Limits, Task, executors
from nas.history import (
    History,
    best_fidelity,
    fidelity_row,
    finished,
    pareto,
    result_row,
    standing,
    start_row,
    step_row,
)
from nas.prior import Prior, checked
from nas.scheduler import Continue, Done, Fork, Repeat, Scheduler, Start, Wait, schedulers
from nas.storage import Storage, storages
from nas.strategy import strategies
from nas.tracker import Tracker
from nas.trial import Budget, Constraint, Metrics, Objective, Problem, Step, Trial
from search_spaces.space import Configuration, Space

MAX_KEPT = 12  # trials whose weights stay on disk besides those of the newest bracket


class Finished(Exception):
    """Nothing is left to ask for: the space holds no design that was not started."""


@dataclass(frozen=True)
class Function(Estimator):
    """A user's own ``f(config)`` or ``f(config, context)`` as an estimator.

    ``f`` returns one number (the first objective) or a map of metrics. With a context it may ``report(epoch, metrics)``
    epoch by epoch and return when ``stopping()`` turns true, which it does at the fidelity that was asked for; when it
    returns None, the last report counts.
    """

    function: Callable[..., Any]
    objective: str
    axes = ("epochs", "data", "side")

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        if not takes_context(self.function):
            return Result(metrics=self._metrics(self.function(design)))
        curve: dict[int, Metrics] = {}

        def report(step: int, metrics: Metrics) -> None:
            curve[step] = self._metrics(metrics)
            context.report(step, curve[step])

        def stopping() -> bool:
            return context.stopping() or max(curve, default=0) >= fidelity.epochs

        returned = self.function(design, replace(context, report=report, stopping=stopping))
        if returned is None and not curve:
            raise ValueError("the function returned None and reported nothing; return a number or a map")
        metrics = curve[max(curve)] if returned is None else self._metrics(returned)
        checkpoints = sorted(context.scratch.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        name = checkpoints[-1].name if checkpoints else None
        return Result(metrics=metrics, curve=tuple(curve[step] for step in sorted(curve)), checkpoint=name)

    def _metrics(self, value: Any) -> Metrics:
        return value if isinstance(value, Mapping) else {self.objective: value}


def takes_context(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` takes a second positional argument without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters) >= 2


class Study:
    """A search over ``space``. ``storage`` is a path (one that exists is resumed) or None for memory only.

    ``objectives`` are names or ``Objective``s, by default the loss, minimised. ``strategy`` and ``scheduler`` are
    registered names, or callables that build one as their classes do. ``ladder`` holds the fidelities of a
    multi-fidelity scheduler, cheapest first; ``key``, ``measure``, ``timed`` and ``features`` are as in ``Problem``.
    ``priors`` are guesses by path: the first trial is their mode, and their say fades with the trials, the sooner the
    worse they prove. A ``ValueError`` says what does not fit, also when the file holds another study.
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
        if isinstance(objectives, str) or not objectives:
            raise ValueError(f"objectives={objectives!r}: give a list of names, for example ['accuracy']")
        parsed = tuple(Objective(one) if isinstance(one, str) else one for one in objectives)
        bounds = tuple(Constraint.parse(one) if isinstance(one, str) else one for one in constraints)
        functions = {name: f for name, f in (("key", key), ("measure", measure)) if f is not None}
        self.problem = Problem(
            space,
            parsed,
            bounds,
            timed=timed,
            features=features,
            priors=checked(space, priors or {}),
            **functions,  # type: ignore[arg-type]
        )
        self.seed = seed
        make_strategy = strategies.get(strategy) if isinstance(strategy, str) else strategy
        make_scheduler = schedulers.get(scheduler) if isinstance(scheduler, str) else scheduler
        self.strategy = make_strategy(self.problem, seed=seed)
        self.scheduler: Scheduler = make_scheduler(self.strategy, ladder)
        self.trackers = list(trackers)
        self.history = History()
        self._handed: set[int] = set()  # trials in flight that this process knows of
        self._asked_at: dict[int, float] = {}
        self._storage: Storage = storages.get("log")(Path(storage) if storage else None, durable=durable)
        try:
            self._open(_name(strategy), _name(scheduler))
        except BaseException:
            self.close()
            raise

    def _open(self, strategy: str, scheduler: str) -> None:
        about = {
            "kind": "study",
            "space": self.problem.space.fingerprint,
            "objectives": [[one.name, one.maximize] for one in self.problem.objectives],
            "constraints": [str(one) for one in self.problem.constraints],
            "strategy": strategy,
            "scheduler": scheduler,
            "ladder": [fidelity_row(one) for one in self.scheduler.ladder],
            "seed": self.seed,
        }
        told = self.history.read(self._storage.rows)
        self._opened = time.monotonic() - self.history.seconds
        if self.history.study is None:
            self._append(about)
            self.history.study = about
        for name, value in about.items():
            if (stored := self.history.study.get(name)) != value:
                raise ValueError(
                    f"the store holds another study: its {name} is {stored!r}, not {value!r}; open it with the same "
                    "settings, or choose another file"
                )
        for trial in self.history.trials.values():
            self.strategy.started(trial.key)
        for trial in told:
            if trial.replicate == 0:
                self.scheduler.tell(trial)

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
        self._append({"kind": "event", "name": name, "value": value})
        self.history.events[name] = value

    # what there is

    @property
    def trials(self) -> list[Trial]:
        """All trials in the order of their numbers."""
        return list(self.history.trials.values())

    @property
    def searched(self) -> Mapping[int, Trial]:
        """The trials that strategy and scheduler know of: repeats are not among them."""
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
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "to_dataframe needs pandas; install the extra: pip install 'nas-engine[pandas]'"
            ) from None
        return pandas.DataFrame(
            {
                "number": trial.number,
                "state": "failed" if trial.failed else "running" if trial.asked else "finished",
                "seconds": trial.seconds,
                **{f"config.{path}": value for path, value in trial.config.items()},
                **trial.metrics,
            }
            for trial in self.trials
        )

    # ask and tell

    def ask(self) -> Trial:
        """Return a trial to evaluate to ``trial.asked.fidelity``; raises ``Finished`` when nothing is left.

        What an earlier process asked for and never told comes first. A ``ValueError`` says that a result must be
        told before more can be asked.
        """
        trial = self._next(may_start=True)
        if isinstance(trial, Wait):
            raise ValueError(
                "nothing can be asked until one of the trials in flight is told; call tell first"
            )
        if isinstance(trial, Done):
            raise Finished(f"the space holds no design that was not started: {len(self.searched)} were")
        return trial

    def _next(self, may_start: bool) -> Trial | Wait | Done:
        asked = sorted(self.history.asked.values(), key=lambda trial: trial.number)
        for trial in asked:
            if trial.number not in self._handed:
                return self._hand(trial)
        pending = [trial.number for trial in asked if trial.replicate == 0]
        action = self.scheduler.ask(self.searched, pending, may_start)
        if isinstance(action, Wait | Done):
            return action
        return self._begin(action, tuple(pending))

    def repeat(self, number: int, replicate: int, fidelity: Fidelity) -> Trial:
        """Begin (or go on with) replicate ``replicate`` of trial ``number``, to ``fidelity``; hand it out."""
        for trial in self.trials:
            if trial.parent == number and trial.replicate == replicate:
                if trial.asked is not None:
                    return self._hand(trial)
                return self._begin(Continue(trial.number, fidelity), ())
        return self._begin(Repeat(number, replicate, fidelity), ())

    def _begin(self, action: Start | Continue | Fork | Repeat, pending: tuple[int, ...]) -> Trial:
        history = self.history
        rows = []
        if isinstance(action, Continue):
            trial = history.trials[action.trial]
        else:
            trial = self._new(action, pending)
            rows.append(start_row(trial))
        last = trial.last
        start = last.fidelity.epochs if last is not None and last.checkpoint is not None else 0
        step = Step(history.steps, trial.number, action.fidelity, start)
        trial = replace(trial, asked=step)
        self._append(*rows, step_row(step))
        history.steps += 1
        history.put(trial)
        if isinstance(action, Start):
            self.strategy.started(trial.key)
        return self._hand(trial)

    def _new(self, action: Start | Fork | Repeat, pending: tuple[int, ...]) -> Trial:
        number = len(self.history.trials)
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
            pending=pending,
            free=dict(self.problem.measure(config)),
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
        known = self.history.trials.get(number)
        if known is None:
            raise ValueError(f"no trial {number!r} in this study; tell what ask returned")
        if known.asked is None:
            raise ValueError(f"trial {number} was told already; ask for another")
        result = values if isinstance(values, Result) else self._result(values, error)
        if not isinstance(values, Result) or not result.seconds:
            elapsed = time.monotonic() - self._asked_at.get(number, time.monotonic())
            result = replace(result, seconds=elapsed)
        step = finished(known.asked, self._checked(result, known.free))
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
        if error is not None:
            return Result(error=error)
        if values is None:
            raise ValueError("tell got neither values nor an error; give a number, a map, or error='...'")
        if isinstance(values, Mapping):
            return Result(metrics=values)
        return Result(metrics={self.problem.objectives[0].name: values})

    def _checked(self, result: Result, free: Metrics) -> Result:
        """Return ``result`` with plain floats; a needed one that is not finite becomes an error."""
        if result.error is not None:
            return result
        for objective in self.problem.objectives:
            if objective.name not in {*result.metrics, *free, "seconds"}:
                raise ValueError(
                    f"metrics {dict(result.metrics)!r} lack the objective {objective.name!r}; tell it too"
                )
        needed = {one.name for one in self.problem.objectives} | {
            one.name for one in self.problem.constraints
        }
        metrics: dict[str, float] = {"seconds": result.seconds} if "seconds" in needed else {}
        for name, value in result.metrics.items():
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ValueError(f"metric {name!r} is {value!r}; tell a number")
            metrics[name] = float(value)
            if name in needed and not math.isfinite(metrics[name]):
                return replace(result, metrics={}, error=f"nan: {name} is {metrics[name]}")
        return replace(result, metrics=metrics)

    def _track(self, what: str, *arguments: Any) -> None:
        for tracker in list(self.trackers):
            try:
                getattr(tracker, what)(*arguments)
            except Exception as error:
                self.trackers.remove(tracker)
                with contextlib.suppress(OSError):  # a full disk is told of by what needs it
                    self.note("tracker failed", f"{type(tracker).__name__}: {error!r}")

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
        limits: Limits | None = None,
    ) -> Trial | None:
        """Evaluate ``f(config)`` or ``f(config, context)``; return the best trial.

        ``trials`` counts starts and ``budget`` active seconds (or "30m"), both from now on; whichever comes first
        ends it, and so does an exhausted space. What raises is a failed trial. With ``limits``, evaluations run in a
        child process that keeps them.
        """
        if trials is None and budget is None and self.problem.space.size == math.inf:
            raise ValueError("optimize has no end; give trials=, budget=, or a finite space")
        seconds = None if budget is None else self.seconds + Budget.parse_seconds(budget)
        total = None if trials is None else len(self.searched) + trials
        estimator = Function(function, self.problem.objectives[0].name)
        executor = executors.get("serial")(isolate=limits is not None)  # type: ignore[call-arg]
        scratch = Path(mkdtemp(prefix="nas-"))
        try:
            self.run(
                estimator,
                lambda config: config,
                executor,
                Budget(total, seconds),
                folder=scratch,
                limits=lambda trial: limits or Limits(),
            )
        finally:
            executor.close()
            shutil.rmtree(scratch, ignore_errors=True)
        return self.best

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
        At the end of the time what is in flight is asked to stop, and stays unfinished: a resume runs it again.
        """
        flights: dict[Future[Result], Trial] = {}
        done = False
        while True:
            while not done and len(flights) < executor.slots and not self._over(budget):
                may_start = budget.trials is None or len(self.searched) < budget.trials
                trial = self._next(may_start)
                if not isinstance(trial, Trial):
                    done = isinstance(trial, Done)
                    break
                task = self.task(trial, estimator, decode, folder, limits(trial), settings or {})
                flights[executor.submit(task)] = trial
            if not flights:
                return
            self._land(flights, executor, budget, folder)
            between()

    def _over(self, budget: Budget) -> bool:
        return budget.seconds is not None and self.seconds >= budget.seconds

    def _land(
        self, flights: dict["Future[Result]", Trial], executor: Executor, budget: Budget, folder: Path
    ) -> None:
        """Wait for a result, or for the end of the time; tell what has come in."""
        left = None if budget.seconds is None else max(budget.seconds - self.seconds, 0.0)
        landed, _ = wait_for(flights, timeout=left, return_when=FIRST_COMPLETED)
        if not landed:
            executor.stop()
            landed, _ = wait_for(flights)
        for future in sorted(landed, key=lambda future: flights[future].number):
            trial = flights.pop(future)
            self.land(trial, future.result(), folder)

    def land(self, trial: Trial, result: Result, folder: Path, *, reached: int = 0) -> Trial:
        """Tell ``result`` of ``trial``, then drop the checkpoints that nobody needs any more.

        What was stopped stays unfinished, unless what it ``reached`` counts: then it is finished at so many epochs.
        """
        if result.stopped and not reached:
            return trial
        if result.stopped:
            trial = self._shorten(trial, reached)
        try:
            updated = self.tell(trial, result)
        except ValueError as error:
            updated = self.tell(trial, Result(error=f"exception: {error}", seconds=result.seconds))
        self._tidy(updated, folder)
        return updated

    def _shorten(self, trial: Trial, epochs: int) -> Trial:
        """Return ``trial`` as if it had been asked for no more than ``epochs``."""
        assert trial.asked is not None
        fidelity = replace(trial.asked.fidelity, epochs=epochs)
        trial = replace(trial, asked=replace(trial.asked, fidelity=fidelity))
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
        assert trial.asked is not None
        fidelity, scratch = trial.asked.fidelity, folder / folder_of(trial)
        last = trial.last
        checkpoint = scratch / last.checkpoint if last is not None and last.checkpoint else None
        found = checkpoint is not None and checkpoint.exists()
        fields: dict[str, Any] = {
            "seed": self.seed,
            "scratch": scratch,
            "lineage": trial.lineage,
            "replicate": trial.replicate,
            "epochs": fidelity.epochs,
            "horizon": max(self.scheduler.ladder[-1].epochs, fidelity.epochs),
            "start": trial.asked.start if found else 0,
            "checkpoint": checkpoint if found else None,
            "deadline": limits.seconds,
        }
        context = Context(**{**fields, **settings})
        return Task(estimator, decode(trial.config), fidelity, context, limits)

    def _tidy(self, trial: Trial, folder: Path) -> None:
        """Remove a trial's older checkpoints, and all of those that are neither promising nor recent."""
        own, last = folder / folder_of(trial), trial.last
        if last is None or (last.checkpoint is None and len(trial.steps) < 2 and not trial.failed):
            return
        good = trial.trained  # what failed late is still the model it was before
        keep = good.checkpoint if good is not None else None
        for path in own.glob("*.safetensors") if own.exists() else ():
            if path.name != keep:
                path.unlink(missing_ok=True)
        kept = {other.number for other, _ in self.standing()[:MAX_KEPT]}
        recent = len(self.history.trials) - MAX_KEPT - 2 * self.scheduler.width
        known = {folder_of(other): other for other in self.history.trials.values()}
        for path in folder.glob("trial-*"):
            other = known.get(path.name, trial)
            old = other.number < recent and other.number not in kept and other.asked is None
            if old and other.replicate == 0:
                shutil.rmtree(path, ignore_errors=True)


def folder_of(trial: Trial) -> str:
    """Return the name of the folder of a trial's checkpoints."""
    return f"trial-{trial.number:04d}"


def _name(plugin: str | Callable[..., Any]) -> str:
    return plugin if isinstance(plugin, str) else getattr(plugin, "__name__", repr(plugin))
