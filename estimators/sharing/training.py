"""Training the shared tensors: each step several candidates borrow them, and what they borrowed moves once.

Which candidates a step takes (``Paths``):
    fair       draws in which every option of every choice comes up equally often (FairNAS, Chu et al. 2021), or "random"
    sandwich   the largest design, the smallest and draws in each step; all but the largest learn from its predictions
               (Yu et al. 2020, BigNAS, section 3)
    shrink     the share of the training in which ordered ranges open, from their largest values down (Cai et al. 2020)

What no candidate of a step borrowed stays as it is, bit by bit, also under momentum and weight decay: the optimizer is
lent views of the tensors, and views of its own moments of them.

Notation
    leaf    view of a stored tensor that a step optimizes: the least box that holds what its candidates use of it
    z       (B, C, H, W) float32 images of a batch
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from estimators.batches import epoch_batches
from estimators.checkpoint import Checkpoint
from estimators.device import kernels
from estimators.loop import balanced, logits_of, one_epoch, pieces_of
from estimators.mix import Labels
from estimators.optimizer import optimizer_of, set_rate
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.sharing.candidate import Candidate
from estimators.sharing.weights import Box, SharedWeights, grown, inside
from search_spaces.architecture import Design, SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.decks import Decks, end
from search_spaces.recipe import Recipe
from search_spaces.registry import nearest

PATHS = 121  # purpose of counted randomness
SAMPLING = ("fair", "random")


@dataclass(frozen=True)
class Paths:
    """Which candidates a step takes: ``each`` of them drawn, two more with ``sandwich``.

    ``sampling`` is "fair" or "random". Ordered ranges open during the first ``shrink`` of the training.
    """

    each: int = 1
    sampling: str = "fair"
    sandwich: bool = False
    shrink: float = 0.0

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise ValueError(f"sampling={self.sampling!r} is not known; {nearest(self.sampling, list(SAMPLING))}")
        if self.each < 1 or not 0 <= self.shrink <= 1:
            raise ValueError(f"{self!r}: each must be 1 or more, shrink in [0, 1]")

    def draws(
        self, space: SearchSpace, seed: int, *, epoch: int, horizon: int, preferred: Sequence[Configuration] = ()
    ) -> Iterator[list[Design]]:
        """Yield the candidates of each step of ``epoch``, counted from 1; a step without a valid one is left out.

        Every second draw is one of ``preferred``, if there are any. Recipes are those of the draws; none is used.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, PATHS)))
        reached = (epoch - 1) / horizon
        opened = min(1.0, reached / self.shrink) if self.shrink else 1.0
        decks = Decks(space.space, rng, opened=opened)
        turns = 0
        while True:
            step = [end(space.space, decks, largest=True)] if self.sandwich else []
            for _ in range(self.each):
                turns += 1
                if preferred and turns % 2:
                    step.append(preferred[int(rng.integers(len(preferred)))])
                elif self.sampling == "fair" or opened < 1:
                    step.append(decks.draw())
                else:
                    step.append(space.space.sample(rng))
            if self.sandwich:
                step.append(end(space.space, decks, largest=False))
            designs = [design for config in step if (design := decoded(space, config)) is not None]
            if designs:
                yield designs


def decoded(space: SearchSpace, config: Configuration) -> Design | None:
    """Return the design of ``config`` for images as they are, or None where it describes none."""
    recipe = {path: value for path, value in config.items() if not path.startswith(("recipe.side", "recipe.colour"))}
    try:
        design = space.decode(Configuration(recipe))
    except ValueError:
        return None
    return design if design.graph is None or design.graph.reached else None


@dataclass(frozen=True)
class Leaf:
    """What a step optimizes of one stored tensor: ``tensor`` is a view of it, ``box`` says of what.

    ``outside`` (like the tensor) is true where no candidate of the step uses it; None where all is used.
    """

    tensor: Tensor
    box: Box
    outside: Tensor | None = None


