"""What is timed on a device, each in one function that returns rows of figures. Rivals are timed in turn in one run.

Speeds are medians of rounds with the least and the greatest behind them. On a CPU (``--quick``) sizes are small and the
figures mean nothing.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from estimators.cost.latency import latency
from estimators.cost.memory import predict_memory
from estimators.device import MEMORY_FORMAT, kernels, own_stream, synchronize
from estimators.loop import Training
from estimators.mix import Labels
from estimators.optimizer import build_optimizer
from estimators.proxy import proxies
from estimators.resident import Images, resident
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan, Supernet
from experiments.gpu.checks import CLASSES, SHAPE, Place, default, space_of, trained
from experiments.throughput.networks import design
from search_spaces.architecture import Design
from search_spaces.recipe import Recipe

NETWORKS = ("small", "middle", "large")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDS = 3

Loop = Callable[[], int]  # trains, and returns on how many images


def in_turn(place: Place, loops: Mapping[str, Loop], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return images per second by loop and round; a first round is not kept."""
    found: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, loop in loops.items():
            synchronize(place.device)
            began = time.perf_counter()
            images = loop()
            synchronize(place.device)
            if number:
                found[name].append(images / (time.perf_counter() - began))
    return found


def rows(speeds: Mapping[str, Sequence[float]], base: str) -> dict[str, str]:
    """Return a line for each loop: images per second, its share of ``base``'s, least and greatest."""
    middle = statistics.median(speeds[base])
    return {
        name: f"{statistics.median(v):,.0f} images/s, {statistics.median(v) / middle:.2f} of {base}'s"
        f" ({min(v):,.0f} to {max(v):,.0f})"
        for name, v in speeds.items()
    }


def images_of(place: Place) -> Images:
    """Return the training images on the device, all of one batch size short of a remainder."""
    images = resident(str(place.gratings), str(place.device), SHAPE).train
    n = 512 if place.quick else 19_968
    return Images(images.x[:n], images.y[:n])


def recipe_of(batch_size: int = 64, augment: str = "flip-crop", optimizer: str = "adamw") -> Recipe:
    """Return what all loops train by."""
    return Recipe(optimizer, 1e-3, 1e-2, batch_size=batch_size, augment=augment)


def ours(place: Place, one: Design, recipe: Recipe, dtype: torch.dtype, *, replay: bool = True) -> Loop:
    """The loop of the estimator; without ``replay`` each kernel is launched by itself."""
    images = images_of(place)
    standardise = resident(str(place.gratings), str(place.device), SHAPE).standardise
    training = Training(one.network(0), recipe, standardise, device=place.device, dtype=dtype)
    if not replay:
        training.replay.give_up()

    def loop() -> int:
        members = torch.arange(len(images))
        training.epoch(images, members, epoch=1, horizon=20, seeds=(1, 2), watch=lambda: None)
        return len(images)

    return loop


