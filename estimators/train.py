"""Train a design with its own recipe and score it on the validation images.

What a worker trained last stays in memory, so that continuing it costs no reload; the file gives the same
bits. On the way to its fidelity a training is saved every half minute: one whose process was killed, or that was
stopped, goes on from there when the same step is asked for again, to the same end. Early stopping is a function of
the curve alone, and the curve is in the checkpoint: a continued training stops where the uninterrupted one does. That
of a fork counts from its own first epoch.
"""

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from estimators import checkpoint as checkpoints
from estimators.checkpoint import Checkpoint
from estimators.cost.latency import latency
from estimators.cost.memory import pieces_within, scored_at_once
from estimators.cost.peak import Peak
from estimators.device import (
    MEMORY_FORMAT,
    compute_dtype,
    find_device,
    keep_memory,
)
from estimators.divergence import Diverged
from estimators.estimator import Context, Estimator, Fidelity, Result, estimators
from estimators.loop import Training, predict
from estimators.metric import metric
from estimators.preprocess import Standardise
from estimators.resident import Resident, place, resident, stratified_order
from estimators.score import FROM_LOGITS, scores
from estimators.sharing.inherited import inherited
from estimators.split import Split
from estimators.watch import Stopped, watch
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design

WEIGHTS, BATCHES, DROPOUT, SUBSET = 101, 102, 103, 104  # purposes of counted randomness
KEPT_WARM = 2
SAVE_EVERY = 30.0  # seconds between the checkpoints of a training on its way

Metrics = Mapping[str, float]


@dataclass
class Run:
    """A training under way, the metrics of each epoch so far, and its state after the last of them."""

    training: Training
    curve: list[Metrics]
    begun: int = 0  # epochs of it that a fork has from its parent
    earlier: float = 0.0  # seconds that went into this step before its process was killed, or stopped
    written: Path | None = None  # the newest checkpoint on the way
    saved: Checkpoint | None = None
    inherited: bool = False  # whether it began with the weights of a supernet
    peak: Peak | None = None  # counts since this evaluation began, where it is asked for

    @property
    def bytes(self) -> int:
        """What the state and its copy take."""
        groups = [*self.training.state().groups.values(), *(self.saved.groups.values() if self.saved else ())]
        return sum(tensor.nbytes for tensors in groups for tensor in tensors.values())

    def keep(self) -> None:
        """Copy the state: further steps do not touch the copy."""
        state, standardise = self.training.state(), self.training.standardise
        values = {"curve": list(self.curve), "begun": self.begun, "inherited": self.inherited}
        values |= asdict(standardise)
        self.saved = Checkpoint(state.groups, {**state.values, **values}).clone()


# path, time and size of a checkpoint -> whose it is, and the training that wrote it
_warm: OrderedDict[tuple[str, int, int], tuple[object, Run]] = OrderedDict()


