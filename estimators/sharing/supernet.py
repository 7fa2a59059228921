"""A supernet: shared weights of one space, trained on one data set, in one file that any kill leaves whole.

All randomness is counted by the seed and the epoch: training that was interrupted after any epoch goes on from the file
and ends with the weights of the uninterrupted one, bit for bit on a CPU.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from estimators import checkpoint as checkpoints
from estimators.batches import epoch_batches
from estimators.checkpoint import Checkpoint
from estimators.cost.memory import pieces_within
from estimators.device import compute_dtype, find_device
from estimators.estimator import Context
from estimators.preprocess import Standardise
from estimators.resident import resident
from estimators.saved import content_hash
from estimators.sharing.candidate import Candidate
from estimators.sharing.paths import Paths
from estimators.sharing.scoring import Scorer
from estimators.sharing.splitting import Split, always_told, similarities, splits
from estimators.sharing.training import SharedTraining
from estimators.sharing.weights import SharedWeights
from search_spaces.architecture import SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.recipe import Recipe

BATCHES, DROPOUT, SPLIT = 122, 123, 124  # purposes of counted randomness
SURVEYED = 200  # designs by which the size of the shared tensors is found; later ones let them grow


@dataclass(frozen=True)
class Plan:
    """How a supernet is trained: ``epochs`` passes over the training images, which designs a step takes (``paths``).

    ``recipe`` is a configuration of the recipe space (by default that of the default design), ``kernels`` how kernels
    share (``estimators.sharing.weights``), ``calibrate`` and ``validate`` the images of a score. A recipe's average of
    weights (``ema``) is not kept: there is no one network to average.
    """

    epochs: int
    paths: Paths = field(default_factory=Paths)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    kernels: str = "centre"
    calibrate: int = 500
    validate: int = 1000

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.calibrate < 0 or self.validate < 2:
            raise ValueError(f"{self!r}: epochs must be 1 or more, calibrate 0 or more, validate 2 or more")


class Supernet:
    """The supernet of ``space`` on the data saved in ``data``; it goes on from ``file`` where that exists.

    Else it begins with the weights of the supernet in the file ``parent``, if one is given: one half of a split. A file
    of another plan, seed, space, data set or precision is a ``ValueError``. On a CPU batches are cut so that the
    designs surveyed keep within ``memory`` bytes.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Path | str,
        plan: Plan,
        file: Path,
        *,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "auto",
        parent: Path | None = None,
        memory: float | None = None,
    ) -> None:
        self.space, self.data, self.plan, self.file, self.seed = space, str(data), plan, file, seed
        self.parent, self.memory, self.device = parent, memory, find_device(device)
        self.dtype = compute_dtype(precision, self.device)
        wanted = space.space.partial({f"recipe.{path}": value for path, value in plan.recipe.items()})
        self._recipe = space.space.default(wanted).part("recipe")
        self.recipe = Recipe.parse(self._recipe)
        self._images = resident(self.data, str(self.device), space.architecture.shape)
        self._begin()

    def _begin(self) -> None:
        """Be what the file says, or the beginning."""
        shared = SharedWeights(seed=self.seed, kernels=self.plan.kernels, device=self.device)
        standardise: Standardise = self._images.standardise.of_kind(self.recipe.normalize)
        self.training = SharedTraining(shared, self.recipe, standardise, dtype=self.dtype)
        self.curve: list[float] = []
        if self.file.exists():
            self._read(checkpoints.load(self.file))
        elif self.parent is not None:
            self.training.restore(checkpoints.load(self.parent))
        else:
            self._survey()

    @property
    def shared(self) -> SharedWeights:
        """The shared tensors."""
        return self.training.shared

    @property
    def done(self) -> bool:
        """Whether it is trained."""
        return len(self.curve) >= self.plan.epochs

    def train(
        self,
        *,
        watch: Callable[[], None] = lambda: None,
        preferred: Sequence[Configuration] = (),
        report: Callable[[int, Mapping[str, float]], None] = lambda epoch, metrics: None,
        epochs: int | None = None,
    ) -> None:
        """Train what is left of the plan, or ``epochs`` in all; after each the file is replaced in one move.

        Every second draw is one of ``preferred``: designs that a search holds for good. ``watch`` may raise to stop:
        then it is again what it was after the last whole epoch.
        """
        try:
            self._train(watch, preferred, report, self.plan.epochs if epochs is None else epochs)
        except BaseException:
            self._begin()
            raise

    def _train(
        self,
        watch: Callable[[], None],
        preferred: Sequence[Configuration],
        report: Callable[[int, Mapping[str, float]], None],
        epochs: int,
    ) -> None:
        members = torch.arange(len(self._images.train))
        while len(self.curve) < min(epochs, self.plan.epochs):
            epoch = len(self.curve) + 1
            context = Context(seed=self.seed, scratch=self.file.parent)
            draws = self.plan.paths.draws(
                self.space, self.seed, epoch=epoch, horizon=self.plan.epochs, preferred=preferred
            )
            loss = self.training.epoch(
                self._images.train,
                members,
                draws,
                epoch=epoch,
                horizon=self.plan.epochs,
                seeds=(context.entropy(BATCHES, epoch), context.entropy(DROPOUT, epoch)),
                distil=self.plan.paths.sandwich,
                watch=watch,
            )
            self.curve.append(loss)
            self.save()
            report(epoch, {"train_loss": loss})

    def scorer(self) -> Scorer:
        """Return what scores designs with the weights as they are."""
        plan = self.plan
        return Scorer(
            self.shared,
            self.data,
            self.recipe,
            seed=self.seed,
            calibrate=plan.calibrate,
            validate=plan.validate,
        )

    def split(self, *, designs: int = 4) -> Split | None:
        """Return the split whose groups conflict most, by ``designs`` draws of each choice; None without a choice."""
        context = Context(seed=self.seed, scratch=self.file.parent)
        members = torch.arange(len(self._images.train))
        epoch = len(self.curve) + 1
        feed = epoch_batches(
            self._images.train,
            members,
            self.recipe,
            self.training.standardise,
            context.entropy(BATCHES, epoch),
            device=self.shared.device,
        )
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, SPLIT)))
        found = splits(
            similarities(
                self.space,
                self.shared,
                itertools.islice(feed, designs),
                rng=rng,
                designs=designs,
                macs=self.plan.paths.macs,
            ),
            self.space.space,
        )
        return next((split for split in found if always_told(self.space, split.path, rng)), None)

    def save(self) -> None:
        """Write the file: weights, optimizer, curve, and what they are of."""
        state = self.training.state()
        about = {
            "curve": self.curve,
            "of": self._identity(),
            "recipe": dict(self._recipe),
            "calibrate": self.plan.calibrate,
            "validate": self.plan.validate,
        }
        checkpoints.save(self.file, Checkpoint(state.groups, {**state.values, **about}))

    def _read(self, checkpoint: Checkpoint) -> None:
        if checkpoint.values["of"] != self._identity():
            raise ValueError(
                f"supernet {self.file}: it was trained by {checkpoint.values['of']}, not by {self._identity()}; "
                "give another file, or the same plan"
            )
        self.training.restore(checkpoint)
        self.curve = list(checkpoint.values["curve"])

    def _identity(self) -> dict[str, Any]:
        """Return what a file must be of to go on with, as JSON has it."""
        own = {"seed": self.seed, "space": self.space.space.fingerprint, "precision": str(self.dtype)}
        whole = {**asdict(self.plan), **own, "data": content_hash(self.data)}
        plain: dict[str, Any] = json.loads(json.dumps(whole))
        return plain

    def _survey(self) -> None:
        """Let the shared tensors be as large as the largest of some designs need them."""
        paths = replace(self.plan.paths, each=SURVEYED, sampling="fair", shrink=0.0)
        for design in next(paths.draws(self.space, self.seed, epoch=0, horizon=1)):
            Candidate(design, self.shared)
            if self.memory is not None and self.device.type == "cpu":
                pieces = pieces_within(design, self.memory, dtype=self.dtype)
                self.training.pieces = max(self.training.pieces, pieces)
