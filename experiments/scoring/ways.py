"""One training under its full schedule, and what four ways of scoring say of it on the way.

Notation
    e       epochs behind a score       H   the schedule's horizon, where the final accuracy is read
    recipe  the weights that the engine scores: the recipe's own average where it asks for one, else the raw ones
    raw     the weights as they are     ema   their average of decay ``DECAY``, whatever the recipe asks for
    branch  a copy of the state that is trained for half an epoch more while the learning rate falls linearly to 0,
            scored, and thrown away (Hägele et al. 2024, section 4: a decay at any point of a long training)
"""

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from estimators.average import Average
from estimators.batches import batch_bounds, epoch_batches
from estimators.divergence import Diverged
from estimators.estimator import Context
from estimators.loop import Training, predict
from estimators.optimizer import factor
from estimators.resident import Resident, resident
from estimators.score import scores
from estimators.train import BATCHES, DROPOUT, WEIGHTS, _members
from search_spaces.architecture import Design
from search_spaces.recipe import Recipe

DECAY = 0.98  # of the average; over 60 steps of 64 images, an epoch of 4,000, the first ones weigh 0.3
LENGTH = 0.5  # epochs of a branch
CPU = torch.device("cpu")


class Clock:
    """Seconds of the process's own time by what they went to."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._last = time.process_time()

    def to(self, what: str) -> None:
        """Count the time since the last call as spent on ``what``."""
        now = time.process_time()
        self.spent[what] = self.spent.get(what, 0.0) + now - self._last
        self._last = now


class Scored:
    """A training of ``design`` on ``share`` of the data in the folder ``data``, scored as it goes."""

    def __init__(self, design: Design, data: Path, *, share: float, seed: int, horizon: int) -> None:
        self.design, self.horizon = design, horizon
        self.context = Context(seed=seed, scratch=data, horizon=horizon)
        self.data: Resident = resident(str(data), "cpu", design.shape)
        self.recipe = Recipe.parse(design.recipe)
        self.members = _members(self.data, share, self.context)
        self.training = self._training(self.recipe)
        self.average, self.seconds_of_average = Average(self.training.network, DECAY), 0.0
        self.training.optimizer.register_step_post_hook(self._average)
        self.clock = Clock()

    def _training(self, recipe: Recipe) -> Training:
        network = self.design.network(self.context.entropy(WEIGHTS))
        kind = self.data.standardise.of_kind(recipe.normalize)
        return Training(network, recipe, kind, device=CPU, dtype=torch.float32)

    def _average(self, *_: object) -> None:
        began = time.process_time()
        self.average.update(self.training.steps + 1)
        self.seconds_of_average += time.process_time() - began

    def _seeds(self, epoch: int) -> tuple[int, int]:
        return self.context.entropy(BATCHES, epoch), self.context.entropy(DROPOUT, epoch)

    def accuracy(self, network: nn.Module) -> float:
        """Return the validation accuracy of ``network``; 0 where its outputs are no numbers."""
        logits = predict(network, self.data.val, self.training.standardise)
        return scores(logits, self.data.val.y)["accuracy"] if torch.isfinite(logits).all() else 0.0

    def run(self, at: tuple[int, ...]) -> dict:
        """Train to the horizon; return accuracies by epoch and way, and seconds, or the error of a diverged training.

        All four ways are scored after the epochs ``at``, what the recipe scores after the following one and at the end.
        """
        try:
            return self._run(at)
        except Diverged as reason:
            return {"error": str(reason)}

    def _run(self, at: tuple[int, ...]) -> dict:
        found: dict[str, dict[str, float]] = {}
        for epoch in range(1, self.horizon + 1):
            seeds = self._seeds(epoch)
            self.training.epoch(
                self.data.train,
                self.members,
                epoch=epoch,
                horizon=self.horizon,
                seeds=seeds,
                watch=lambda: None,
            )
            self.clock.to("training")
            if epoch in at:
                found[str(epoch)] = {**self._by_way(), "branch": self._branch(epoch)}
            elif epoch - 1 in at or epoch == self.horizon:
                found[str(epoch)] = {"recipe": self.accuracy(self.training.scored)}
                self.clock.to("scores")
        spent = {**self.clock.spent, "average": self.seconds_of_average}
        spent["training"] -= self.seconds_of_average
        return {"accuracies": found, "seconds": spent}

    def _by_way(self) -> dict[str, float]:
        training = self.training
        found = {"raw": self.accuracy(training.network), "ema": self.accuracy(self.average.network)}
        own = {None: "raw", DECAY: "ema"}.get(self.recipe.ema)
        found["recipe"] = found[own] if own else self.accuracy(training.scored)
        self.clock.to("scores")
        return found

    def _branch(self, epoch: int) -> float:
        """Return the accuracy after half an epoch's decay from the end of ``epoch``; the training does not move."""
        copy = self._training(replace(self.recipe, ema=None))
        copy.restore(self.training.state().clone())
        batches = len(batch_bounds(len(self.members), self.recipe.batch_size))
        steps = max(1, round(LENGTH * batches))
        share = factor(self.recipe.schedule, epoch * batches, self.horizon * batches, self.recipe.warmup)
        torch.manual_seed(self._seeds(epoch + 1)[1])
        copy.network.train()
        feed = epoch_batches(
            self.data.train, self.members, self.recipe, copy.standardise, self._seeds(epoch + 1)[0]
        )
        for i, (z, labels) in zip(range(steps), feed, strict=False):
            copy.step(z, labels, share * (1 - i / steps))
        accuracy = self.accuracy(copy.network)
        self.clock.to("branches")
        return accuracy
