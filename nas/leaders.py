"""What leads a search when designs are no longer begun, and which trained weights win, by latencies that were measured.

While designs are searched a latency is predicted; what leads is measured alone, and each number is stored once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.checkpoints import folder_of
from nas.exclusive import Latencies
from nas.history import reached
from nas.plan import MOST_FINALS
from nas.study import Study
from nas.trial import Step, Trial

MEASURED = "latency measured"


class Decisions:
    """What was decided in round ``number`` of a run: events of ``study``, stored before they are acted on."""

    def __init__(self, study: Study, number: int) -> None:
        self._study, self._number = study, number

    def get(self, name: str) -> Any:
        """Return what was decided under ``name``, None before."""
        return self._study.history.events.get(f"{name} {self._number}")

    def keep(self, name: str, value: Any) -> None:
        """Store ``value``, plain JSON, as what is decided under ``name``."""
        self._study.note(f"{name} {self._number}", value)


class Leaders:
    """The trials of ``study`` in their order by measured ``latencies`` (None where they do not count).

    Weights of trials lie in the folder ``checkpoints``. ``trained`` says that the search trained its designs: what it
    only scored, on fewer images, is not compared with final trainings.
    """

    def __init__(
        self,
        study: Study,
        decisions: Decisions,
        latencies: Latencies | None,
        checkpoints: Path,
        *,
        trained: bool = True,
    ) -> None:
        self._study, self._decisions, self._trained = study, decisions, trained
        self._latencies, self._checkpoints = latencies, checkpoints

    def measure(self) -> None:
        """Measure the latency of what the search has found, now that nothing else is at work.

        Of what stands, as much as it takes for ``MOST_FINALS`` designs to hold the bounds by what was measured.
        """
        if self._latencies is None or self._decisions.get(MEASURED) is not None:
            return
        standing = self._study.standing()
        leading = [*self._study.pareto, *(trial for trial, _ in standing[:MOST_FINALS])]
        measured = self._latencies.alone(list({trial.number: trial for trial in leading}.values()))
        held = 0
        for trial, metrics in standing:
            if held >= MOST_FINALS:
                break
            if str(trial.number) not in measured:
                measured |= self._latencies.alone([trial])
            held += not self._study.problem.violation({**metrics, "latency": measured[str(trial.number)]})
        self._decisions.keep(MEASURED, measured)

    def standing(self) -> list[Trial]:
        """Return the feasible trials, best first; what breaks a bound as measured only if all of them do."""
        problem, measured = self._study.problem, self._measured
        entries = []
        for trial, metrics in self._study.standing():
            alone = measured.get(str(trial.number), metrics.get("latency"))
            entries.append((trial, metrics if alone is None else {**metrics, "latency": alone}))
        entries = [entry for entry in entries if not problem.violation(entry[1])] or entries
        ranks = problem.ranks([metrics for _, metrics in entries])
        return [trial for _, (trial, _) in sorted(zip(ranks, entries, strict=True), key=lambda pair: pair[0])]

    def winner(self, replicate: int) -> tuple[Trial, Step] | None:
        """Return the best by validation of the repeats numbered ``replicate`` and the search's best, and its step."""
        finals = [trial for trial in self._study.trials if trial.replicate == replicate]
        candidates = [found for trial in finals if (found := self._usable(trial)) is not None]
        if self._trained or not candidates:
            candidates += self._searched_best()
        if not candidates:
            return None
        ranks = self._study.problem.ranks([self.reached(trial, step) for trial, step in candidates])
        return candidates[ranks.index(0)]

    def reached(self, trial: Trial, step: Step) -> dict[str, float]:
        """Return the metrics of ``step``, a measured latency in the place of the predicted one."""
        return reached(trial, step, self._decisions.get(MEASURED))

    def why_none(self, path: Path) -> str:
        """Return why there is no winner, and what helps, for the user of the run at ``path``."""
        problem, trials = self._study.problem, self._study.trials
        trained = [(trial, self.reached(trial, step)) for trial in trials if (step := trial.trained)]
        if trained:
            nearest, metrics = min(trained, key=lambda pair: problem.violation(pair[1]))
            broken = [one for one in problem.constraints if one.violation(metrics)]
            if not broken:
                return (
                    f"the weights of all good trials are gone; train more by `nas resume {path} --trials 10`"
                )
            got = " and ".join(f"{one.name} {metrics[one.name]:.4g}" for one in broken)
            return (
                f"none of {len(trained)} trained designs satisfies {' and '.join(map(str, broken))}; "
                f"the nearest reached {got} (trial {nearest.number}); loosen the bound in a new search"
            )
        causes = [trial.last.error for trial in trials if trial.last and trial.last.error]
        if not causes:
            return "the budget ended before one model was trained; give a longer --budget"
        common = max(set(causes), key=causes.count)
        return f"no trial succeeded: {len(causes)} failed, most with {common!r}; see `nas show {path}`"

    @property
    def _measured(self) -> Mapping[str, float]:
        return self._decisions.get(MEASURED) or {}

    def _searched_best(self) -> list[tuple[Trial, Step]]:
        """Return the best of the search whose weights are there, its latency measured; nothing if there is none."""
        for trial in self.standing():
            if self._usable(trial) is not None:
                self._measure(trial)
                if (found := self._usable(trial)) is not None:
                    return [found]
        return []

    def _measure(self, trial: Trial) -> None:
        """Measure the latency of ``trial`` if it was only predicted."""
        if self._latencies is not None and str(trial.number) not in self._measured:
            self._decisions.keep(MEASURED, {**self._measured, **self._latencies.alone([trial])})

    def _usable(self, trial: Trial) -> tuple[Trial, Step] | None:
        """Return the newest trained step of ``trial`` if its weights are there and it holds the constraints."""
        step = trial.trained
        if step is None or self._study.problem.violation(self.reached(trial, step)):
            return None
        checkpoint = self._checkpoints / folder_of(trial) / str(step.checkpoint)
        return (trial, step) if checkpoint.exists() else None
