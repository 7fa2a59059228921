"""What a supernet says of a design: its metrics with the shared weights, its batch statistics taken anew.

The images are the same for every design of a seed: for the statistics training images without augmentation, for the
score validation images, each in the classes' proportions.

What designs are ranked by is the loss under the noise of training: features and branches are dropped at random, also
while the statistics are taken. Without it dropout and stochastic depth leave no trace, though a design that trains with
much of them learns more slowly (``experiments/supernet_rank`` has what that is worth).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from estimators.device import kernels, send
from estimators.estimator import Context
from estimators.preprocess import Standardise
from estimators.resident import Images, resident, stratified_order
from estimators.score import scores
from estimators.sharing.candidate import Candidate
from estimators.sharing.weights import SharedWeights
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design

RECALIBRATED, SCORED, DROPPED = 131, 132, 133  # purposes of counted randomness
BATCH = 250


class Scorer:
    """Scores designs on the data set saved in ``data``, as ``recipe`` standardises it.

    ``calibrate`` training images give the batch statistics (0: each batch its own, as in training), ``validate`` images
    the score.
    """

    def __init__(
        self,
        shared: SharedWeights,
        data: Path | str,
        recipe: Recipe,
        *,
        seed: int = 0,
        calibrate: int = 500,
        validate: int = 1000,
    ) -> None:
        self.shared, self.data, self.recipe, self.seed = shared, str(data), recipe, seed
        self.calibrate, self.validate = calibrate, validate
        self._held: dict[tuple[str, tuple[int, int, int], int], tuple[list[Tensor], Tensor]] = {}

    def candidate(self, design: "Design", *, noise: bool = False) -> Candidate:
        """Return the candidate of ``design`` with its batch statistics, under ``noise`` if that is asked for."""
        candidate = Candidate(design, self.shared.borrowed())
        if self.calibrate:
            with kernels(exact=True):
                batches, _ = self._batches(design, "train", self.calibrate)
                candidate.recalibrate(batches, candidate.parameters(), noise=noise)
        else:
            candidate.judge_by_batches(noise=noise)
        return candidate

    def score(self, design: "Design", *, noise: bool = False) -> dict[str, float]:
        """Return the metrics that follow from logits, of ``design`` with the shared weights.

        What ``noise`` drops is the same for designs of equal keys; torch's global state stays as it was.
        """
        device = self.shared.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self._entropy(DROPPED))
            return self.judged(self.candidate(design, noise=noise), design)

    def rank(self, design: "Design") -> float:
        """Return what ranks ``design`` among others, more is better: the negative loss under the noise of training."""
        return -self.score(design, noise=True)["loss"]

    @torch.no_grad()
    def judged(self, candidate: Candidate, design: "Design") -> dict[str, float]:
        """Return the metrics of the ``candidate`` of ``design``, as it is."""
        batches, labels = self._batches(design, "val", self.validate)
        with kernels(exact=True):
            parameters = candidate.parameters()
            logits = torch.cat([candidate.forward(batch, parameters) for batch in batches])
        return scores(logits.float(), labels.to(logits.device))

    def _entropy(self, purpose: int) -> int:
        return Context(seed=self.seed, scratch=Path()).entropy(purpose)

    def standardise(self, design: "Design") -> Standardise:
        """Return what turns uint8 images into the input of the network of ``design``."""
        data = resident(self.data, str(self.shared.device), design.shape)
        return data.standardise.of_kind(self.recipe.normalize)

    def _batches(self, design: "Design", part: str, count: int) -> tuple[list[Tensor], Tensor]:
        """Return standardised batches of the first ``count`` images of a stratified order, and their labels.

        They are made once for each shape of images.
        """
        key = part, design.shape, count
        if key not in self._held:
            self._held[key] = self._made(design, part, count)
        return self._held[key]

    def _made(self, design: "Design", part: str, count: int) -> tuple[list[Tensor], Tensor]:
        data = resident(self.data, str(self.shared.device), design.shape)
        images: Images = getattr(data, part)
        purpose = RECALIBRATED if part == "train" else SCORED
        order = stratified_order(images.y.cpu().numpy(), self._entropy(purpose))[:count]
        index = torch.from_numpy(order.copy()).to(images.x.device)
        standardise = self.standardise(design)
        x, labels = images.x.index_select(0, index), images.y.index_select(0, index)
        pieces = [
            piece if piece.device.type == self.shared.device.type else send(piece, self.shared.device)
            for piece in torch.split(x, BATCH)
        ]
        return [standardise(piece) for piece in pieces], labels
