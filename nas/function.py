"""A user's own function as an estimator, by itself or over the folds of a cross-validation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
from nas.call import Call
from nas.executor import Task
from nas.saves import seal, sealed
from nas.supervise import evaluate
from nas.trial import Metrics, checked_metrics


class Warm:
    """What a ``Function`` keeps from one evaluation to the next in one process; it does not travel to another.

    ``call`` stands still where it reached its fidelity; ``values``, by trial, are of functions that know no fidelity.
    """

    def __init__(self) -> None:
        self.call: Call | None = None
        self.values: dict[Path, Metrics] = {}

    def __reduce__(self) -> tuple[type["Warm"], tuple[()]]:
        return Warm, ()


@dataclass(frozen=True)
class Function(Estimator):
    """A user's own ``f(config)`` or ``f(config, context)`` as an estimator.

    ``f`` returns one number (the first objective) or a map of metrics. Without a context it knows no fidelity: it is
    called once for a trial. With one it may ``report(epoch, metrics)`` epoch by epoch and return when ``stopping()``
    turns true, which it does at the fidelity that was asked for; when it returns None, the last report counts.

    Below ``context.horizon`` a call whose last report has all ``needed`` metrics is held at its fidelity, and that
    report is the result. It goes on from there if the same trial is asked for next, else it is told to end. A trial
    that is continued later is called anew, at ``context.start`` if it left a checkpoint of that epoch, else at 0. Save
    each epoch before you report it, as ``*.safetensors`` in ``context.scratch``: what was saved since the report before
    counts, unless it was written again before the call was held.
    A loop that ends at ``context.epochs`` instead of at ``context.horizon`` cannot go on and is called anew as well;
    one that goes on and ends by itself, as by a patience of its own, has its result. One that was told by
    ``stopping()`` to return before it had reported its fidelity was stopped, whatever it returns.
    With ``needed`` None no call is held.
    """

    function: Callable[..., Any]
    objective: str
    needed: tuple[str, ...] | None = None
    warm: Warm = field(default_factory=Warm, compare=False, repr=False)
    axes = ("epochs", "data", "side")

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        if not takes_context(self.function):
            return Result(metrics=self._once(design, context))
        if context.checkpoint is not None and not sealed(context.checkpoint, context.start):
            context = replace(context, start=0, checkpoint=None)  # written over by a call that was killed
        call = self._going_on(design, fidelity, context)
        before = 0 if call is None else max(call.curve)
        held = call is not None and call.run(fidelity, context)
        if call is None or not (held or max(call.curve) > before):
            call = Call(self.function, design, needed=self.needed, read=self._metrics)
            held = call.run(fidelity, context)
        self.warm.call = call if held else None
        return Result(stopped=True) if call.cut and not held else self._result(call, context)

    def release(self) -> None:
        """End the call that is held, if there is one."""
        call, self.warm.call = self.warm.call, None
        if call is not None:
            call.end()

    def _going_on(self, design: Any, fidelity: Fidelity, context: Context) -> Call | None:
        """Return the call that is held if it is one of this trial; another one is ended."""
        call = self.warm.call
        if call is not None and call.continues(design, fidelity, context):
            self.warm.call = None
            return call
        self.release()
        return None

    def _once(self, design: Any, context: Context) -> Metrics:
        values = self.warm.values
        if context.scratch not in values:
            values[context.scratch] = self._metrics(self.function(design))
        return values[context.scratch]

    def _result(self, call: Call, context: Context) -> Result:
        if call.returned is None and not call.curve:
            raise ValueError("the function returned None and reported nothing; return a number or a map")
        last = call.curve[max(call.curve)] if call.returned is None else self._metrics(call.returned)
        new = [step for step in sorted(call.curve) if step > context.start or not context.start]
        if (saved := call.checkpoint) is not None:
            seal(saved, context.epochs)
        curve = tuple(call.curve[step] for step in new)
        return Result(metrics=last, curve=curve, checkpoint=None if saved is None else saved.name)

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
