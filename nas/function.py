"""A user's own function as an estimator, by itself or over the folds of a cross-validation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
from nas.executor import Task
from nas.supervise import evaluate
from nas.trial import Metrics, checked_metrics


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
            curve[step], _ = checked_metrics(self._metrics(metrics), ())
            context.report(step, curve[step])

        def stopping() -> bool:
            return max(curve, default=0) >= fidelity.epochs or context.stopping()

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


@dataclass(frozen=True)
class Folded(Estimator):
    """A cross-validation: ``function`` once per fold, each with ``context.fold`` from 0 to ``folds - 1``.

    The metrics are means over the folds that succeeded. A fold that raises, or whose ``needed`` metrics are missing
    or not finite, is an error in its place, and so is one whose ``bounded`` metrics are there and not finite; where
    more than half of them are, so is the whole. Every fold starts afresh, at whatever fidelity: none goes on from a
    checkpoint. It is stopped when a fold is told to stop, or when it is time to and folds are left.
    """

    function: Function
    folds: int
    needed: tuple[str, ...]
    bounded: tuple[str, ...] = ()
    axes = Function.axes

    def __post_init__(self) -> None:
        if isinstance(self.folds, bool) or not isinstance(self.folds, int) or self.folds < 2:
            raise ValueError(f"folds={self.folds!r}; give a whole number from 2 up, for example 5")
        if not takes_context(self.function.function):
            raise ValueError(
                f"folds={self.folds} needs a function f(config, context): context.fold says which fold to hold out"
            )

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        results: list[Result] = []
        told: list[bool] = []  # that it is time to stop, to a fold under way

        def stopping() -> bool:
            if now := context.stopping():
                told.append(now)
            return now

        for fold in range(self.folds):
            if fold and context.stopping():
                return Result(stopped=True)
            results.append(self._fold(design, fidelity, replace(context, stopping=stopping), fold))
            if results[-1].stopped or told:
                return Result(stopped=True)
        return combined([self._outcome(result) for result in results])

    def _fold(self, design: Any, fidelity: Fidelity, context: Context, fold: int) -> Result:
        scratch = context.scratch / f"fold-{fold}"
        fresh = replace(context, start=0, checkpoint=None, fold=fold, folds=self.folds, scratch=scratch)
        return evaluate(Task(self.function, design, fidelity, fresh), context.stopping)

    def _outcome(self, result: Result) -> Metrics | str:
        if result.error is not None:
            return result.error
        try:
            needed = [*self.needed, *(name for name in self.bounded if name in result.metrics)]
            metrics, error = checked_metrics(result.metrics, needed)
        except ValueError as cause:
            return f"exception: {cause}"
        return error or metrics


def combined(folds: Sequence[Metrics | str]) -> Result:
    """Return the result that ``folds`` make: their mean, or the first error if more than half of them failed."""
    good = [fold for fold in folds if not isinstance(fold, str)]
    errors = [fold for fold in folds if isinstance(fold, str)]
    if len(errors) > len(good):
        return Result(error=f"{errors[0]} (in {len(errors)} of {len(folds)} folds)", folds=tuple(folds))
    names = [name for name in good[0] if all(name in fold for fold in good)]
    return Result({name: fmean(fold[name] for fold in good) for name in names}, folds=tuple(folds))
