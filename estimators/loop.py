"""The training step and the data path, on every device and in every precision by the same lines.

Notation
    n       images trained on       B   batch size      t   optimizer steps so far
    epoch   one pass over the n images, counted from 1

All randomness of an epoch comes from two numbers, the seeds of its batches and of its dropout: an epoch that
begins in the same state ends in the same state, whatever ran before in the process.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from estimators.average import Average
from estimators.batches import batch_bounds, epoch_batches
from estimators.capture import Replay
from estimators.checkpoint import Checkpoint
from estimators.device import MEMORY_FORMAT, kernels, own_stream, send
from estimators.divergence import LossWatch
from estimators.mix import Labels, class_weights
from estimators.optimizer import build_optimizer, factor, optimizer_state, restore_optimizer, set_rate
from estimators.preprocess import Standardise
from estimators.resident import Images
from search_spaces.network import Network
from search_spaces.recipe import Recipe

WATCH_EVERY = 8  # steps between two looks at the clock and at whether to stop


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
        ours = isinstance(
            network, Network
        )  # of another's we do not know who reads what, or what its Python decides
        if ours:
            overwrite_norms(self.network)
        self.optimizer = build_optimizer(recipe, self.network)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.average = Average(self.network, recipe.ema) if recipe.ema else None
        self.weights: Tensor | None = None  # of the classes in the loss
        self.steps = 0
        self.pieces = 1
        self.replay = Replay(
            self._work, self.network, batch_size=recipe.batch_size, enabled=ours and device.type == "cuda"
        )

    @property
    def scored(self) -> nn.Module:
        """The network that is validated and exported: the average where there is one."""
        return self.average.network if self.average else self.network

    def step(self, z: Tensor, labels: Labels, share: float) -> Tensor:
        """Take one step at ``share`` of the learning rate; return the batch's mean loss, on the device.

        The next step may overwrite the loss.
        """
        set_rate(self.optimizer, self.recipe.lr * share)
        if (recorded := self.replay.prepared(z, labels)) is not None:
            loss = recorded(z, labels)
            if self.scaler.is_enabled():
                self._update()
        else:
            with self.replay.listening():
                loss = self._gradients(z, labels)
            self._update()
        self.steps += 1
        if self.average:
            self.average.update(self.steps)
        return loss

    def _work(self, z: Tensor, labels: Labels) -> Tensor:
        """Do what a graph holds of a step: all of it but the average and what adapts the loss scale."""
        loss = self._accumulate(z, labels)
        if not self.scaler.is_enabled():
            self._update()
        return loss

    def _update(self) -> None:
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _gradients(self, z: Tensor, labels: Labels) -> Tensor:
        def work(pieces: int) -> Tensor:
            self.pieces = pieces
            self.optimizer.zero_grad(set_to_none=True)
            return self._accumulate(z, labels)

        return within_memory(work, self.pieces, len(z), self.replay.give_up)

    def _accumulate(self, z: Tensor, labels: Labels) -> Tensor:
        total: Tensor | float = 0.0
        for part_z, part in pieces_of(z, labels, self.pieces):
            logits = logits_of(self.network, part_z, self.dtype)
            loss = part.loss(logits, self.recipe.label_smoothing, self.weights)
            loss = loss * (len(part_z) / len(z))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total = loss.detach() + total
        assert isinstance(total, Tensor)
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
        torch.manual_seed(seeds[1])
        self.network.train()
        with kernels(exact=False), own_stream(self.device):
            if self.recipe.balance:
                self.weigh(images, members)
            feed = epoch_batches(images, members, self.recipe, self.standardise, seeds[0], device=self.device)
            return one_epoch(
                self.step,
                feed,
                self.recipe,
                len(members),
                self.device,
                epoch=epoch,
                horizon=horizon,
                watch=watch,
            )

    def weigh(self, images: Images, members: Tensor) -> None:
        """Weigh classes by what is trained on; a graph reads the weights in place."""
        weights = balanced(images, members, self.device)
        self.weights = weights if self.weights is None else self.weights.copy_(weights)

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
            "batch_size": self.recipe.batch_size,
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
        if self.pieces > 1:
            self.replay.give_up()


def one_epoch(
    step: Callable[[Tensor, Labels, float], Tensor],
    feed: Iterable[tuple[Tensor, Labels]],
    recipe: Recipe,
    n: int,
    device: torch.device,
    *,
    epoch: int,
    horizon: int,
    watch: Callable[[], None],
) -> float:
    """Take ``step(z, labels, share of the learning rate)`` on the batches ``feed`` of ``n`` images.

    Returns the mean loss. ``watch`` is called every few steps and may raise. Raises ``Diverged``.
    """
    batches = len(batch_bounds(n, recipe.batch_size))
    losses, total = LossWatch(device, epoch, batches), torch.zeros((), device=device)
    for i, (z, labels) in enumerate(feed):
        if i % WATCH_EVERY == 0:
            watch()
        t = (epoch - 1) * batches + i
        total += step(z, labels, factor(recipe.schedule, t, horizon * batches, recipe.warmup))
        losses.look(total, i + 1)
    return losses.mean(total)


def balanced(images: Images, members: Tensor, device: torch.device) -> Tensor:
    """Return the weights of classes (classes,) in ``members`` of ``images``, which need not hold every one."""
    own = images.y.index_select(0, members.to(images.y.device))
    return class_weights(own, int(images.y.max()) + 1).to(device)


def within_memory(
    work: Callable[[int], Tensor], pieces: int, images: int, before_retry: Callable[[], None] = lambda: None
) -> Tensor:
    """Return ``work(pieces)`` on a batch of ``images``, in twice as many pieces each time a GPU has no memory for it.

    Raises ``torch.OutOfMemoryError`` where pieces of two images, of which batch norm needs as many, are too large.
    """
    while True:
        try:
            return work(pieces)
        except torch.OutOfMemoryError:
            if 4 * pieces > images:
                raise
        pieces *= 2  # outside of the handler, whose traceback holds the activations
        before_retry()
        torch.cuda.empty_cache()


def pieces_of(z: Tensor, labels: Labels, pieces: int) -> Iterator[tuple[Tensor, Labels]]:
    """Yield a batch in ``pieces``; fewer, where one would hold a single image, which batch norm cannot take."""
    pieces = max(min(pieces, len(z) // 2), 1)
    return zip(z.tensor_split(pieces), labels.chunk(pieces), strict=True)


def logits_of(network: Callable[[Tensor], Tensor], z: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the float32 logits (n, classes) of a forward pass in ``dtype``."""
    with torch.autocast(z.device.type, dtype, enabled=dtype != torch.float32):
        logits = network(z)
    return logits.float()


def overwrite_norms(network: nn.Module) -> None:
    """Let rectifiers write over what a batch norm hands to them alone: its backward pass does not read it.

    The values stay the same; a small network's step on a CPU becomes 3 % shorter.
    """
    for module in network.modules():
        if type(module) is nn.Sequential:
            for norm, following in itertools.pairwise(module):
                if isinstance(norm, nn.BatchNorm2d) and isinstance(following, nn.ReLU | nn.LeakyReLU):
                    following.inplace = True


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: Images,
    standardise: Standardise,
    *,
    batch_size: int = 500,
    watch: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the logits ``(n, classes)`` of ``network`` in evaluation mode, in float32 where the network lies."""
    network.eval()
    device, logits = next(network.parameters()).device, []
    with kernels(exact=True):
        for x in torch.split(images.x, batch_size):
            watch()
            x = x if x.device.type == device.type else send(x, device)
            logits.append(network(standardise(x)).float())
    return torch.cat(logits)