@estimators.register("train")
class TrainEstimator(Estimator):
    """Train on the saved data set in the folder ``data``.

    The four metrics that follow from the logits are always reported; ``latency`` and ``memory`` when asked
    for in ``metrics``. ``memory`` are the bytes that training took at its peak, beside the process and the data set
    (``estimators.cost.peak``). ``precision`` (auto, float32, bfloat16, float16) is that of the forward pass in
    training; scores are always those of the float32 network. A training begins with the weights that the supernet in
    the file ``inherit`` has for its network, if one is given. On its way it is saved every ``save_every`` seconds, at
    the end of an epoch.
    """

    axes = ("epochs", "data")
    reads = ("data", "inherit")

    def __init__(
        self,
        data: Path | str,
        *,
        metrics: Sequence[str] = FROM_LOGITS,
        precision: str = "auto",
        inherit: Path | str | None = None,
        save_every: float = SAVE_EVERY,
    ) -> None:
        compute_dtype(precision, torch.device("cpu"))
        self.data, self.precision = str(data), precision
        self.inherit = None if inherit is None else Path(inherit)
        self.metrics = tuple(metric(name).name for name in metrics)
        self.save_every = save_every

    def evaluate(self, design: "Design", fidelity: Fidelity, context: Context) -> Result:
        """Train ``design`` from its checkpoint to ``fidelity.epochs``; the metrics are of the last epoch.

        Errors in the result: ``nan`` (the loss is no number), ``memory``, ``timeout``. When stopped (at the
        deadline of a ``partial`` context too), the checkpoint is that of the last whole epoch, and continuing
        from it is as if nothing had happened.
        """
        if fidelity.side != 1:
            raise ValueError(
                f"{fidelity!r}: 'train' has no axis side; leave it at 1 and search the side in the space"
            )
        began = time.monotonic()
        torch.set_num_threads(context.threads)
        keep_memory()
        look = watch(context, began)
        run = None
        error, stopped = None, False
        try:
            with torch.random.fork_rng(devices=[]):
                run = self._begin(design, context, _part(fidelity, context, self._whose(design, context)))
                self._train(run, design, fidelity, context, look, began)
        except Stopped:
            stopped = True
        except (TimeoutError, Diverged) as reason:
            error = f"{'nan' if isinstance(reason, Diverged) else 'timeout'}: {reason}"
        except (MemoryError, RuntimeError) as reason:
            if not _out_of_memory(reason):
                raise
            error = f"memory: {' '.join(str(reason).split())[:300] or 'an allocation failed'}"
        result = Result(seconds=0.0, error=error, stopped=stopped)
        if run is not None and error is None:
            result = self._finish(run, design, fidelity, context, stopped, began)
        return replace(result, seconds=time.monotonic() - began + (run.earlier if run is not None else 0.0))

    def prepare(self) -> None:
        """Set up the process before its first evaluation."""
        keep_memory()

    def _open(self, design: "Design", context: Context) -> Resident:
        return resident(self.data, str(find_device(context.device)), design.shape)

    def _identity(self, design: "Design", context: Context) -> object:
        return design.config, self.data, self.precision, self.inherit, context.device, context.threads

    def _whose(self, design: "Design", context: Context) -> list[str]:
        """Return what tells a training from another design's, or one that began from other weights, as plain values."""
        base = (
            ""
            if context.checkpoint is None
            else f"{context.checkpoint.parent.name}/{context.checkpoint.name}"
        )
        return [design.config.id, self.precision, "" if self.inherit is None else self.inherit.name, base]

    def _begin(self, design: "Design", context: Context, part: Checkpoint | None = None) -> Run:
        """Return the run to go on with: fresh, still warm, or read from a checkpoint, that of a ``part`` of it."""
        device = find_device(context.device)
        counted = "memory" in self.metrics
        forks = context.checkpoint is not None and context.checkpoint.parent != context.scratch
        if context.checkpoint is not None and part is None:
            stamp = _stamp(context.checkpoint)
            whose, run = _warm.get(stamp, (None, None))
            if run is not None and whose == self._identity(design, context):
                del _warm[stamp]
                run.peak = Peak(device, held=run.bytes) if counted else None
                run.begun = len(run.curve) if forks else run.begun
                run.earlier, run.written = 0.0, None
                return run
        for _, kept in _warm.values():  # a graph holds the memory of a whole step
            kept.training.replay.forget()
        recipe, data = Recipe.parse(design.recipe), self._open(design, context)
        borrowed = None
        if self.inherit is not None and context.checkpoint is None and part is None:
            borrowed = inherited(self.inherit, self.data, design, str(device))
        peak = Peak(device) if counted else None
        network = design.network(context.entropy(WEIGHTS))
        if borrowed is not None:
            network.load_state_dict(borrowed)
        training = Training(
            network,
            recipe,
            data.standardise.of_kind(recipe.normalize),
            device=device,
            dtype=compute_dtype(self.precision, device),
        )
        checkpoint = part
        if part is None and context.checkpoint is not None:
            checkpoint = checkpoints.load(context.checkpoint)
        if checkpoint is None:
            training.pieces = self._pieces(training, design, context)
            return Run(training, [], inherited=borrowed is not None, peak=peak)
        training.restore(checkpoint)
        if checkpoint.values.get("batch_size", recipe.batch_size) != recipe.batch_size:  # of a fork
            training.pieces = max(training.pieces, self._pieces(training, design, context))
        curve = list(checkpoint.values["curve"])
        begun = len(curve) if forks and part is None else checkpoint.values.get("begun", 0)
        run = Run(training, curve, begun, earlier=checkpoint.values["seconds"] if part else 0.0, peak=peak)
        run.inherited = checkpoint.values.get("inherited", False)
        run.keep()
        return run

    def _pieces(self, training: Training, design: "Design", context: Context) -> int:
        """Return into how many pieces a batch is cut ahead: on a CPU there would be no error to catch."""
        if context.memory is None or training.device.type != "cpu":
            return 1
        return pieces_within(design, context.memory, dtype=training.dtype)

    def _train(
        self,
        run: Run,
        design: "Design",
        fidelity: Fidelity,
        context: Context,
        look: Callable[[], None],
        began: float,
    ) -> None:
        saved = began
        data, recipe = self._open(design, context), run.training.recipe
        if len(run.curve) > fidelity.epochs:
            raise ValueError(
                f"checkpoint has {len(run.curve)} epochs, more than {fidelity!r}; ask for more epochs"
            )
        members = _members(data, fidelity.data, context)
        while len(run.curve) < fidelity.epochs and not stalled(
            run.curve, recipe.patience, context.horizon, run.begun
        ):
            epoch = len(run.curve) + 1
            seeds = context.entropy(BATCHES, epoch), context.entropy(DROPOUT, epoch)
            train_loss = run.training.epoch(
                data.train, members, epoch=epoch, horizon=context.horizon, seeds=seeds, watch=look
            )
            training, size = run.training, scored_at_once(run.training.pieces)
            logits = predict(training.scored, data.val, training.standardise, batch_size=size, watch=look)
            metrics = {**scores(logits.to(data.val.y.device), data.val.y), "train_loss": train_loss}
            if not np.isfinite(metrics["loss"]):
                raise Diverged(f"validation loss {metrics['loss']} after epoch {epoch}")
            run.curve.append(metrics)
            context.report(epoch, metrics)
            if epoch < fidelity.epochs:
                run.keep()
                if time.monotonic() - saved > self.save_every:
                    _save_part(run, fidelity, context, self._whose(design, context), began)
                    saved = time.monotonic()
        run.saved = None

    def _finish(
        self, run: Run, design: "Design", fidelity: Fidelity, context: Context, stopped: bool, began: float
    ) -> Result:
        """Write the checkpoint and, unless what was reached does not count, measure what was asked for."""
        if not run.curve:
            return Result(stopped=stopped)
        if run.saved is None:
            run.keep()
        assert run.saved is not None
        name = f"epoch-{len(run.curve)}.safetensors"
        if stopped and not context.partial and len(run.curve) > context.start:
            _save_part(run, fidelity, context, self._whose(design, context), began)
        else:
            checkpoints.save(context.scratch / name, run.saved)
        run.saved = None if stopped else run.saved
        metrics = dict(run.curve[-1])
        if not stopped or context.partial:
            metrics |= self._measured(run, design)
        if not stopped:
            _keep_warm(context.scratch / name, self._identity(design, context), run)
        curve = tuple(run.curve[context.start :])
        return Result(metrics=metrics, curve=curve, checkpoint=name, stopped=stopped)

    def _measured(self, run: Run, design: "Design") -> dict[str, float]:
        device, measured = run.training.device, {}
        if run.peak is not None:
            measured["memory"] = run.peak.bytes
        if "latency" in self.metrics:
            measured["latency"] = latency(run.training.scored, design.shape, device=device).median
        return measured


