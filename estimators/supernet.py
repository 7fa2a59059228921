"""Score designs with the weights of a supernet: a forward pass in place of a training.

A supernet is one training of the shared weights of a whole space (``estimators.sharing``); the engine has it trained
before the first design is scored. What a score is worth is to be measured: in the best part of a space published ones
rank no better than counting parameters.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from estimators import checkpoint as checkpoints
from estimators.checkpoint import Checkpoint
from estimators.device import keep_memory
from estimators.divergence import Diverged
from estimators.estimator import Context, Estimator, Fidelity, Result, estimators
from estimators.score import FROM_LOGITS
from estimators.sharing import FILE
from estimators.sharing.inherited import open_supernet
from estimators.sharing.supernet import Plan, Supernet
from estimators.watch import Stopped, watch
from search_spaces.architecture import SearchSpace

if TYPE_CHECKING:
    from search_spaces.architecture import Design

SPLIT = "split.json"


@estimators.register("supernet")
class SupernetEstimator(Estimator):
    """Score on the data set saved in ``data`` with the supernet in ``file``; nothing is trained.

    The metrics are the four that follow from the logits, in float32 whatever the ``precision``. The checkpoint holds
    the weights that were scored: a network that can be exported, or trained on. With ``signal`` there is none, and the
    one metric is what ranks designs, under that name: the negative loss under the noise of training (``Scorer.rank``).
    """

    axes = ()
    trains: ClassVar[bool] = False
    reads = ("data", "file")

    def __init__(
        self,
        data: Path | str,
        *,
        metrics: Sequence[str] = FROM_LOGITS,
        precision: str = "auto",
        file: Path | str | None = None,
        signal: str | None = None,
    ) -> None:
        self.data, self.file = str(data), Path(data).parent / FILE if file is None else Path(file)
        self.signal = signal
        if unknown := [name for name in metrics if name not in FROM_LOGITS]:
            raise ValueError(
                f"a supernet does not measure {', '.join(unknown)}: it trains no design; use the estimator 'train', or "
                f"metrics of {', '.join(FROM_LOGITS)}"
            )

    def evaluate(self, design: "Design", fidelity: Fidelity, context: Context) -> Result:
        """Score ``design``; the fidelity does not count. The same weights and design give the same metrics."""
        began = time.monotonic()
        torch.set_num_threads(context.threads)
        scorer = open_supernet(self.file, self.data, design, context.device)
        if self.signal is not None:
            rank = scorer.rank(design)
            told = {"metrics": {self.signal: rank}} if np.isfinite(rank) else {"error": f"nan: loss {-rank}"}
            return Result(**told, seconds=time.monotonic() - began)
        candidate = scorer.candidate(design)
        metrics = scorer.judged(candidate, design)
        if not np.isfinite(metrics["loss"]):
            return Result(error=f"nan: loss {metrics['loss']}", seconds=time.monotonic() - began)
        standardise = scorer.standardise(design)
        # the state of a training that begins with these weights
        state = {"curve": [metrics], "steps": 0, "optimizer": "", "scaler": {}, "inherited": True}
        values: Mapping[str, Any] = {**state, **asdict(standardise)}
        name = "scored.safetensors"
        checkpoints.save(context.scratch / name, Checkpoint({"network": candidate.cut_out()}, values))
        return Result(metrics=metrics, checkpoint=name, seconds=time.monotonic() - began)

    def prepare(self) -> None:
        """Set up the process before its first evaluation."""
        keep_memory()


class _OfSupernet(Estimator):
    """Work on the supernet of ``space`` by ``plan`` in ``file``: it evaluates no design, so no search can choose it."""

    def __init__(
        self,
        data: Path | str,
        space: SearchSpace,
        plan: Plan,
        file: Path,
        *,
        precision: str = "auto",
        parent: Path | None = None,
    ) -> None:
        self.data, self.space, self.plan, self.file = str(data), space, plan, file
        self.precision, self.parent = precision, parent

    def opened(self, context: Context) -> Supernet:
        """Return the supernet as the file has it, on the device and with the threads of ``context``."""
        torch.set_num_threads(context.threads)
        return Supernet(
            self.space,
            self.data,
            self.plan,
            self.file,
            seed=context.seed,
            device=context.device,
            precision=self.precision,
            parent=self.parent,
            memory=context.memory,
        )

    def prepare(self) -> None:
        """Set up the process before its first evaluation."""
        keep_memory()


class SupernetTraining(_OfSupernet):
    """Train the supernet, which goes on from its file after any interruption.

    At the deadline of a ``partial`` context the last whole epoch counts. With the file of a ``parent`` it is one half
    of a split of that.
    """

    reads = ("data", "parent")
    writes = ("file",)

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        """Train to ``fidelity.epochs``; the metrics are the mean loss of the last epoch, and how many there were.

        Errors in the result: ``nan`` (the loss is no number), ``memory``, ``timeout``.
        """
        began, net = time.monotonic(), self.opened(context)
        stopped, error = False, None
        try:
            with torch.random.fork_rng(devices=[]):
                net.train(watch=watch(context, began), report=context.report, epochs=fidelity.epochs)
        except Stopped:
            stopped = True
        except (TimeoutError, Diverged) as reason:
            error = f"{'nan' if isinstance(reason, Diverged) else 'timeout'}: {reason}"
        except (MemoryError, torch.OutOfMemoryError) as reason:
            error = f"memory: {' '.join(str(reason).split())[:300] or 'an allocation failed'}"
        metrics = {"epochs": float(len(net.curve)), **({"train_loss": net.curve[-1]} if net.curve else {})}
        return Result(metrics=metrics, stopped=stopped, error=error, seconds=time.monotonic() - began)


class SupernetSplitting(_OfSupernet):
    """Find the split that the supernet's gradients ask for; ``SPLIT`` in the scratch folder then has it as JSON."""

    reads = ("data", "file")

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        """Write the split, null where there is no choice to split by."""
        began, net = time.monotonic(), self.opened(context)
        with torch.random.fork_rng(devices=[]):
            found = net.split()
        (context.scratch / SPLIT).write_text(json.dumps(None if found is None else found.row()))
        similarity = {} if found is None else {"similarity": found.similarity}
        return Result(metrics=similarity, seconds=time.monotonic() - began)
