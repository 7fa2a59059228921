"""Progress where the search was started: one live line in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from estimators.cost.seconds import Interval
from nas.tracker import Tracker, trackers
from nas.trial import Metrics, Problem, Step, Trial

QUIET = 1.0  # least seconds between two plain lines that tell of no new best
WIDTH = 100


@trackers.register("terminal")
class Terminal(Tracker):
    """``seconds`` and ``trials`` are the budget, ``left`` predicts its rest; ``console`` is where to print.

    ``begun`` are the numbers of the designs that were started before: they are counted, but not in the rate.
    """

    def __init__(
        self,
        folder: Path,
        problem: Problem,
        *,
        resumed: bool = False,
        seconds: float | None = None,
        trials: int | None = None,
        left: Callable[[], Interval | None] = lambda: None,
        begun: Collection[int] = (),
        console: Console | None = None,
    ) -> None:
        super().__init__(folder, problem, resumed=resumed)
        self.seconds, self.trials, self.left = seconds, trials, left
        self.console = console or Console(highlight=False)
        self._began, self._printed = time.monotonic(), 0.0
        self._started, self._before, self._failed = set(begun), len(set(begun)), 0
        self._best: tuple[int, int] | None = None
        self._live: Live | None = None
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=2, transient=True)
            self._live.start()
        self._state = "starting"

    def __rich__(self) -> Text:
        return Text(self._line()[:WIDTH], no_wrap=True)

    def started(self, trial: Trial) -> None:
        if trial.parent is None:
            self._started.add(trial.number)
        what = "final training of" if trial.replicate else "trial"
        self._state = f"{what} {trial.parent if trial.replicate else trial.number}"

    def logged(self, trial: Trial, step: Step, best: Trial | None) -> None:
        self._failed += step.error is not None
        news = None if best is None or best.last is None else (best.number, best.last.index)
        better = news is not None and news != self._best and best is not None and best.number == trial.number
        if news is not None:
            self._best = news
        now = time.monotonic()
        plain = self._live is None and now - self._printed >= QUIET
        if better or plain or step.error is not None:
            self._printed = now
            self.console.print(Text(self._told(trial, step, better)[:WIDTH]), soft_wrap=True)

    def ended(self, trials: Mapping[int, Trial], best: Trial | None, summary: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if best is not None:
            self.console.print(
                Text(f"best of the search: trial {best.number}  {self._numbers(best.metrics)}"[:WIDTH])
            )

    def _told(self, trial: Trial, step: Step, better: bool) -> str:
        name = f"trial {trial.number:4}" if not trial.replicate else f"final {trial.parent:4}"
        head = f"{_clock(time.monotonic() - self._began)}  {name}  epoch {step.fidelity.epochs:3}  "
        if step.error is not None:
            return f"{head}failed: {step.error}"
        return f"{head}{self._numbers({**trial.free, **step.metrics})}{'  best so far' if better else ''}"

    def _numbers(self, metrics: Metrics) -> str:
        names = dict.fromkeys([*(o.name for o in self.problem.objectives), "loss", "params"])
        shown = {name: metrics[name] for name in names if name in metrics}
        return "  ".join(
            f"{name} {value:,.0f}" if abs(value) >= 1000 else f"{name} {value:.4g}"
            for name, value in shown.items()
        )

    def _line(self) -> str:
        elapsed = time.monotonic() - self._began
        started, new = len(self._started), len(self._started) - self._before
        rate = 60 * new / max(elapsed, 1e-9)
        parts = [self._state, f"{started} started", f"{rate:.1f} a minute", _clock(elapsed)]
        if self._failed:
            parts.insert(2, f"{self._failed} failed")
        if (rest := self.left()) is not None:
            parts.append(f"{_clock(rest.median)} left ({_clock(rest.low)} to {_clock(rest.high)})")
        elif self.seconds is not None:
            parts.append(f"at most {_clock(max(self.seconds - elapsed, 0))} left")
        elif self.trials is not None and new:
            left = elapsed / new * max(self.trials - started, 0)
            parts.append(f"about {_clock(left)} of searching left")
        return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