def _save_part(run: Run, fidelity: Fidelity, context: Context, whose: list[str], began: float) -> None:
    """Write the state after the last whole epoch, for the same step to go on from; the one before is not needed."""
    assert run.saved is not None
    values = {
        **run.saved.values,
        "step": [*_step(fidelity, context), *whose],
        "seconds": run.earlier + time.monotonic() - began,
    }
    path = context.scratch / f"epoch-{len(run.curve)}.safetensors"
    checkpoints.save(path, Checkpoint(run.saved.groups, values))
    if run.written is not None and run.written != path:
        run.written.unlink(missing_ok=True)
    run.written = path


def _part(fidelity: Fidelity, context: Context, whose: list[str]) -> Checkpoint | None:
    """Return what an evaluation of the same step left that was killed or stopped on its way, the newest."""
    found = {_epochs(path): path for path in context.scratch.glob("epoch-*.safetensors")}
    for epochs in sorted(found, reverse=True):
        if not context.start < epochs < fidelity.epochs:
            continue
        with contextlib.suppress(ValueError):  # a damaged one is not gone on from
            checkpoint = checkpoints.load(found[epochs])
            if checkpoint.values.get("step") == [*_step(fidelity, context), *whose]:
                return checkpoint
    return None


def _step(fidelity: Fidelity, context: Context) -> list[float]:
    """Return what tells the step of a trial from its others."""
    asked = (fidelity.epochs, fidelity.data, fidelity.side)
    return [context.start, *asked, context.horizon, context.seed, context.lineage, context.replicate]