class SharedTraining:
    """Shared tensors and all that their next step depends on: optimizer, moments, loss scale, step count."""

    def __init__(
        self, shared: SharedWeights, recipe: Recipe, standardise: Standardise, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.shared, self.recipe, self.standardise, self.dtype = shared, recipe, standardise, dtype
        self.device = shared.device
        lent = [torch.zeros(1, 1, device=self.device), torch.zeros(1, device=self.device)]  # decayed, and not
        self.optimizer = optimizer_of(recipe, lent, strided=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.moments: dict[str, dict[str, Tensor]] = {}
        self.weights: Tensor | None = None  # of the classes in the loss
        self.steps, self.pieces = 0, 1

    def step(self, z: Tensor, labels: Labels, share: float, designs: Sequence[Design], *, distil: bool = False) -> Tensor:
        """Take one step at ``share`` of the learning rate; return the mean loss of the first candidate.

        The gradient is the mean over ``designs``. With ``distil`` all but the first learn its predictions.
        """
        set_rate(self.optimizer, self.recipe.lr * share)
        candidates = [Candidate(design, self.shared) for design in designs]
        leaves = self._leaves(candidates)
        loss = self._gradients(z, labels, candidates, leaves, distil)
        with self._lent(leaves):
            if self.recipe.clip:
                self.scaler.unscale_(self.optimizer)
                clip_grad_norm_([leaf.tensor for leaf in leaves.values()], self.recipe.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.steps += 1
        return loss

    def _leaves(self, candidates: Sequence[Candidate]) -> dict[str, Leaf]:
        boxes: dict[str, set[Box]] = {}
        for candidate in candidates:
            for cut in candidate.cuts:
                boxes.setdefault(cut.name, set()).add(self.shared.box(cut))
                for name in cut.transforms:
                    matrix = self.shared.tensors[name]
                    boxes.setdefault(name, set()).add(tuple((0, size) for size in matrix.shape))
        return {name: _leaf(self.shared.tensors[name], used) for name, used in boxes.items()}

    def _gradients(
        self, z: Tensor, labels: Labels, candidates: Sequence[Candidate], leaves: Mapping[str, Leaf], distil: bool
    ) -> Tensor:
        while True:
            for leaf in leaves.values():
                leaf.tensor.grad = None
            try:
                return self._accumulate(z, labels, candidates, leaves, distil)
            except torch.OutOfMemoryError:
                if 4 * self.pieces > len(z):
                    raise
            self.pieces *= 2  # outside of the handler, whose traceback holds the activations
            torch.cuda.empty_cache()

    def _accumulate(
        self, z: Tensor, labels: Labels, candidates: Sequence[Candidate], leaves: Mapping[str, Leaf], distil: bool
    ) -> Tensor:
        total = torch.zeros((), device=self.device)
        for part_z, part in pieces_of(z, labels, self.pieces):
            weight, taught = len(part_z) / len(z), None
            for at, candidate in enumerate(candidates):
                candidate.train()
                parameters = borrowed(candidate, self.shared, leaves)
                logits = logits_of(lambda x, c=candidate, p=parameters: c.forward(x, p), part_z, self.dtype)  # type: ignore[misc]
                if taught is None:
                    loss = part.loss(logits, self.recipe.label_smoothing, self.weights)
                else:
                    loss = cross_entropy(logits, taught)
                self.scaler.scale(loss * (weight / len(candidates))).backward()  # type: ignore[no-untyped-call]
                if at == 0:
                    total = total + loss.detach() * weight
                    taught = logits.detach().softmax(1) if distil else None
        return total

    @contextmanager
    def _lent(self, leaves: Mapping[str, Leaf]) -> Iterator[None]:
        """Lend the optimizer the leaves and its moments of them; then put back what lies outside, and keep new moments."""
        optimizer, tensors = self.optimizer, {name: leaf.tensor for name, leaf in leaves.items()}
        for group, decayed in zip(optimizer.param_groups, (True, False), strict=True):
            group["params"] = [tensor for tensor in tensors.values() if (tensor.ndim > 1) == decayed]
        optimizer.state.clear()
        for name, leaf in leaves.items():
            if name in self.moments:
                own = self.moments[name] = self._large_enough(name)
                optimizer.state[leaf.tensor] = {
                    key: value if value.ndim == 0 else inside(value, leaf.box) for key, value in own.items()
                }
        held = [
            (view, leaf.outside, view[leaf.outside])
            for leaf in leaves.values()
            if leaf.outside is not None
            for view in (leaf.tensor.detach(), *_moments(optimizer.state.get(leaf.tensor, {})))
        ]
        yield
        for view, outside, before in held:
            view[outside] = before
        for name, leaf in leaves.items():
            if name not in self.moments and (state := optimizer.state.get(leaf.tensor)):
                self.moments[name] = self._kept(name, leaf, state)

    def _large_enough(self, name: str) -> dict[str, Tensor]:
        """Return the moments of a stored tensor, at the size to which it has grown."""
        whole = self.shared.tensors[name]
        return {
            key: value
            if value.ndim == 0 or value.shape == whole.shape
            else grown(value, torch.zeros_like(whole))
            for key, value in self.moments[name].items()
        }

    def _kept(self, name: str, leaf: Leaf, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the first moments of a stored tensor, at its size: zero where the step did not use it."""
        whole = self.shared.tensors[name]
        found: dict[str, Tensor] = {}
        for key, value in state.items():
            if value is None:
                continue
            if value.ndim == 0:
                found[key] = value
                continue
            if leaf.outside is not None:
                value[leaf.outside] = 0.0
            found[key] = torch.zeros_like(whole)
            inside(found[key], leaf.box).copy_(value)
        return found

    def epoch(
        self,
        images: Images,
        members: Tensor,
        draws: Iterator[list[Design]],
        *,
        epoch: int,
        horizon: int,
        seeds: tuple[int, int],
        distil: bool = False,
        watch: Callable[[], None] = lambda: None,
    ) -> float:
        """Train one pass over ``members`` (n,) of ``images`` with the candidates that ``draws`` yields.

        ``seeds`` are those of the batches and of dropout. Returns the mean loss of each step's first candidate.
        ``watch`` is called every few steps and may raise. Raises ``Diverged`` when the loss is not finite.
        """
        torch.manual_seed(seeds[1])
        with kernels(exact=False):
            self.weights = balanced(images, members, self.device) if self.recipe.balance else None
            feed = epoch_batches(images, members, self.recipe, self.standardise, seeds[0], device=self.device)
            return one_epoch(
                lambda z, labels, share: self.step(z, labels, share, next(draws), distil=distil),
                feed,
                self.recipe,
                len(members),
                self.device,
                epoch=epoch,
                horizon=horizon,
                watch=watch,
            )

    def state(self) -> Checkpoint:
        """Return everything a continuation needs; the tensors are references."""
        moments = {f"{name}|{key}": value for name, own in self.moments.items() for key, value in own.items()}
        values = {"steps": self.steps, "pieces": self.pieces, "scaler": self.scaler.state_dict()}
        return Checkpoint({"shared": self.shared.tensors, "moments": moments}, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``."""
        device = self.device
        self.shared.tensors = {name: t.to(device) for name, t in checkpoint.groups["shared"].items()}
        self.moments = {}
        for path, value in checkpoint.groups["moments"].items():
            name, key = path.rsplit("|", 1)
            self.moments.setdefault(name, {})[key] = value if value.ndim == 0 else value.to(device)
        self.steps, self.pieces = checkpoint.values["steps"], checkpoint.values["pieces"]
        if self.scaler.is_enabled() and checkpoint.values["scaler"]:
            self.scaler.load_state_dict(checkpoint.values["scaler"])


def borrowed(candidate: Candidate, shared: SharedWeights, leaves: Mapping[str, Leaf]) -> dict[str, Tensor]:
    """Return the parameters of ``candidate`` as functions of the ``leaves`` of a step."""
    matrices = {name: leaf.tensor for name, leaf in leaves.items()}
    found = {}
    for cut in candidate.cuts:
        leaf = leaves[cut.name]
        within = tuple(
            (start - low, stop - low) for (start, stop), (low, _) in zip(shared.box(cut), leaf.box, strict=True)
        )
        found[cut.parameter] = cut.of(inside(leaf.tensor, within), matrices)
    return found


def _leaf(stored: Tensor, boxes: set[Box]) -> Leaf:
    box = tuple((min(b[at][0] for b in boxes), max(b[at][1] for b in boxes)) for at in range(stored.ndim))
    view = inside(stored, box).detach().requires_grad_()
    if len(boxes) == 1 or box in boxes:
        return Leaf(view, box)
    outside = torch.ones(view.shape, dtype=torch.bool, device=view.device)
    for used in boxes:
        within = tuple((start - low, stop - low) for (start, stop), (low, _) in zip(used, box, strict=True))
        inside(outside, within).fill_(False)
    return Leaf(view, box, outside if bool(outside.any()) else None)


def _moments(state: Mapping[str, Tensor | None]) -> list[Tensor]:
    return [value for value in state.values() if value is not None and value.ndim > 0]
