"""A supernet, trained where its scores are asked for: as the estimator, or as a signal beside others.

That is before the search; under ``auto`` it is called for early in one whose untrained networks have not been shown to
say anything, if ``ENOUGH`` steps fit into a small share of the time that is left.

Its share of the search's time is planned once, from what designs are predicted to take, and stored; a resume goes on
with the file, epoch by epoch. With a budget of trials alone its epochs are a number, so that no clock has a say.

One whose picks prove to be worth nothing is split in two (few-shot, Zhao et al. 2021), once, while nothing is in
flight: with several workers that is never so, and it stays whole.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from estimators import checkpoint as checkpoints
from estimators.estimator import Context, Fidelity, Result
from estimators.score import FROM_LOGITS
from estimators.sharing import FILE
from estimators.sharing.inherited import joined
from estimators.sharing.paths import Paths
from estimators.sharing.splitting import Split
from estimators.sharing.supernet import Plan
from estimators.sharing.weights import KERNELS
from estimators.supernet import SPLIT as SPLIT_FILE
from estimators.supernet import SupernetSplitting, SupernetTraining
from nas.calibration import Failed
from nas.duration import Durations
from nas.executor import Executor, Limits, Task
from nas.flights import evaluated
from nas.folder import INHERIT, Folder
from nas.study import Study
from nas.trust import SPLIT, SPLIT_DONE, SUPERNET, VOTE, Trust, has_say, outranked
from search_spaces.architecture import Design, SearchSpace
from search_spaces.recipe import Recipe
from search_spaces.registry import nearest

EVENT, DONE = "supernet", "supernet trained"
SPLIT_SHARE = 0.15  # of the seconds that are left of the search, for both halves
# of the seconds of the search, or of what is left of it, by what the scores are for
SHARES = {"estimator": 0.5, "signal": 0.25, "called": 0.1}
# steps after which one ranks `mobile` nearly as a second training does (experiments/supernet_rank)
ENOUGH = 4_500
# trials with which the vote of untrained networks is compared before a supernet is called for, the tau that it is then
# below, and the start after which none is called for any more
DOUBTFUL, POOR, LATEST = 24, 0.3, 64
COUNTED = 30  # epochs under a budget of trials
# epochs: with fewer it has learned nothing, and more are seldom better than more designs
LEAST, MOST = 5, 300
LEARNED = 1_000  # steps after which fewer epochs will do: `chain` was ranked no better after 4,500 (experiments/LOG.md)
# what a user may choose of how a supernet is trained and scores, see Plan and Paths
OPTIONS: Mapping[str, type] = {
    "kernels": str,
    "sampling": str,
    "each": int,
    "sandwich": bool,
    INHERIT: bool,
    "shrink": float,
    "calibrate": int,
    "validate": int,
}
KINDS = {str: "a word", int: "a whole number", bool: "true or false", float: "a number"}
_ALL = Paths()
PIECES = 20  # parts in which it is trained
SAMPLE = 16  # designs by whose predicted seconds the epochs are planned
BESIDES = 1.2  # times the seconds of trainings of the same designs that an epoch is planned to take
SLACK = 1.5  # times its planned seconds it may take


def plan_of(options: Mapping[str, Any], epochs: int, paths: Paths = _ALL) -> Plan:
    """Return the plan of so many ``epochs`` on what ``paths`` draws, with the ``options`` of a user by name.

    A ``ValueError`` says which option is none, or has a value that is none.
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"supernet_options={options!r}: give names and values, such as sandwich: true")
    for name, value in options.items():
        if name not in OPTIONS:
            raise ValueError(f"no supernet option {name!r}; {nearest(str(name), list(OPTIONS))}")
        kind = OPTIONS[name]
        if not isinstance(value, (int, float) if kind is float else kind) or (
            kind is not bool and isinstance(value, bool)
        ):
            raise ValueError(f"supernet option {name}={value!r}: give {KINDS[kind]}")
    if (kernels := options.get("kernels", "centre")) not in KERNELS:
        raise ValueError(f"supernet option kernels={kernels!r}: {nearest(kernels, list(KERNELS))}")
    if options.get("calibrate", 1) < 1:  # the exported weights would have no statistics
        raise ValueError(f"supernet option calibrate={options['calibrate']}: give 1 image or more")
    of_paths = {name: value for name, value in options.items() if hasattr(paths, name)}
    others = {name: value for name, value in options.items() if name not in {*of_paths, INHERIT}}
    return Plan(epochs, replace(paths, **of_paths), **others)


