"""How long trainings take and how much time is left, predicted from what was measured in this run.

The model of seconds is fitted to the calibration of the default design and to every finished step in the store: a
function of stored results alone, so that a resumed run predicts as it would have without the interruption. A step that
was ended when its time was up took at least that: it counts as a row where the model of the others says less, and
without it a machine that became slow would end every trial for ever.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from estimators.cost.seconds import Interval, Seconds, Work, fit
from nas.plan import FEW, MANY, Cost
from nas.trial import Step, Trial
from search_spaces.architecture import Design
from search_spaces.space import Configuration

TIMEOUT = "timeout:"  # what the error of a step begins with that was ended when its time was up
NEWEST = 400  # steps that a model is fitted on
NORMAL = 1.645  # deviations of a normal distribution that hold 90 %


class Durations:
    """Seconds of the trainings of a run, on ``images`` training and ``val`` validation images.

    ``cost`` is what an epoch of the ``default`` design was measured to take, if that was done.
    """

    def __init__(
        self,
        decode: Callable[[Configuration], Design],
        default: Configuration,
        *,
        images: int,
        val: int,
        cost: Cost | None,
    ) -> None:
        self._decode, self.images, self.val = decode, images, val
        self._rows: list[tuple[Work, float]] = []
        if cost is not None:
            self.learn(default, cost)
        self._known: dict[int, tuple[Work, float]] = {}
        # of steps that were ended: seconds they took at least
        self._least: dict[int, tuple[Work, float]] = {}
        self._fitted: tuple[int, Seconds] | None = None

    def learn(self, default: Configuration, cost: Cost) -> None:
        """Know what an epoch of the ``default`` design was measured to take."""
        counts = cost.measured or [min(self.images, count) for count in (FEW, MANY)]  # of runs of before
        self._rows = [(self.work(default, 1, count), cost.seconds(count)) for count in counts]

    def work(self, config: Configuration, epochs: int, images: float) -> Work:
        """Return the work of training the design of ``config`` for so many passes over so many images."""
        return Work.of(self._decode(config), epochs=epochs, images=images, val=self.val)

    def model(self, trials: Iterable[Trial]) -> Seconds | None:
        """Return the model of all ended steps of ``trials``; None when nothing was measured yet."""
        for trial in trials:
            for step in trial.steps:
                if step.index not in self._known and step.index not in self._least:
                    self._take(trial, step)
        count = len(self._known) + len(self._least)
        if not count and not self._rows:
            return None
        if self._fitted is None or self._fitted[0] != count:
            self._fitted = count, self._fit()
        return self._fitted[1]

    def _take(self, trial: Trial, step: Step) -> None:
        """Keep what ``step`` took, or took at least; of one that failed otherwise nothing is known."""
        images = step.fidelity.data * self.images
        if step.error is None and step.curve and step.seconds > 0:
            self._known[step.index] = self.work(trial.config, len(step.curve), images), step.seconds
        elif step.error is not None and step.error.startswith(TIMEOUT) and step.seconds > 0:
            epochs = max(step.fidelity.epochs - step.start, 1)
            self._least[step.index] = self.work(trial.config, epochs, images), step.seconds

    def _fit(self) -> Seconds:
        """Return the model of the newest rows; of lower bounds those that the model of the others falls short of."""
        newest = sorted([*self._known, *self._least])[-NEWEST:]
        rows = self._rows + [self._known[index] for index in newest if index in self._known]
        least = [self._least[index] for index in newest if index in self._least]
        if not rows:
            return fit(least)
        model = fit(rows)
        short = [(work, seconds) for work, seconds in least if model.predict(work).median < seconds]
        return fit(rows + short) if short else model

    def step(self, trial: Trial, trials: Iterable[Trial]) -> Interval | None:
        """Return the seconds of what ``trial`` was asked for; None when nothing was measured yet."""
        model, asked = self.model(trials), trial.asked
        if model is None or asked is None:
            return None
        epochs = max(asked.fidelity.epochs - asked.start, 1)
        return model.predict(self.work(trial.config, epochs, asked.fidelity.data * self.images))

    def finals(self, due: Iterable[tuple[Trial, int]], trials: Iterable[Trial]) -> Interval | None:
        """Return the seconds of so many epochs on all of the images for each of the trials ``due``; None as above."""
        model = self.model(trials)
        if model is None:
            return None
        return added(
            [
                model.predict(self.work(trial.config, epochs, self.images))
                for trial, epochs in due
                if epochs > 0
            ]
        )

    def searching(self, trials: Sequence[Trial], starts: int) -> Interval | None:
        """Return the seconds that ``starts`` further designs take, by what those before took; None before two.

        What a scheduler goes on with is counted where it was started, and what is forked where its lineage was.
        """
        by_start = dict[int, float]()
        for trial in trials:
            if trial.replicate == 0 and trial.steps:
                root = trial.lineage if trial.fork else trial.number
                by_start[root] = by_start.get(root, 0.0) + trial.seconds
        spent = list(by_start.values())
        if len(spent) < 2 and starts > 0:
            return None
        mean = sum(spent) / max(len(spent), 1)
        deviation = math.sqrt(sum((one - mean) ** 2 for one in spent) / max(len(spent) - 1, 1))
        spread = NORMAL * deviation * math.sqrt(starts + starts**2 / max(len(spent), 1))
        return Interval(starts * mean, max(starts * mean - spread, 0.0), starts * mean + spread)


def added(parts: Sequence[Interval]) -> Interval:
    """Return the sum of ``parts``: spreads add as independent ones would, on either side."""
    median = sum(part.median for part in parts)
    low = math.sqrt(sum((part.median - part.low) ** 2 for part in parts))
    high = math.sqrt(sum((part.high - part.median) ** 2 for part in parts))
    return Interval(median, max(median - low, 0.0), median + high)