def _epochs(path: Path) -> int:
    digits = path.stem.removeprefix("epoch-")
    return int(digits) if digits.isdecimal() else -1


def stalled(curve: Sequence[Metrics], patience: int | None, horizon: int, begun: int = 0) -> bool:
    """Return whether the validation loss has not fallen for ``patience`` epochs, past half of ``horizon``.

    The first ``begun`` epochs are of the parent of a fork, and how they went says nothing about its own recipe.
    """
    losses = [metrics["loss"] for metrics in curve[begun:]]
    if not patience or not losses or 2 * len(curve) < horizon:
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= patience


def trained_weights(checkpoint: Path) -> dict[str, np.ndarray]:
    """Return the weights and buffers that were scored (the average if there is one), by state_dict name."""
    groups = checkpoints.load(checkpoint).groups
    return {name: tensor.numpy() for name, tensor in groups.get("average", groups["network"]).items()}


def standardisation(checkpoint: Path) -> Standardise:
    """Return what turned uint8 images into the network's input during its training."""
    values = checkpoints.load(checkpoint).values
    return Standardise(tuple(values["mean"]), tuple(values["std"]), bool(values.get("per_image")))


def has_inherited(checkpoint: Path) -> bool:
    """Return whether its training began with the weights of a supernet, or they are the supernet's own."""
    return bool(checkpoints.load(checkpoint).values.get("inherited"))


def evaluate_split(
    design: "Design",
    weights: Mapping[str, np.ndarray],
    split: Split,
    standardise: Standardise,
    *,
    device: str = "cpu",
    batch_size: int = 500,
) -> tuple[dict[str, float], np.ndarray]:
    """Return metrics and float32 logits ``(n, classes)`` of ``design`` with ``weights`` on ``split``."""
    where = find_device(device)
    network = design.network(0)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    network.to(device=where, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    images = place(split, str(where), design.shape)
    logits = predict(network, images, standardise, batch_size=batch_size)
    return scores(logits, images.y), logits.cpu().numpy()


def _members(data: Resident, share: float, context: Context) -> Tensor:
    """Return the images to train on, at least two: the same for every design of a study, so that they compare."""
    order = stratified_order(
        data.train.y.cpu().numpy(), replace(context, lineage=0, replicate=0).entropy(SUBSET)
    )
    return torch.from_numpy(order[: max(2, round(share * len(order)))])


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _stamp(path: Path) -> tuple[str, int, int]:
    """Return what tells this content of ``path`` from another one."""
    status = path.stat() if path.exists() else None
    return str(path.resolve()), status.st_mtime_ns if status else 0, status.st_size if status else 0


def _keep_warm(path: Path, whose: object, run: Run) -> None:
    _warm[_stamp(path)] = (whose, run)
    while len(_warm) > KEPT_WARM:
        _warm.popitem(last=False)