class Pretraining:
    """Has the supernet of ``search_space`` trained in the run ``folder``.

    ``role`` says what its scores are for: "estimator", "signal", or "called" for a signal that is called for in the
    midst of a search. ``options`` are a user's (``plan_of``), ``settings`` further fields of a ``Context``.
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
        options: Mapping[str, Any],
        settings: Mapping[str, Any],
        memory: int | None,
    ) -> None:
        self.options = options
        self.study, self.search_space = study, search_space
        self.executor, self.durations = executor, durations
        self.folder, self.role, self.precision = folder, role, precision
        self.settings, self.memory = settings, memory

    def run(self, seconds: float | None) -> None:
        """Train what is left of it, given the ``seconds`` of the search; raises ``Failed`` if it cannot be trained.

        After each of ``PIECES`` parts what it took is stored: after a kill the time goes on where it was.
        """
        events = self.study.history.events
        there = self._readable()
        if DONE in events and there:
            return
        if EVENT not in events:
            self.study.note(EVENT, {**self._planned(seconds), "reached": 0, "spent": 0.0})
        elif events[EVENT]["reached"] and not there:
            self._lost()
        plan = self._prolonged(self.study.history.events[EVENT], seconds)
        plan = self._trained(EVENT, plan, self._paths(), self.folder.supernet)
        self.study.note(DONE, {"epochs": plan["reached"], "seconds": plan["spent"]})

    def wanted(self, known: Sequence[Trust], seconds: float | None) -> bool:
        """Return whether to train it in the midst of a search, of which ``seconds`` are left.

        That is where the vote of untrained networks was compared with ``DOUBTFUL`` trials, has no say and a tau below
        ``POOR``, not many designs were begun, what is searched is what a supernet scores, and there is time for
        ``ENOUGH`` steps.
        """
        vote = next((one for one in known if one.signal == VOTE and one.n >= DOUBTFUL), None)
        if vote is None or has_say(known, VOTE) or vote.tau >= POOR or seconds is None:
            return False
        default = self.search_space.decode(self.search_space.space.default())
        if self.study.history.starts > LATEST or default.graph is None:
            return False
        if any(one.name not in FROM_LOGITS for one in self.study.problem.objectives):
            return False
        try:
            epochs, _ = self._epochs(seconds)
        except Failed:
            return False
        return epochs >= self._least and epochs * self._steps >= ENOUGH

    @property
    def _steps(self) -> float:
        """Steps of an epoch."""
        recipe = self.search_space.decode(self.search_space.space.default()).recipe
        return self.durations.images / Recipe.parse(recipe).batch_size

    @property
    def _least(self) -> int:
        """The least epochs: ``LEAST``, or as many as ``LEARNED`` steps take if these are fewer."""
        return min(LEAST, math.ceil(LEARNED / self._steps))

    def _readable(self) -> bool:
        try:
            checkpoints.load(self.folder.supernet)
        except ValueError:
            return False
        return True

    def _lost(self) -> None:
        """Have it trained from the start: its file is gone, or damaged. It was whole, or is from now on."""
        if self.folder.supernet.exists():
            self.folder.supernet.replace(self.folder.supernet.with_name(f"{FILE}.damaged"))
        events = self.study.history.events
        self.study.note(EVENT, {**events[EVENT], "reached": 0, "spent": 0.0})
        if SPLIT in events:
            self.study.note(SPLIT_DONE, {"failed": "the file of its halves is gone"})

    # a split

    def doubted(self, known: Sequence[Trust]) -> bool:
        """Return whether the picks of a whole supernet have been measured to be worth no more than what is free."""
        events = self.study.history.events
        whole = self.role == "signal" and DONE in events and SPLIT not in events
        return whole and outranked(known, SUPERNET)

    def split(self, seconds: float | None) -> bool:
        """Train halves of the supernet, given the ``seconds`` left of the search; return whether they took its place.

        Along the choice whose options conflict most. What is decided and trained is stored on the way, so that after a
        kill it goes on; what cannot be split, or not in the time, stays whole.
        """
        if SPLIT not in self.study.history.events:
            self.study.note(SPLIT, self._parted(seconds))
        plan = self.study.history.events[SPLIT]
        if SPLIT_DONE not in self.study.history.events:
            self.study.note(SPLIT_DONE, self._halved(plan))
        for half in self._halves:
            half.unlink(missing_ok=True)
        return "failed" not in self.study.history.events[SPLIT_DONE]

    @property
    def _halves(self) -> tuple[Path, Path]:
        scratch = self.folder.checkpoints / "supernet"
        return scratch / "half-0.safetensors", scratch / "half-1.safetensors"

    def _parted(self, seconds: float | None) -> dict[str, Any]:
        """Return along which choice to split, and the epochs and seconds of each half; "failed" says why it is not."""
        began, whole = self.study.seconds, self.study.history.events[EVENT]
        allowed = None if seconds is None else SPLIT_SHARE * seconds
        if self._epochs_of_half(allowed) < self._least_of_half:
            return {"failed": f"the time is too short for {self._least} epochs of each half"}
        finding = SupernetSplitting(
            self.folder.data,
            self.search_space,
            plan_of(self.options, whole["epochs"], self._paths()),
            self.folder.supernet,
            precision=self.precision,
        )
        context, limits = self._context_of(epochs=1), Limits(memory=self.memory, seconds=allowed)
        result = evaluated(self.executor, Task(finding, None, Fidelity(), context, limits))
        if result.error is not None or result.stopped:
            return {"failed": result.error or "the time was too short to find a choice to split by"}
        row = json.loads((context.scratch / SPLIT_FILE).read_text())
        if row is None:
            return {"failed": "the space has no choice to split by"}
        if allowed is None:
            return {**row, "epochs": self._epochs_of_half(None), "seconds": None}
        left = allowed - (self.study.seconds - began)
        if (epochs := self._epochs_of_half(left)) < self._least_of_half:
            return {"failed": f"the time is too short for {self._least} epochs of each half"}
        return {**row, "epochs": epochs, "seconds": round(left / 2, 3)}

    def _epochs_of_half(self, seconds: float | None) -> int:
        """Return how many epochs each half has in the ``seconds`` of both: half as many as the whole has, at most."""
        whole = self.study.history.events[EVENT]
        most = max(1, whole["epochs"] // 2)
        if seconds is None:
            return int(most)
        return int(min(most, seconds / 2 / (whole["spent"] / max(whole["reached"], 1))))

    @property
    def _least_of_half(self) -> int:
        """The least epochs of a half: where the whole is planned for fewer than twice as many, half of its own."""
        return int(min(self._least, max(1, self.study.history.events[EVENT]["epochs"] // 2)))

    def _halved(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Train the halves that ``plan`` says and put them in the place of the whole; return what they took."""
        if "failed" in plan:
            return {"failed": plan["failed"]}
        split, taken = Split.of(plan), []
        for number, half in enumerate(self._halves):
            name = f"{SPLIT} {number}"
            begun = self.study.history.events.get(name)
            begun = begun or {
                "epochs": plan["epochs"],
                "seconds": plan["seconds"],
                "reached": 0,
                "spent": 0.0,
            }
            paths = replace(self._paths(), only=(split.path, split.groups[number]))
            try:
                taken.append(self._trained(name, begun, paths, half, parent=self.folder.supernet))
            except Failed as error:
                return {"failed": str(error)}
        joined(self.folder.supernet, self._halves, split)
        return {"epochs": [one["reached"] for one in taken], "seconds": sum(one["spent"] for one in taken)}

    # both

    def _trained(
        self, name: str, plan: Mapping[str, Any], paths: Paths, file: Path, *, parent: Path | None = None
    ) -> Mapping[str, Any]:
        """Train what is left of ``plan`` part by part, each stored as event ``name``; return what it has come to."""
        while plan["reached"] < plan["epochs"]:
            result = self._part(plan, paths, file, parent)
            if result.error is not None:
                raise Failed(
                    f"the supernet could not be trained: {result.error}{self._instead('use another space')}"
                )
            reached = int(result.metrics["epochs"])
            plan = {**plan, "reached": reached, "spent": round(plan["spent"] + result.seconds, 3)}
            self.study.note(name, plan)
            if result.stopped:
                break
        if plan["reached"] < (least := min(self._least, plan["epochs"])):
            raise Failed(
                f"{plan['reached']} epochs of the supernet ended in {plan['spent']:.0f} s, and {least} are the least"
                + self._instead("give a longer --budget")
            )
        return plan

    def _instead(self, advice: str) -> str:
        """Return what to do, as the end of a message: nothing where nobody asked for a supernet."""
        return (
            "; the search goes on without"
            if self.role == "called"
            else f"; {advice}, or the estimator 'train'"
        )

    def _prolonged(self, plan: Mapping[str, Any], seconds: float | None) -> Mapping[str, Any]:
        """Return ``plan`` with the time that it may have of a search of ``seconds`` more: a budget may have grown.

        One that is called for has no more than is left.
        """
        if seconds is None or plan["seconds"] is None:
            return plan
        allowed = max(plan["seconds"], plan["spent"] + SHARES[self.role] * seconds)
        if self.role == "called":
            allowed = min(allowed, plan["spent"] + max(seconds, 0.0))
        return {**plan, "seconds": allowed}

    def _part(self, plan: Mapping[str, Any], paths: Paths, file: Path, parent: Path | None) -> Result:
        """Train the next part; at the end of the time its last whole epoch counts."""
        upto = min(plan["epochs"], plan["reached"] + math.ceil(plan["epochs"] / PIECES))
        limits = Limits(memory=self.memory)
        if plan["seconds"] is not None:  # with time to save, or to be ended, before it is up
            left = max(plan["seconds"] - plan["spent"], 1.0)
            limits = replace(limits, seconds=left - min(limits.grace, left / 10))
        training = SupernetTraining(
            self.folder.data,
            self.search_space,
            plan_of(self.options, plan["epochs"], paths),
            file,
            precision=self.precision,
            parent=parent,
        )
        return evaluated(
            self.executor, Task(training, None, Fidelity(upto), self._context_of(epochs=upto), limits)
        )

    def _context_of(self, *, epochs: int) -> Context:
        scratch = self.folder.checkpoints / "supernet"
        return Context(seed=self.study.seed, scratch=scratch, epochs=epochs, partial=True, **self.settings)

    def _planned(self, seconds: float | None) -> dict[str, Any]:
        """Return the epochs, and the seconds that they may take."""
        if seconds is None:
            return {"epochs": COUNTED, "seconds": None}
        allowed = SHARES[self.role] * seconds
        epochs, epoch = self._epochs(seconds)
        if epochs < self._least:
            raise Failed(
                f"an epoch of the supernet takes about {epoch:.0f} s here, and {self._least} are the least: that is "
                f"{self._least * epoch / allowed:.1f} times what it may have"
                + self._instead("give a --budget so much longer")
            )
        return {"epochs": epochs, "seconds": SLACK * allowed}

    def _epochs(self, seconds: float) -> tuple[int, float]:
        """Return how many epochs it may have of a search of so many ``seconds`` more, and the seconds of each."""
        epoch = self._epoch_seconds()
        return min(MOST, int(SHARES[self.role] * seconds / epoch)), epoch

    def _epoch_seconds(self) -> float:
        """Return the seconds of an epoch: what as many designs as a step has are predicted to take on average.

        With a sandwich its ends are among them.
        """
        own = plan_of(self.options, 1, self._paths()).paths
        paths = replace(own, each=SAMPLE, shrink=0.0)
        try:
            designs = next(paths.draws(self.search_space, self.study.seed, epoch=0, horizon=1))
        except ValueError as error:
            raise Failed(f"the supernet could not be trained: {error}") from None
        model = self.durations.model([])
        assert model is not None  # the calibration is there
        seconds = [model.predict(self._work(one)).median for one in designs]
        ends = seconds[0] + seconds[-1] if own.sandwich else 0.0
        return BESIDES * (ends + own.each * (sum(seconds) - ends) / SAMPLE)

    def _work(self, design: Design) -> Any:
        return self.durations.work(design.config, 1, self.durations.images)

    def _paths(self) -> Paths:
        bounds = [one.bound for one in self.study.problem.constraints if one.name == "macs" and one.upper]
        return Paths(macs=min(bounds, default=None))