def bare(place: Place, one: Design, recipe: Recipe, dtype: torch.dtype) -> Loop:
    """Forward, backward and step on tensors that are ready, launched kernel by kernel."""
    network = one.network(0).to(place.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    z = torch.rand(recipe.batch_size, *SHAPE, device=place.device).contiguous(memory_format=MEMORY_FORMAT)
    y = torch.arange(recipe.batch_size, device=place.device) % CLASSES
    steps = len(images_of(place)) // recipe.batch_size
    optimizer = build_optimizer(recipe, network)
    network.train()

    def loop() -> int:
        with kernels(exact=False), own_stream(place.device):
            for _ in range(steps):
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(place.device.type, dtype, enabled=dtype != torch.float32):
                    logits = network(z)
                cross_entropy(logits.float(), y).backward()
                optimizer.step()
        return steps * recipe.batch_size

    return loop


def textbook(place: Place, one: Design, recipe: Recipe, workers: int) -> Loop:
    """A ``DataLoader`` over a ``TensorDataset`` with torchvision's transforms for each image, in float32."""
    from experiments.throughput.loops import Pictures
    from search_spaces.vision import torchvision

    images, t = images_of(place), torchvision("transforms.v2")
    steps = [t.RandomCrop(SHAPE[1], padding=SHAPE[1] // 8), t.RandomHorizontalFlip()]
    steps += [t.ToDtype(torch.float32, scale=True), t.Normalize((0.5,) * 3, (0.25,) * 3)]
    n = 256 if place.quick else 6_400
    x, y = images.x[:n].cpu().numpy(), images.y[:n].cpu().numpy()
    loader = torch.utils.data.DataLoader(
        Pictures(x, y, t.Compose(steps), pil=False),
        recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=place.device.type == "cuda",
    )
    network = one.network(0).to(place.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    network.train()

    def loop() -> int:
        count = 0
        for z, labels in loader:
            z, labels = z.to(place.device), labels.to(place.device)
            optimizer.zero_grad()
            loss = cross_entropy(network(z), labels)
            loss.backward()
            optimizer.step()
            count += len(z)
            loss.item()
        return count

    return loop


def throughput(place: Place) -> dict[str, str]:
    """Ours in three precisions, as a graph and kernel by kernel, the bare step, and the textbook's loop."""
    found: dict[str, str] = {}
    for name in NETWORKS[:1] if place.quick else NETWORKS:
        one, recipe = design(name, SHAPE), recipe_of()
        loops: dict[str, Loop] = {}
        for precision, dtype in PRECISIONS.items():
            loops[f"ours {precision}"] = ours(place, one, recipe, dtype)
        for precision in ("float32", "bfloat16"):
            loops[f"unrecorded {precision}"] = ours(place, one, recipe, PRECISIONS[precision], replay=False)
            loops[f"bare {precision}"] = bare(place, one, recipe, PRECISIONS[precision])
        if name == "small":
            loops |= {
                f"textbook {workers} workers": textbook(place, one, recipe, workers) for workers in (0, 8)
            }
        found |= {f"{name}: {key}": row for key, row in rows(in_turn(place, loops), "bare float32").items()}
    return found


def augmentations(place: Place) -> dict[str, str]:
    """What each policy costs the small network's training in bfloat16."""
    one = design("small", SHAPE)
    loops = {
        policy: ours(place, one, recipe_of(augment=policy), torch.bfloat16)
        for policy in ("none", "flip-crop", "trivial")
    }
    return rows(in_turn(place, loops), "none")


def optimizers(place: Place) -> dict[str, str]:
    """Every optimizer as a graph: which of them cannot be recorded is named."""
    loops, unrecorded = dict[str, Loop](), list[str]()
    one = design("small", SHAPE)
    for name in ("sgd", "adam", "adamw", "rmsprop"):
        loops[name] = ours(place, one, recipe_of(optimizer=name), torch.bfloat16)
    found = rows(in_turn(place, loops, 1), "adamw")
    for name in loops:
        training = Training(
            one.network(0),
            recipe_of(optimizer=name),
            resident(str(place.gratings), str(place.device), SHAPE).standardise,
            device=place.device,
            dtype=torch.bfloat16,
        )
        images = images_of(place)
        training.epoch(images, torch.arange(512), epoch=1, horizon=2, seeds=(1, 2), watch=lambda: None)
        if not training.replay.recorded:
            unrecorded.append(name)
    return {**found, "kernel by kernel": ", ".join(unrecorded) or "none"}


def break_even(place: Place) -> dict[str, str]:
    """Seconds before the first steps are done, and steps from which a recording or a compilation has paid."""
    one, recipe, found = design("small", SHAPE), recipe_of(), {}
    images = images_of(place)
    standardise = resident(str(place.gratings), str(place.device), SHAPE).standardise
    few, many = 512, len(images)
    costs: dict[str, tuple[float, float]] = {}
    for form in ("kernel by kernel", "graph", "torch.compile"):
        network: Any = one.network(0)
        training = Training(network, recipe, standardise, device=place.device, dtype=torch.bfloat16)
        if form != "graph":
            training.replay.give_up()
        if form == "torch.compile":
            training.network = torch.compile(training.network)  # type: ignore[assignment]
        times = []
        for count in (few, few, many):
            synchronize(place.device)
            began = time.perf_counter()
            try:
                training.epoch(
                    images, torch.arange(count), epoch=1, horizon=9, seeds=(1, 2), watch=lambda: None
                )
            except Exception as error:  # no compiler on this machine
                found[form] = f"not possible: {type(error).__name__}"
                break
            synchronize(place.device)
            times.append(time.perf_counter() - began)
        else:
            each = (
                (times[2] - times[1]) / max(1, (many - few) // recipe.batch_size)
                if many > few
                else times[1] / 8
            )
            costs[form] = times[0] - times[1], each
    slow = costs["kernel by kernel"]
    for form, (once, each) in costs.items():
        saved = slow[1] - each
        pays = f"pays from {max(0.0, once - slow[0]) / saved:,.0f} steps on" if saved > 0 else "does not pay"
        found[form] = f"{1e3 * once:,.0f} ms once, {1e3 * each:.3f} ms a step" + (
            f", {pays}" if form != "kernel by kernel" else ""
        )
    return found


def zero_cost(place: Place) -> dict[str, str]:
    """Milliseconds of each proxy for the default cell network and a batch of 64."""
    network = default("cell").network(0).to(place.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    n = 8 if place.quick else 64
    x = torch.rand(n, *SHAPE, generator=generator).to(place.device)
    y = (torch.arange(n) % CLASSES).to(place.device)
    found = {}
    for name in proxies.names():
        taken, value = [], 0.0
        for _ in range(2 if place.quick else 4):
            synchronize(place.device)
            began = time.perf_counter()
            value = proxies.get(name)(network, x, y, torch.Generator().manual_seed(1))
            synchronize(place.device)
            taken.append(1e3 * (time.perf_counter() - began))
        found[name] = f"{statistics.median(taken[1:]):,.0f} ms, value {value:.6g}"
    return found


def memory(place: Place) -> dict[str, str]:
    """Peak memory of training, predicted and measured, of random designs of four families."""
    rng, ratios, lines = np.random.default_rng(0), [], {}
    for name in ("chain", "mobile") if place.quick else ("chain", "cell", "mobile", "residual"):
        joint = space_of(name, SHAPE, 20_000)
        for number in range(1 if place.quick else 3):
            one = joint.decode(joint.space.sample(rng))
            result, _ = trained(place, one, place.few, f"peak-{name}-{number}", 1, metrics=("memory",))
            if result.error is not None:
                lines[f"{name} {number}"] = result.error
                continue
            predicted = predict_memory(one, dtype=torch.bfloat16).total
            ratios.append(result.metrics["memory"] / predicted)
            lines[f"{name} {number}"] = (
                f"{result.metrics['memory'] / 2**20:,.0f} MiB measured, {predicted / 2**20:,.0f} predicted"
            )
    off = [abs(ratio - 1) for ratio in ratios]
    lines["error"] = (
        f"median {np.median(off):.0%}, greatest {max(off):.0%}" if off else "no training ended well"
    )
    return lines


def latencies(place: Place) -> dict[str, str]:
    """Milliseconds of a forward pass, batch 1 and 256, of each family's default."""
    found = {}
    for name in ("chain", "cell", "mobile", "residual", "vit"):
        network: nn.Module = default(name).network(0)
        network = network.to(place.device, memory_format=MEMORY_FORMAT).eval()  # type: ignore[call-overload]
        times = [
            latency(network, SHAPE, device=place.device, batch_size=batch)
            for batch in (1, 8 if place.quick else 256)
        ]
        found[name] = ", ".join(f"{one.median:.3f} ms ({one.p10:.3f} to {one.p90:.3f})" for one in times)
    return found


def warm(place: Place) -> dict[str, str]:
    """An epoch continued in the worker that trained the last one, and one that is read from its file."""
    from estimators import train

    one, found = default("chain"), {}
    for form in ("warm", "cold"):
        half, folder = trained(place, one, place.gratings, f"continue-{form}", 1, horizon=2)
        assert half.checkpoint is not None
        if form == "cold":
            train._warm.clear()
        rest, _ = trained(
            place, one, place.gratings, f"continue-{form}", 2, start=1, checkpoint=folder / half.checkpoint
        )
        found[form] = f"{rest.seconds:.3f} s"
    return found


def supernet(place: Place) -> dict[str, str]:
    """Milliseconds of steps of random designs on shared weights, of their own kernel by kernel, and of a score."""
    found, few = {}, 2 if place.quick else 12
    for name in ("chain",) if place.quick else ("chain", "mobile", "cell"):
        space = space_of(name, SHAPE, 20_000)
        net = Supernet(
            space, place.gratings, Plan(1), place.folder / f"timed-{name}", device=str(place.device)
        )
        designs = next(Paths(each=few).draws(space, 1, epoch=1, horizon=1))
        images = images_of(place)
        z = torch.rand(net.recipe.batch_size, *SHAPE, device=place.device).contiguous(
            memory_format=MEMORY_FORMAT
        )
        labels = Labels(images.y[: len(z)])
        shares, own = [], []
        for one in designs:
            alone = Training(
                one.network(0), net.recipe, net.training.standardise, device=place.device, dtype=net.dtype
            )
            alone.network.train()

            def ours(one: Design = one) -> object:
                return net.training.step(z, labels, 1.0, [one])  # noqa: B023

            def theirs(alone: Training = alone) -> object:
                return alone.step(z, labels, 1.0)  # noqa: B023

            times = [median_seconds(place, step) for step in (ours, theirs)]
            shares.append(times[0] / times[1])
            own.append(1e3 * times[1])
        scorer = net.scorer()
        score = statistics.median(
            median_seconds(place, lambda one=one, scorer=scorer: scorer.score(one))  # type: ignore[misc]
            for one in designs
        )
        found[name] = (
            f"{statistics.median(own):.2f} ms by itself, {statistics.median(shares):.2f} of that on shared weights "
            f"({min(shares):.2f} to {max(shares):.2f}); a score {1e3 * score:.0f} ms"
        )
    return found


def median_seconds(place: Place, work: Callable[[], object], repeats: int = 7) -> float:
    """Return the median seconds of ``work`` after two runs that are not counted."""
    taken = []
    for _ in range(3 if place.quick else repeats + 2):
        synchronize(place.device)
        began = time.perf_counter()
        work()
        synchronize(place.device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


TIMINGS: tuple[Callable[[Place], Any], ...] = (
    throughput,
    break_even,
    augmentations,
    optimizers,
    memory,
    latencies,
    zero_cost,
    supernet,
    warm,
)
