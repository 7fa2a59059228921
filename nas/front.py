"""The one-call front: ``search`` from images to an exported model, ``resume``, and ``Run``, a handle on both."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.folder import OWN, Folder, Settings, executor_of, objectives_of
from nas.history import History, pareto, reached, standing
from nas.lease import alive
from nas.storage import storages
from nas.trial import Budget, Constraint, Metrics, Problem, Trial
from search_spaces.space import Configuration, Space

if TYPE_CHECKING:
    from torch import nn

    from nas.executor import Executor
    from nas.plan import Cost
    from search_spaces.architecture import SearchSpace

Build = Callable[[Configuration], "nn.Module"]
GIVEN = "submit"  # the name under which an executor that was made by hand stands in the settings
SLOWEST_MACS = 8  # under a budget of time, designs of so many times the default's work are not searched


def search(
    data: Any,
    *,
    budget: str | float | None = None,
    trials: int | None = None,
    space: str | Space = "chain",
    build: Build | None = None,
    objectives: Sequence[str] = ("accuracy",),
    constraints: Sequence[str] = (),
    out: str | Path | None = None,
    executor: "str | Executor | None" = None,
    **options: Any,
) -> "Run":
    """Search an architecture and its recipe for ``data``; return the run, whose best model is trained and exported.

    ``data`` is what ``estimators.dataset.load`` takes. ``budget`` is active wall time ("30m", all in), ``trials`` a
    number of designs; one is needed. ``space`` is a registered name, or a ``Space`` of your own with
    ``build(config) -> nn.Module``. ``options`` are the further fields of ``nas.folder.Settings`` (strategy, scheduler,
    seed, device, ...). ``executor`` is a name, or one that you made (``docs/executors.md``); it is closed in the end.
    ``out`` is a folder that does not exist yet, by default ``runs/NAME``. Raises ``ValueError`` on
    anything that does not fit, before anything is written, and ``nas.Failed`` when no model came out.
    """
    began = time.monotonic()
    placing = None if isinstance(executor, str | None) else executor
    options |= {"executor": executor} if placing is None else {"executor": GIVEN, "workers": placing.slots}
    name = str(data) if isinstance(data, str | os.PathLike) else "(arrays)"
    settings = Settings.parse(
        {
            "data": name,
            "budget": None if budget is None else Budget.parse_seconds(budget),
            "trials": trials,
            "space": OWN if isinstance(space, Space) else space,
            "objectives": [objectives] if isinstance(objectives, str) else list(objectives),
            "constraints": [constraints] if isinstance(constraints, str) else list(constraints),
            **options,
        }
    )
    own = (space, build) if isinstance(space, Space) else None
    if (own is None) != (build is None) or (own is not None and build is None):
        raise ValueError(
            "space and build go together: give a Space of your own and build(config) -> nn.Module"
        )
    session = _prepare(data, settings, lambda: Folder(_new_folder(name, out)), own, began, placing)
    session.run()
    return Run(session.folder.path, own)


def resume(
    path: str | Path,
    *,
    budget: str | float | None = None,
    trials: int | None = None,
    space: Space | None = None,
    build: Build | None = None,
    executor: "Executor | None" = None,
) -> "Run":
    """Go on with an interrupted run; with ``budget`` or ``trials``, add so much to one (finished or not).

    What is added comes on top of what was left. A limit that is not named no longer binds, unless an interrupted
    search has both. A search over a ``space`` of your own needs it and ``build`` again, one by an ``executor`` that you
    made needs one.
    """
    from nas.session import Session

    folder = Folder.existing(path)
    settings = Settings.read(folder.config)
    own = None if space is None or build is None else (space, build)
    history = _history(folder, write=True)
    ended = f"test {settings.round}" in history.events
    search_space = _search_space(settings, folder, own)
    if budget is None and trials is None:
        if ended:
            raise ValueError(f"run {str(path)!r} is finished; add to it with --budget 30m or --trials 50")
    else:
        settings = _extended(settings, history, budget, trials, ended)
    session = Session(folder, settings, search_space, executor=executor)
    if budget is not None or trials is not None:
        settings.write(folder.config)  # by the one process that writes the run now
    session.run()
    return Run(folder.path, own)


def _extended(
    settings: Settings, history: History, budget: str | float | None, trials: int | None, ended: bool
) -> Settings:
    """Return ``settings`` with more to do; what was decided for the round before is decided anew."""
    if trials is not None and trials < 1:
        raise ValueError(f"trials={trials}: give at least 1")
    decided = any(key.endswith(f" {settings.round}") for key in history.events)
    both = not decided and settings.budget is not None and settings.trials is not None
    seconds, count = (settings.budget, settings.trials) if both else (None, None)
    if budget is not None:
        left = 0.0 if ended or settings.budget is None else max(settings.budget - history.seconds, 0.0)
        seconds = history.seconds + left + Budget.parse_seconds(budget)
    if trials is not None:
        started = sum(trial.parent is None for trial in history.trials.values())
        due = 0 if ended or settings.trials is None else max(settings.trials - started, 0)
        count = started + due + trials
    began = history.seconds if decided else settings.began
    return replace(settings, budget=seconds, trials=count, round=settings.round + decided, began=began)


def _new_folder(name: str, out: str | Path | None) -> Path:
    if out is not None:
        path = Path(out)
        if path.exists():
            raise ValueError(
                f"run folder {str(path)!r} exists; go on with it by `nas resume {path}`, or give another --out"
            )
        return path
    stem = Path(name).resolve().stem if Path(name).exists() else name.strip("()")
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def _prepare(
    data: Any,
    settings: Settings,
    place: Callable[[], Folder],
    own: tuple[Space, Build | None] | None,
    began: float,
    placing: "Executor | None" = None,
) -> Any:
    """Check everything, measure, and only then make the run folder: whole or not at all.

    ``place`` says which folder is free; it is asked again when another search took that one meanwhile.
    """
    from estimators import dataset as images
    from estimators.device import compute_dtype, find_device

    folder = place()
    compute_dtype(settings.precision, find_device(settings.device))
    loaded = images.load(
        data, seed=settings.seed, root=Path(settings.root) if settings.root else None, side=settings.side
    )
    partial = Folder(folder.path.with_name(f".{folder.path.name}.{os.getpid()}"))
    _sweep(folder.path)
    try:
        partial.path.mkdir(parents=True)
    except OSError as error:
        raise ValueError(
            f"cannot write to {str(folder.path.parent)!r}: {error.strerror}; choose another --out"
        ) from None
    executor = None
    try:
        images.save(loaded, partial.data)
        if "terminal" in settings.trackers:
            print(images.summary(loaded), flush=True)
        settings, executor = _planned(settings, partial, own, len(loaded.train), began, placing)
        settings.write(partial.config)
        folder = _moved(partial, folder, place)
    except BaseException:
        if executor is not None:
            executor.close()
        shutil.rmtree(partial.path, ignore_errors=True)
        raise
    from nas.session import Session

    search_space = _search_space(settings, folder, own)
    return Session(folder, settings, search_space, executor=executor, spent=time.monotonic() - began)


def _moved(partial: Folder, folder: Folder, place: Callable[[], Folder]) -> Folder:
    """Give ``partial`` the name of ``folder``, or of the next free place; return where it lies."""
    while True:
        try:
            partial.path.rename(folder.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            folder = place()
        else:
            return folder


def _sweep(path: Path) -> None:
    """Remove what searches that were killed before their first trial left beside ``path``."""
    for left in path.parent.glob(f".{path.name}.*") if path.parent.is_dir() else ():
        pid = left.name.rsplit(".", 1)[1]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _planned(
    settings: Settings,
    partial: Folder,
    own: tuple[Space, Build | None] | None,
    images: int,
    began: float,
    placing: "Executor | None",
) -> tuple[Settings, "Executor"]:
    """Return the settings with ladder, cost and a bound on work, after one design was found that holds them."""
    from estimators.estimator import Fidelity, estimators
    from nas.exclusive import predicts_latency, probes
    from nas.plan import counted_ladder, search_seconds, spaced, timed_ladder
    from nas.scheduler import schedulers

    search_space = _search_space(settings, partial, own)
    _check_estimator(settings, search_space, partial)
    executor = placing or executor_of(settings)
    try:
        if (budget := settings.budget) is None:
            ladder = counted_ladder(images)
        else:
            cost, settings = _timed(settings, search_space, executor, partial, images)
            left = search_seconds(budget, cost, images) - (time.monotonic() - began)
            ladder = timed_ladder(cost, images, left * executor.slots)
            macs = search_space.measure(search_space.space.default())["macs"]
            bound = f"macs<={SLOWEST_MACS * macs:g}"
            settings = replace(settings, cost=cost.row(), constraints=(*settings.constraints, bound))
        settings = replace(settings, memory=settings.memory or executor.memory())
        problem = _problem(settings, search_space)
        from nas.strategy import strategies

        try:
            strategies.get(settings.strategy)(problem, seed=settings.seed).ask(0)
        except ValueError:  # if not even the default design can be built, why not is what to say
            search_space.measure(search_space.space.default())
            raise
        if predicts_latency(settings):
            probes(search_space, settings.seed)
    except BaseException:
        executor.close()
        raise
    kind: Any = estimators.get(settings.estimator)
    ladder = spaced(ladder, schedulers.get(settings.scheduler).spacing) if kind.trains else (Fidelity(),)
    rows = tuple((one.epochs, one.data, one.side) for one in ladder)
    return replace(settings, ladder=rows), executor


def _check_estimator(settings: Settings, search_space: "SearchSpace", folder: Folder) -> None:
    """Raise a ``ValueError`` where the estimator does not measure what is asked for, or a supernet cannot be."""
    from estimators.estimator import estimators
    from nas.folder import INHERIT
    from nas.pretraining import plan_of
    from nas.session import build_estimator
    from nas.trust import SUPERNET

    plan_of(settings.supernet_options, 1)
    takes = settings.warm_start == SUPERNET and INHERIT in estimators.get(settings.estimator).reads
    if not takes and (asked := settings.supernet_options.get(INHERIT)) is not None:
        raise ValueError(
            f"supernet option {INHERIT}={asked}: it is about trainings of a search with --warm-start supernet, by an "
            "estimator that begins with given weights, such as 'train'; ask for these, or leave it out"
        )
    build_estimator(settings, folder, without=("latency",))
    wanted = SUPERNET in (settings.estimator, settings.warm_start)
    if wanted and search_space.decode(search_space.space.default()).graph is None:
        raise ValueError(
            f"space {settings.space!r} has no supernet: networks built by a function share no weights; describe the "
            "space as graphs (search_spaces.architecture.Architecture), or leave the supernet out"
        )


def _timed(
    settings: Settings, search_space: "SearchSpace", executor: "Executor", partial: Folder, images: int
) -> tuple["Cost", Settings]:
    """Return what an epoch of the default design costs, in the precision that is the fastest here if none was named."""
    from estimators.device import find_device, rivals_of_auto
    from nas.calibration import calibrate
    from nas.session import build_estimator

    precisions: tuple[str, ...] = (settings.precision,)
    if settings.precision == "auto":
        precisions = rivals_of_auto(find_device(settings.device))
    rivals = [replace(settings, precision=precision) for precision in precisions]
    costs = [
        calibrate(
            build_estimator(one, partial, training=True), search_space, executor, partial, images, one.device
        )
        for one in rivals
    ]
    return min(zip(costs, rivals, strict=True), key=lambda pair: pair[0].each)


def _search_space(
    settings: Settings, folder: Folder, own: tuple[Space, Build | None] | None
) -> "SearchSpace":
    from estimators.dataset import open_saved
    from estimators.estimator import estimators
    from nas.joint import joint_space, own_space

    dataset, recipes = open_saved(folder.data), bool(estimators.get(settings.estimator).trains)
    if settings.space != OWN:
        return joint_space(dataset, settings.space, weights=settings.weights, recipes=recipes)
    if own is None or own[1] is None:
        raise ValueError(
            "this run searches a space of your own; resume it in Python: nas.resume(path, space=..., build=...)"
        )
    return own_space(dataset, own[0], own[1], recipes=recipes)


def _problem(settings: Settings, search_space: "SearchSpace | None") -> Problem:
    bounds = tuple(Constraint.parse(text) for text in settings.constraints)
    if search_space is None:
        return Problem(Space(), objectives_of(settings), bounds)
    from nas.draws import known_of

    return Problem(
        search_space.space,
        objectives_of(settings),
        bounds,
        key=search_space.key,
        measure=known_of(search_space, settings.precision, settings.device),
    )


def _history(folder: Folder, *, write: bool = False) -> History:
    """Read the store; with ``write``, only if no other process is writing it."""
    history = History()
    folder.check()
    if folder.store.exists():
        with storages.get("log")(folder.store, write=write) as store:
            history.read(store.rows)
    return history


class Best:
    """The model a run ended with: its trial, its metrics in validation, and the trained module."""

    def __init__(self, folder: Folder, trial: Trial, metrics: Metrics) -> None:
        self.folder, self.trial, self.metrics = folder, trial, metrics

    @property
    def config(self) -> Configuration:
        """The configuration: architecture and recipe."""
        return self.trial.config

    def module(self) -> "nn.Module":
        """Return the trained ``torch.nn.Module`` in evaluation mode; maps standardised images to logits."""
        from nas.exporters.pytorch import to_module

        module: nn.Module = to_module(self.folder.best)
        return module


class Run:
    """A run folder, read anew at each look: it may still be running."""

    def __init__(self, path: str | Path, own: Any = None) -> None:
        self.folder = Folder.existing(path)
        self._own = own

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r})"

    @cached_property
    def settings(self) -> Settings:
        """What was asked for."""
        return Settings.read(self.folder.config)

    @property
    def history(self) -> History:
        """All that the store holds."""
        return _history(self.folder)

    @property
    def trials(self) -> list[Trial]:
        """All trials, final trainings included (their ``replicate`` is not 0)."""
        history = self.history
        return [history.trials[number] for number in sorted(history.trials)]

    @property
    def pareto(self) -> list[Trial]:
        """The trials of the search that no other one beats in all objectives."""
        return pareto([t for t in self.trials if t.replicate == 0], _problem(self.settings, None))

    def standing(self) -> list[tuple[Trial, Metrics]]:
        """Return the trials of the search with the metrics they are compared by, best first."""
        return standing([t for t in self.trials if t.replicate == 0], _problem(self.settings, None))

    @property
    def best(self) -> Best:
        """The exported model; before there is one, the search's best trial. A ``ValueError`` if there is neither."""
        history = self.history
        winner = history.events.get(f"winner {self.settings.round}")
        if winner is not None:
            trial = history.trials[winner["trial"]]
            step = next(step for step in trial.steps if step.index == winner["step"])
            measured = history.events.get(f"latency measured {self.settings.round}")
            return Best(self.folder, trial, reached(trial, step, measured))
        order = self.standing()
        if not order:
            raise ValueError(
                f"run {str(self.folder.path)!r} has no result yet; go on with it by `nas resume`"
            )
        return Best(self.folder, *order[0])

    @property
    def test(self) -> Mapping[str, float] | None:
        """The metrics of the exported model on the test images; None before the end."""
        test: Mapping[str, float] | None = self.history.events.get(f"test {self.settings.round}")
        return test

    def status(self) -> dict[str, Any]:
        """Return what ``nas show --json`` prints."""
        from estimators.cost.seconds import Interval
        from nas.status import status_of

        written, history = self.folder.status(), self.history
        return status_of(
            [history.trials[number] for number in sorted(history.trials)],
            _problem(self.settings, None),
            history.events,
            self.settings,
            state=written["state"],
            seconds=history.seconds,
            best=self.folder.best,
            error=written.get("error"),
            left=Interval(**left) if (left := written.get("seconds_left")) else None,
        )

    def export(self, to: str | Path, *, trial: int | None = None) -> Path:
        """Write the model (that of ``trial``, if its weights were kept) into the new folder ``to``; return it."""
        target = Path(to)
        if target.exists():
            raise ValueError(f"{str(target)!r} exists; choose a folder that does not")
        if trial is not None:
            from nas.exported import export_trial

            space = _search_space(self.settings, self.folder, self._own)
            return export_trial(self.folder, self.settings, space, self.history, trial, target)
        if not self.folder.best.is_dir():
            raise ValueError(
                f"run {str(self.folder.path)!r} has no exported model yet; go on with it by `nas resume`"
            )
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copytree(self.folder.best, partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target
