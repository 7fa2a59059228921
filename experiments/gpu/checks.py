"""What must hold on a device, each in one function that raises ``AssertionError`` with the figures where it does not.

A check gets a ``Place`` and returns one line about what it saw. On a CPU (``--quick``) the same functions run: what
they compare with is then the CPU in the other memory layout, and what runs out is the memory of a supervised child.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import train
from estimators.dataset import Dataset, load, save
from estimators.device import MEMORY_FORMAT, kernels, synchronize
from estimators.estimator import Context, Fidelity, Result
from estimators.score import FROM_LOGITS
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan, Supernet
from estimators.split import Split
from estimators.train import TrainEstimator
from nas.executor import Limits, Task
from nas.shortage import resident
from nas.supervise import Child
from nas.trust import taus
from search_spaces.architecture import Design, SearchSpace, family
from search_spaces.recipe import recipe_space

FAMILIES = ("chain", "cell", "mobile", "residual", "vit")
SHAPE, CLASSES = (3, 32, 32), 10
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """The ``device`` that is checked, a ``folder`` to write in, and whether to be ``quick``."""

    device: torch.device
    folder: Path
    quick: bool

    @cached_property
    def digits(self) -> Path:
        """The digits, saved."""
        return save(load("digits"), self.folder / "digits")

    @cached_property
    def gratings(self) -> Path:
        """Stripes in noise, one direction a class: pictures that can be learned, made here."""
        return save(_gratings(2_000 if self.quick else 20_000), self.folder / "gratings")

    @cached_property
    def few(self) -> Path:
        """The first of these."""
        return save(_gratings(2_000), self.folder / "few")

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Give a folder of that name."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        yield path


def _gratings(count: int) -> Dataset:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]

    def part(n: int) -> Split:
        y = np.arange(n) % CLASSES
        angle = np.pi * y / CLASSES + rng.normal(0, 0.05, n)
        along = np.cos(angle)[:, None, None] * rows + np.sin(angle)[:, None, None] * columns
        wave = np.sin(along * 0.8 + rng.uniform(0, 6.3, (n, 1, 1)))[:, None]
        noise = rng.normal(0, 0.7, (n, *SHAPE))
        return Split(np.clip(128 + 50 * (wave + noise), 0, 255).astype(np.uint8), y)

    return Dataset("gratings", part(count), part(500), part(10), tuple("0123456789"))


def space_of(name: str, shape: tuple[int, int, int], images: int) -> SearchSpace:
    """Return the joint space of the family ``name``."""
    return SearchSpace(family(name, shape, CLASSES), recipe_space(shape, CLASSES, images))


def default(name: str, shape: tuple[int, int, int] = SHAPE, images: int = 20_000, **recipe: Any) -> Design:
    """Return the default design of a family; ``recipe`` replaces values of its recipe."""
    joint = space_of(name, shape, images)
    values = {**joint.space.default(), **{f"recipe.{path}": value for path, value in recipe.items()}}
    return joint.decode(joint.space.complete(values, np.random.default_rng(0)))


def trained(
    place: Place,
    design: Design,
    data: Path,
    name: str,
    epochs: int,
    *,
    precision: str = "auto",
    metrics: Sequence[str] = FROM_LOGITS,
    **context: Any,
) -> tuple[Result, Path]:
    """Train ``design`` on the device for ``epochs``; return what came out and the folder it was written to."""
    with place.scratch(name) as scratch:
        context = {"horizon": epochs, "threads": torch.get_num_threads(), "epochs": epochs} | context
        own = Context(seed=1, scratch=scratch, device=str(place.device), **context)
        return TrainEstimator(data, metrics=metrics, precision=precision).evaluate(
            design, Fidelity(epochs), own
        ), scratch


def passed(network: nn.Module, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return logits and gradients of one pass, as lists on the CPU; dropout off."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d) or type(module).__name__ == "StochasticDepth":
            module.eval()
    with kernels(exact=True):
        logits = network(x)
        cross_entropy(logits, y).backward()
    gradients = [p.grad.cpu().contiguous() for p in network.parameters() if p.grad is not None]
    return [logits.detach().cpu()], gradients


def same_passes(place: Place) -> str:
    """Logits and gradients of every family lie within ten times the CPU's own distance from float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(16, *SHAPE, generator=generator)
    y = torch.randint(CLASSES, (16,), generator=generator)
    worst = 0.0
    for name in FAMILIES:
        design = default(name)
        here = design.network(0).to(place.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        ours = passed(here, x.to(place.device).contiguous(memory_format=MEMORY_FORMAT), y.to(place.device))
        exact, theirs = passed(design.network(0).double(), x.double(), y), passed(design.network(0), x, y)
        off = [(_distance(ours[i], exact[i]), _distance(theirs[i], exact[i])) for i in (0, 1)]
        assert all(a < 10 * b + 1e-4 for a, b in off), (
            f"{name}: logits and gradients are off by {off} (here, CPU)"
        )
        worst = max(worst, *(a for a, _ in off))
    return f"{len(FAMILIES)} families, farthest {worst:.1e}"


def _distance(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the distance of all tensors together, as a share of their norm."""
    gap = sum(float((a - b).double().square().sum()) for a, b in zip(ours, theirs, strict=True))
    return (gap / sum(float(b.double().square().sum()) for b in theirs)) ** 0.5


def same_training(place: Place) -> str:
    """An epoch of the default chain ends at the CPU's loss, to a twentieth: same batches, same draws."""
    design = default("chain", (1, 8, 8), 1_222)
    ours, _ = trained(place, design, place.digits, "same", 3, precision="float32")
    theirs, _ = trained(replace(place, device=CPU), design, place.digits, "same-cpu", 3, precision="float32")
    pairs = [(a["train_loss"], b["train_loss"]) for a, b in zip(ours.curve, theirs.curve, strict=True)]
    assert all(abs(a - b) < 0.05 * b + 0.01 for a, b in pairs), f"training losses differ: {pairs}"
    return "losses " + ", ".join(f"{a:.4f} ({b:.4f})" for a, b in pairs)


def every_precision(place: Place) -> str:
    """float32, bfloat16, and float16 with its scaler reach one accuracy."""
    design = default("chain", (1, 8, 8), 1_222)
    found = {}
    for precision in ("float32", "bfloat16", "float16"):
        result, _ = trained(place, design, place.digits, precision, 12, precision=precision)
        assert result.error is None, f"{precision}: {result.error}"
        found[precision] = result.metrics["accuracy"]
    assert max(found.values()) - min(found.values()) < 0.04 and min(found.values()) > 0.92, found
    return ", ".join(f"{name} {value:.4f}" for name, value in found.items())


def resumed(place: Place) -> str:
    """A training continued from its file is the uninterrupted one: bit for bit on a CPU, closely on a GPU."""
    design = default("chain", (1, 8, 8), 1_222)
    whole, _ = trained(place, design, place.digits, "whole", 8)
    half, folder = trained(place, design, place.digits, "half", 4, horizon=8)
    train._warm.clear()
    assert half.checkpoint is not None
    rest, _ = trained(place, design, place.digits, "rest", 8, start=4, checkpoint=folder / half.checkpoint)
    curve = [metrics["loss"] for metrics in (*half.curve, *rest.curve)]
    others = [metrics["loss"] for metrics in whole.curve]
    if place.device.type == "cpu":
        assert curve == others, f"{curve} is not {others}"
    gap = max(abs(a - b) for a, b in zip(curve, others, strict=True))
    assert gap < 0.1, f"{curve} is far from {others}"
    return f"largest difference of a loss {gap:.1e} over 8 epochs"


def out_of_memory(place: Place) -> str:
    """Memory that runs out for real halves the batch where that helps, and is a result where it does not."""
    wide = {"stages.n3.s1.depth": 3, "stages.n3.s2.depth": 3}
    joint = space_of("chain", SHAPE, 20_000)
    values = {**joint.space.default(), "recipe.batch_size": 256}
    values |= {f"architecture.{path}": value for path, value in wide.items()}
    design = joint.decode(joint.space.complete(values, np.random.default_rng(0)))
    if place.device.type == "cpu":
        return _killed(place, design)
    result, _ = trained(place, design, place.gratings, "all-memory", 1)
    assert result.error is None, result.error
    whole = torch.cuda.get_device_properties(place.device).total_memory
    peak, base = torch.cuda.max_memory_allocated(place.device), torch.cuda.memory_allocated(place.device)
    found = {}
    for share in (0.6, 0.02):
        train._warm.clear()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((base + share * (peak - base)) / whole)
        try:
            found[share], folder = trained(place, design, place.gratings, f"memory-{share}", 1)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert found[0.6].error is None, f"six tenths of its memory: {found[0.6].error}"
    pieces = _pieces(folder.parent / "memory-0.6" / str(found[0.6].checkpoint))
    assert pieces > 1, "six tenths of its memory, and still in one piece"
    error = found[0.02].error
    assert error is not None and error.startswith("memory:"), f"a fiftieth of its memory: {error}"
    return f"peak {(peak - base) / 2**20:.0f} MiB; {pieces} pieces in six tenths of it; {error[:60]!r} in a fiftieth"


def _pieces(checkpoint: Path) -> int:
    content = checkpoint.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return int(json.loads(header["__metadata__"]["checkpoint"])["values"]["pieces"])


def _killed(place: Place, design: Design) -> str:
    """Train in a child that may grow by 40 MB beyond what it needs for a small training."""
    child, small = Child(), default("chain", batch_size=32)
    try:
        for limit in (None, 40_000_000):
            with place.scratch(f"child-{limit}") as scratch:
                context = Context(seed=0, scratch=scratch, threads=torch.get_num_threads())
                memory = (
                    None
                    if limit is None
                    else sum(resident(p.pid) for p in psutil.Process().children()) + limit
                )
                task = Task(
                    TrainEstimator(place.gratings),
                    design if limit else small,
                    Fidelity(1, 0.2),
                    context,
                    Limits(memory=memory),
                )
                result = child.run(task, threading.Event())
            if limit is None:
                assert result.error is None, result.error
        assert result.error is not None and result.error.startswith("memory:"), result.error
        return repr(result.error)
    finally:
        child.close()


def several_workers(place: Place) -> str:
    """Workers that share the device train what one trains, and more of it in the same time."""
    counts = (1, 2) if place.quick else (1, 2, 4)
    speeds = {}
    for count in counts:
        children = [Child() for _ in range(count)]
        try:
            speeds[count] = _together(place, children)
        finally:
            for child in children:
                child.close()
    one = speeds[1]
    return "images/s of all: " + ", ".join(
        f"{count} workers {speed:,.0f} ({speed / one:.2f})" for count, speed in speeds.items()
    )


def _together(place: Place, children: list[Child]) -> float:
    """Train the default chain in each child at once; return images per second of all, the first round not counted."""
    design, share = default("chain"), 0.25 if place.quick else 1.0
    images = share * (2_000 if place.quick else 20_000)
    threads = max(1, torch.get_num_threads() // len(children))

    def work(number: int, child: Child) -> None:
        with place.scratch(f"worker-{len(children)}-{number}") as scratch:
            context = Context(
                seed=number, scratch=scratch, device=str(place.device), threads=threads, horizon=4
            )
            task = Task(TrainEstimator(place.gratings), design, Fidelity(1, share), context)
            results.append(child.run(task, threading.Event()))

    for _ in range(2):
        results: list[Result] = []
        began = time.perf_counter()
        workers = [threading.Thread(target=work, args=pair) for pair in enumerate(children)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
    errors = [result.error for result in results if result.error]
    assert not errors and len(results) == len(children), errors
    return len(children) * images / seconds


def latency_by_events(place: Place) -> str:
    """The latency that is reported agrees with the device's own events, or the clock's on a CPU."""
    from estimators.cost.latency import latency

    design = default("mobile")
    network = design.network(0).to(place.device, memory_format=MEMORY_FORMAT).eval()  # type: ignore[call-overload]
    found = {}
    for batch in (1, 32):
        ours = latency(network, SHAPE, device=place.device, batch_size=batch).median
        theirs = _timed(network, torch.zeros(batch, *SHAPE, device=place.device), place.device)
        assert 0.5 < ours / theirs < 2, f"batch {batch}: {ours} ms reported, {theirs} ms by another clock"
        found[batch] = f"batch {batch}: {ours:.3f} ms ({theirs:.3f})"
    return ", ".join(found.values())


@torch.inference_mode()
def _timed(network: nn.Module, x: Tensor, device: torch.device, repeats: int = 30) -> float:
    x = x.contiguous(memory_format=MEMORY_FORMAT)
    for _ in range(5):
        network(x)
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        network(x)
    synchronize(device)
    return 1e3 * (time.perf_counter() - began) / repeats


def shared_weights(place: Place) -> str:
    """A supernet learns in three precisions, goes on from its file, and scores as the CPU does on the same weights."""
    space, plan = space_of("chain", (1, 8, 8), 1_222), Plan(3 if place.quick else 8)

    def opened(precision: str, device: torch.device = place.device) -> Supernet:
        file = place.folder / f"supernet-{precision}"
        return Supernet(space, place.digits, plan, file, seed=1, device=str(device), precision=precision)

    ends = []
    for precision in ("bfloat16", "float16", "float32"):
        half = opened(precision)
        half.train(epochs=plan.epochs // 2)
        net = opened(precision)
        assert net.curve == half.curve, f"{precision}: {net.curve} was read, {half.curve} written"
        net.train()
        assert all(np.isfinite(net.curve)) and net.curve[-1] < net.curve[0], f"{precision}: {net.curve}"
        ends.append(f"{precision} {net.curve[0]:.3f} to {net.curve[-1]:.3f}")
    designs = next(Paths(each=10).draws(space, 7, epoch=1, horizon=1))
    there = opened("float32", CPU)
    a, b = (np.array([one.scorer().score(d)["loss"] for d in designs]) for one in (net, there))
    gap = float(np.max(np.abs(a - b) / b))
    assert gap < 0.01, f"scores are off by {gap} of the CPU's: {a} and {b}"
    tau = float(taus(a, b, np.ones((1, len(a))))[0])
    return f"losses {', '.join(ends)}; {len(a)} scores off by {gap:.1e} at most, tau {tau:.3f}"


CHECKS: tuple[Callable[[Place], str], ...] = (
    same_passes,
    same_training,
    every_precision,
    resumed,
    latency_by_events,
    shared_weights,
    several_workers,
)
LAST = out_of_memory  # of all: it may leave the device as others would not find it
