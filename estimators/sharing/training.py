"""Training the shared tensors: each step several candidates borrow them, and what they borrowed moves once.

What no candidate of a step borrowed stays as it is, bit by bit, also under momentum and weight decay: the optimizer is
lent views of the tensors, and views of its own moments of them.

Notation
    leaf    view of a stored tensor that a step optimizes (``estimators.sharing.leaf``)
    z       (B, C, H, W) float32 images of a batch
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from estimators.batches import epoch_batches
from estimators.checkpoint import Checkpoint
from estimators.device import kernels
from estimators.loop import balanced, logits_of, one_epoch, pieces_of, within_memory
from estimators.mix import Labels
from estimators.optimizer import optimizer_of, set_rate
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.sharing.candidate import Candidate
from estimators.sharing.leaf import Leaf, borrowed, leaf_of
from estimators.sharing.weights import Box, SharedWeights, grown, inside
from search_spaces.architecture import Design
from search_spaces.recipe import Recipe


class SharedTraining:
    """Shared tensors and all that their next step depends on: optimizer, moments, loss scale."""

    def __init__(
        self,
        shared: SharedWeights,
        recipe: Recipe,
        standardise: Standardise,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shared, self.recipe, self.standardise, self.dtype = shared, recipe, standardise, dtype
        self.device = shared.device
        lent = [torch.zeros(1, 1, device=self.device), torch.zeros(1, device=self.device)]  # decayed, and not
        self.optimizer = optimizer_of(recipe, lent, strided=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.moments: dict[str, dict[str, Tensor]] = {}
        self.weights: Tensor | None = None  # of the classes in the loss
        self.pieces = 1

    def step(
        self, z: Tensor, labels: Labels, share: float, designs: Sequence[Design], *, distil: bool = False
    ) -> Tensor:
        """Take one step at ``share`` of the learning rate; return the mean loss of the first candidate.

        The gradient is the mean over ``designs``. With ``distil`` all but the first learn its predictions.
        """
        set_rate(self.optimizer, self.recipe.lr * share)
        candidates = [Candidate(design, self.shared) for design in designs]
        leaves = self._leaves(candidates)

        def work(pieces: int) -> Tensor:
            self.pieces = pieces
            for leaf in leaves.values():
                leaf.tensor.grad = None
            return self._accumulate(z, labels, candidates, leaves, distil)

        loss = within_memory(work, self.pieces, len(z))
        with self._lent(leaves):
            if self.recipe.clip:
                self.scaler.unscale_(self.optimizer)
                clip_grad_norm_([leaf.tensor for leaf in leaves.values()], self.recipe.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss

    def _leaves(self, candidates: Sequence[Candidate]) -> dict[str, Leaf]:
        boxes: dict[str, set[Box]] = {}
        decayed = set[str]()
        for candidate in candidates:
            for cut in candidate.cuts:
                boxes.setdefault(cut.name, set()).add(self.shared.box(cut))
                if len(cut.shape) > 1:
                    decayed.add(cut.name)
                for name in cut.transforms:
                    matrix = self.shared.tensors[name]
                    boxes.setdefault(name, set()).add(tuple((0, size) for size in matrix.shape))
        return {
            name: leaf_of(self.shared.tensors[name], used, decayed=name in decayed)
            for name, used in boxes.items()
        }

    def _accumulate(
        self,
        z: Tensor,
        labels: Labels,
        candidates: Sequence[Candidate],
        leaves: Mapping[str, Leaf],
        distil: bool,
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
        """Lend the optimizer the leaves and its moments of them; then put back what lies outside, keep new moments."""
        optimizer = self.optimizer
        for group, decayed in zip(optimizer.param_groups, (True, False), strict=True):
            group["params"] = [leaf.tensor for leaf in leaves.values() if leaf.decayed == decayed]
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
        with kernels(exact=False, tuned=False):  # shapes change with every step
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
        values = {"pieces": self.pieces, "scaler": self.scaler.state_dict()}
        return Checkpoint({"shared": self.shared.tensors, "moments": moments}, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``."""
        device = self.device
        self.shared.tensors = {name: t.to(device) for name, t in checkpoint.groups["shared"].items()}
        self.moments = {}
        for path, value in checkpoint.groups["moments"].items():
            name, key = path.rsplit("|", 1)
            self.moments.setdefault(name, {})[key] = value if value.ndim == 0 else value.to(device)
        self.pieces = checkpoint.values["pieces"]
        if self.scaler.is_enabled() and checkpoint.values["scaler"]:
            self.scaler.load_state_dict(checkpoint.values["scaler"])


def _moments(state: Mapping[str, Tensor | None]) -> list[Tensor]:
    return [value for value in state.values() if value is not None and value.ndim > 0]
