"""The training step and the data path, on every device and in every precision by the same lines.

Notation
    n       images trained on       B   batch size      t   optimizer steps so far
    epoch   one pass over the n images, counted from 1

All randomness of an epoch comes from two numbers, the seeds of its batches and of its dropout: an epoch that
begins in the same state ends in the same state, whatever ran before in the process.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from estimators.augment import Erase, Moves
from estimators.checkpoint import Checkpoint
from estimators.device import MEMORY_FORMAT, kernels
from estimators.mix import Labels, Mixes, class_weights
from estimators.optimizer import build_optimizer, factor, optimizer_state, restore_optimizer
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.trivial import Trivial
from search_spaces.recipe import Recipe

WATCH_EVERY = 8  # steps between two looks at the clock and at whether to stop
CHECK_EVERY = 48  # steps between two looks at the loss, each of which waits for the device


class Diverged(Exception):
    """The loss is no longer a finite number."""


def batch_bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (begin, end) of an epoch's batches.

    A remainder of less than half a batch, or of one image (which batch norm cannot take), is left out. A ``ValueError``
    says that there is one image in all.
    """
    if n < 2:
        raise ValueError(f"{n} image to train on, which batch norm cannot take; give at least 2")
    full, rest = divmod(n, batch_size)
    bounds = [(i * batch_size, (i + 1) * batch_size) for i in range(full)]
    if (rest > 1 and 2 * rest >= batch_size) or not full:
        bounds.append((full * batch_size, n))
    return bounds


def epoch_batches(
    images: Images, members: Tensor, recipe: Recipe, standardise: Standardise, seed: int
) -> Iterator[tuple[Tensor, Labels]]:
    """Yield the augmented, standardised, mixed batches ``(z, labels)`` of one epoch over ``members`` (n,)."""
    generator = torch.Generator().manual_seed(seed)
    n, device = len(members), images.x.device
    bounds = batch_bounds(n, recipe.batch_size)
    order = members[torch.randperm(n, generator=generator)].to(device)
    size = (images.x.shape[2], images.x.shape[3])
    trivial = erase = mixes = None
    policy = recipe.augment
    if policy == "trivial":
        policy = "flip-crop" if images.x.shape[1] == 3 else "crop"
    moves = Moves.draw(policy, n, size, generator=generator, device=device)
    if recipe.augment == "trivial":
        trivial = Trivial.draw(n, size, generator=generator, device=device)
    if recipe.erase:
        erase = Erase.draw(recipe.erase, n, size, generator=generator, device=device)
    if recipe.mix != "none":
        mixes = Mixes.draw(recipe.mix, recipe.mix_alpha, len(bounds), size, generator=generator)
    for i, (begin, end) in enumerate(bounds):
        index, part = order[begin:end], slice(begin, end)
        x, y = moves.apply(images.x.index_select(0, index), part), images.y.index_select(0, index)
        z = standardise(trivial.apply(x, part) if trivial else x)
        z = erase.apply(z, part) if erase else z
        yield mixes.apply(z, y, i) if mixes else (z, Labels(y))


class Average:
    """Moving average of parameters and buffers; its decay rises as ``min(decay, (1 + t) / (10 + t))``."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = copy.deepcopy(network).requires_grad_(False), decay
        self._pair(network)

    def _pair(self, network: nn.Module) -> None:
        # state_dict also names what is shared twice: once is enough, and twice would average twice
        pairs = [
            *zip(self.network.parameters(), network.parameters(), strict=True),
            *zip(self.network.buffers(), network.buffers(), strict=True),
        ]
        floats = [(mean, value.detach()) for mean, value in pairs if value.is_floating_point()]
        self._means, self._values = [mean for mean, _ in floats], [value for _, value in floats]
        self._counters = [(mean, value) for mean, value in pairs if not value.is_floating_point()]

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Move towards the network's tensors after step ``t``."""
        torch._foreach_lerp_(self._means, self._values, 1 - min(self.decay, (1 + t) / (10 + t)))
        for mean, value in self._counters:
            mean.copy_(value)


class Training:
    """A network and all that its next step depends on: optimizer, average, loss scale, step count."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        standardise: Standardise,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network = network.to(device=device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        self.recipe, self.standardise, self.device, self.dtype = recipe, standardise, device, dtype
        self.optimizer = build_optimizer(recipe, self.network)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.average = Average(self.network, recipe.ema) if recipe.ema else None
        self.weights: Tensor | None = None  # of the classes in the loss
        self.steps = 0
        self.pieces = 1

    @property
    def scored(self) -> nn.Module:
        """The network that is validated and exported: the average where there is one."""
        return self.average.network if self.average else self.network

    def step(self, z: Tensor, labels: Labels, share: float) -> Tensor:
        """Take one step at ``share`` of the learning rate; return the batch's mean loss, on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * share
        loss = self._gradients(z, labels)
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.steps += 1
        if self.average:
            self.average.update(self.steps)
        return loss

    def _gradients(self, z: Tensor, labels: Labels) -> Tensor:
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return self._accumulate(z, labels)
            except torch.OutOfMemoryError:
                if 4 * self.pieces > len(z):
                    raise
            self.pieces *= 2  # outside of the handler, whose traceback holds the activations
            torch.cuda.empty_cache()

    def _accumulate(self, z: Tensor, labels: Labels) -> Tensor:
        total = torch.zeros((), device=self.device)
        pieces = max(min(self.pieces, len(z) // 2), 1)  # batch norm cannot take one image
        for part_z, part in zip(z.tensor_split(pieces), labels.chunk(pieces), strict=True):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = self.network(part_z)
            loss = part.loss(logits.float(), self.recipe.label_smoothing, self.weights)
            loss = loss * (len(part_z) / len(z))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def epoch(
        self,
        images: Images,
        members: Tensor,
        *,
        epoch: int,
        horizon: int,
        seeds: tuple[int, int],
        watch: Callable[[], None],
    ) -> float:
        """Train one pass over ``members`` (n,) of ``images``; return the mean loss.

        ``seeds`` are those of the batches and of dropout. ``watch`` is called every few steps and may raise
        to end the epoch. Raises ``Diverged`` when the loss is not finite.
        """
        batches = len(batch_bounds(len(members), self.recipe.batch_size))
        torch.manual_seed(seeds[1])
        self.network.train()
        if self.recipe.balance:  # of what is trained on, which need not hold every class
            own = images.y.index_select(0, members.to(self.device))
            self.weights = class_weights(own, int(images.y.max()) + 1)
        total = torch.zeros((), device=self.device)
        feed = epoch_batches(images, members, self.recipe, self.standardise, seeds[0])
        with kernels(exact=False):
            for i, (z, labels) in enumerate(feed):
                if i % WATCH_EVERY == 0:
                    watch()
                t = (epoch - 1) * batches + i
                total += self.step(
                    z, labels, factor(self.recipe.schedule, t, horizon * batches, self.recipe.warmup)
                )
                looked = (i + 1) % CHECK_EVERY == 0 or i + 1 == batches
                if looked and not torch.isfinite(total):
                    raise Diverged(f"loss {total.item()} at epoch {epoch}, step {i + 1} of {batches}")
        return total.item() / batches

    def state(self) -> Checkpoint:
        """Return everything a continuation needs; the tensors are references."""
        groups = {
            "network": self.network.state_dict(),
            "optimizer": optimizer_state(self.optimizer, self.network),
        }
        if self.average:
            groups["average"] = self.average.network.state_dict()
        values = {
            "steps": self.steps,
            "pieces": self.pieces,
            "optimizer": self.recipe.optimizer,
            "scaler": self.scaler.state_dict(),
        }
        return Checkpoint(groups, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``; an optimizer other than the one that wrote it begins anew."""
        self.network.load_state_dict(dict(checkpoint.groups["network"]))
        if self.average:
            self.average.network.load_state_dict(
                dict(checkpoint.groups.get("average", checkpoint.groups["network"]))
            )
        if checkpoint.values["optimizer"] == self.recipe.optimizer:
            restore_optimizer(self.optimizer, self.network, dict(checkpoint.groups["optimizer"]))
        if self.scaler.is_enabled() and checkpoint.values["scaler"]:
            self.scaler.load_state_dict(checkpoint.values["scaler"])
        self.steps, self.pieces = checkpoint.values["steps"], checkpoint.values.get("pieces", 1)


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: Images,
    standardise: Standardise,
    *,
    batch_size: int = 500,
    watch: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the logits ``(n, classes)`` of ``network`` in evaluation mode, in float32 on every device."""
    network.eval()
    logits = []
    with kernels(exact=True):
        for x in torch.split(images.x, batch_size):
            watch()
            logits.append(network(standardise(x)).float())
    return torch.cat(logits)
