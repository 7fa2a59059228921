"""How well a supernet ranks designs that were trained by themselves, beside what is free: parameters, MACs, one proxy.

    python -m experiments.supernet_rank.run [--quick] [--spaces mobile,chain,cell] [--only single,sandwich,...]

Trainings are appended to ``truth-SPACE.jsonl`` one by one; supernets lie in the cache and go on where they were.
``--quick`` trains six designs of ``chain`` for an epoch and keeps nothing.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.nn.functional import cross_entropy

from estimators import cache
from estimators.batches import epoch_batches
from estimators.dataset import open_saved
from estimators.device import keep_memory
from estimators.loop import Training
from estimators.resident import resident
from estimators.sharing.inherited import joined, open_supernet
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan, Supernet
from estimators.zero_cost import score as proxy_scores
from experiments.curves.record import images
from experiments.record import Record, code_hash
from experiments.supernet_rank.ranks import Interval, ceiling, finite, interval, tau, top
from experiments.supernet_rank.truth import (
    DESIGNS,
    EPOCHS,
    MOST,
    SIDE,
    TESTED,
    designs,
    fill,
    rows,
    space_of,
    train,
)
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import Recipe

HERE = Path(__file__).parent
COMMAND = "python -m experiments.supernet_rank.run"
PROXY = "zico"  # named before any supernet was trained: the best single one of experiments/proxies
TRAININGS = 10  # designs whose training a supernet may cost
PASSES = 48  # of one candidate a step: they fit into that with what drawing and lending cost
STEPS, RATE = 16, 0.3  # of a design's own training, what a score may cost; and the share of its learning rate
VALIDATED = 1_000  # images by which its loss after them is told
WARMED = 20  # designs that are trained from inherited weights
MEASURED = ("estimators", "search_spaces", "experiments/supernet_rank/truth.py")
SPLIT, WITHOUT_NOISE = "split", "without noise"
FREE = ("parameters", "MACs", PROXY)
ACCURACY, LOSS = 0, 1  # columns of the scores
LOOKED_AT = 65  # of `mobile`: draws and scores were chosen on the first ones (experiments/LOG.md)
VARIANTS: Mapping[str, Mapping[str, Any]] = {  # what differs from "single", which is the claim
    "single": {},
    "batch statistics": {"calibrate": 0},
    WITHOUT_NOISE: {},
    "random": {"sampling": "random"},
    "sandwich": {"sandwich": True},
    "transform": {"kernels": "transform"},
    "apart": {"kernels": "apart"},
    SPLIT: {},
}
SCORED_OTHERWISE = ("batch statistics", WITHOUT_NOISE)  # with the weights of "single"


def plan_of(variant: str, macs: float, epochs: int) -> Plan:
    """Return the plan of a variant of so many passes of one candidate; more candidates a step have fewer passes."""
    options = dict(VARIANTS[variant])
    other = {name: options.pop(name) for name in ("kernels", "calibrate") if name in options}
    paths = Paths(macs=macs, **options)
    candidates = paths.each + 2 * paths.sandwich
    return Plan(max(1, epochs // candidates), paths, **other)


def scored(name: str, variant: str, data: Path, folder: Path, *, epochs: int, number: int) -> dict[str, Any]:
    """Return what a supernet of ``variant`` says of the designs, the seconds it took to train and to score one."""
    space = space_of(name, data)
    plan = plan_of(variant, MOST[name] * space.measure(space.space.default())["macs"], epochs)
    trained = "single" if variant in SCORED_OTHERWISE else variant
    file = supernet_file(folder, name, trained, epochs)
    if variant == SPLIT:
        seconds, loss = split_in_two(space, data, plan, file)
    else:
        own = replace(plan, calibrate=500)
        seconds, loss = in_cpu_seconds(lambda: Supernet(space, data, own, file, precision="float32"), file)
    found, each = {}, []
    for known in designs(name, open_saved(data), number):
        scorer = open_supernet(file, data, known.design)
        before, scorer.calibrate = scorer.calibrate, plan.calibrate
        start = time.process_time()
        metrics = scorer.score(known.design, noise=variant != WITHOUT_NOISE)
        each.append(time.process_time() - start)
        scorer.calibrate = before  # it is kept from one call to the next
        found[str(known.number)] = [metrics["accuracy"], metrics["loss"]]
    return {"scores": found, "seconds": seconds, "each": float(np.median(each)), "loss": loss}


def in_cpu_seconds(make: Callable[[], Supernet], file: Path) -> tuple[float, float]:
    """Train what ``make`` returns; return the CPU seconds that it took, in all of its parts, and the loss at the end.

    ``file`` is that of the supernet.
    """
    times, clock = file.with_name(f"{file.name}.json"), [time.process_time()]
    spent: list[float] = json.loads(times.read_text()) if times.exists() else []
    net = make()

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        now = time.process_time()
        spent.append(now - clock[0])
        clock[0] = now
        times.write_text(json.dumps(spent))
        print(
            f"{file.name}: epoch {epoch}, loss {metrics['train_loss']:.3f}, {sum(spent):.0f} s",
            flush=True,
        )

    net.train(report=report)
    return sum(spent), net.curve[-1]


def split_in_two(space: SearchSpace, data: Path, plan: Plan, file: Path) -> tuple[float, float]:
    """Train a supernet for half of the epochs of ``plan`` and each half of it for a quarter, into ``file``."""
    whole, halves = file.with_suffix(".whole"), (file.with_suffix(".0"), file.with_suffix(".1"))
    first = replace(plan, epochs=max(1, plan.epochs // 2))
    seconds, _ = in_cpu_seconds(lambda: Supernet(space, data, first, whole, precision="float32"), whole)
    net = Supernet(space, data, first, whole, precision="float32")
    began = time.process_time()
    split = net.split()
    assert split is not None
    print(f"split by {split.path}: {split.groups}, cosine {split.similarity:.3f}", flush=True)
    seconds, losses = seconds + time.process_time() - began, []
    for group, half in zip(split.groups, halves, strict=True):
        paths = replace(plan.paths, only=(split.path, group))
        own = replace(plan, epochs=max(1, plan.epochs // 4), paths=paths)

        def make(own: Plan = own, half: Path = half) -> Supernet:
            return Supernet(space, data, own, half, precision="float32", parent=whole)

        took, loss = in_cpu_seconds(make, half)
        seconds += took
        losses.append(loss)
    joined(file, halves, split)
    return seconds, float(np.mean(losses))


def free(name: str, data: Path, number: int) -> dict[str, list[float]]:
    """Return parameters, MACs and the proxy of each design, by the number of its draw."""
    found = {}
    for known in designs(name, open_saved(data), number):
        value = proxy_scores(known.design, [PROXY], data)[PROXY].value
        design = known.design
        found[str(known.number)] = [design.parameters, design.macs, float("nan") if value is None else value]
    return found


def begun(name: str, data: Path, number: int) -> dict[str, Any]:
    """Return the loss of each design after ``STEPS`` steps of its own training, and the median seconds that took."""
    found, each = {}, []
    images = resident(str(data), "cpu", open_saved(data).shape)
    for known in designs(name, open_saved(data), number):
        start, recipe = time.process_time(), Recipe.parse(known.design.recipe)
        standardise = images.standardise.of_kind(recipe.normalize)
        network = known.design.network(0)
        training = Training(network, recipe, standardise, device=torch.device("cpu"), dtype=torch.float32)
        feed = epoch_batches(
            images.train, torch.arange(len(images.train)), recipe, standardise, 5, device=torch.device("cpu")
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            training.network.train()
            for z, labels in itertools.islice(feed, STEPS):
                training.step(z, labels, RATE)
            with torch.no_grad():
                logits = training.network(standardise(images.val.x[:VALIDATED])).float()
        found[str(known.number)] = [float(cross_entropy(logits, images.val.y[:VALIDATED].long()))]
        each.append(time.process_time() - start)
    return {"scores": found, "each": float(np.median(each))}


class Shown:
    """Truth and scores of one space, and what they show."""

    def __init__(self, record: Record, name: str, trainings: list[dict[str, Any]]) -> None:
        self.record, self.name = record, name
        seeds = DESIGNS[name][1]
        by_number: dict[int, dict[int, float]] = {}
        times = [row["curve"][-1][1] for row in trainings if row["curve"]]
        self.seconds, self.longest = float(np.mean(times)), max(times)
        for row in trainings:  # a design that could not be trained is the worst
            by_number.setdefault(row["number"], {})[row["seed"]] = row["test"] or 0.0
        self.numbers = [number for number, own in by_number.items() if len(own) == len(seeds)]
        self.truth = np.array([[by_number[number][seed] for seed in seeds] for number in self.numbers])

    def of(self, scores: Mapping[str, Any], column: int, sign: int = 1) -> np.ndarray:
        """Return a column of ``scores`` times ``sign`` in the order of the truth; what is no number is last."""
        values = [scores[str(number)][column] for number in self.numbers]
        return finite(sign * np.array(values, dtype=float))

    def claim(self, text: str, value: float, bar: str, holds: bool) -> None:
        """Keep a claim and print it."""
        print(f"{'holds' if holds else 'MISSED':6}  {self.name}: {text}: {value:.4g}, bar {bar}", flush=True)
        seeds = list(DESIGNS[self.name][1])
        self.record.show(f"{self.name}: {text}", value, bar, holds, seeds=seeds, command=COMMAND)

    def reported(self, text: str, found: Interval) -> None:
        """Keep an interval that has no bar."""
        self.claim(f"{text} (90 % {found.low:.3f} to {found.high:.3f})", found.value, "reported", True)

    def everything(
        self,
        supernets: Mapping[str, Mapping[str, Any]],
        counted: Mapping[str, Any],
        begun: Mapping[str, Any],
    ) -> None:
        """Show the supernet against the ceiling, what is free and what costs as much, then its variants."""
        truth, two = self.truth, self.truth.shape[1] == 2
        single = supernets["single"]
        self.scatter(single, counted)
        own = tau(self.of(single["scores"], LOSS, -1), truth)
        self.reported(f"{len(truth)} designs: tau of the supernet", interval(own))
        if two:
            most = ceiling(truth)
            self.reported("tau of one seed with the other, the ceiling", interval(most))
            share = interval(own / most)
            ends = f"90 % {share.low:.2f} to {share.high:.2f}"
            self.claim(
                "tau of the supernet over the ceiling", share.value, f">= 0.8; {ends}", share.value >= 0.8
            )
            later = truth[LOOKED_AT:]
            alone = tau(self.of(single["scores"], LOSS, -1)[LOOKED_AT:], later)
            text = f"the {len(later)} designs that no choice was made on"
            self.reported(f"{text}: tau of the supernet", interval(alone))
            self.reported(f"{text}: tau of one seed with the other", interval(ceiling(later)))
        for column, what in enumerate(FREE):
            other = tau(self.of(counted, column), truth)
            self.reported(f"tau of {what}", interval(other))
            more = interval(own - other)
            text = f"tau of the supernet less that of {what}, lower end of 90 %"
            ends = f"{more.value:.2f}, to {more.high:.2f}"
            self.claim(text, more.low, f"> 0; {ends}", more.low > 0)
        short = tau(self.of(begun["scores"], 0, -1), truth)
        about = f"{STEPS} steps of a design's own training, {begun['each'] / self.seconds:.1%} of it"
        self.reported(f"tau of the loss after {about}", interval(short))
        self.reported(f"tau of the supernet less that after {STEPS} steps", interval(own - short))
        best, between = top(self.of(single["scores"], LOSS, -1), truth)
        self.reported("tau of the supernet in the best third", best)
        if between is not None:
            self.reported("tau of the seeds in the best third", between)
        self.claim("CPU seconds of the longest training", self.longest, "<= 45", self.longest <= 45)
        cost = single["seconds"] / self.seconds
        self.claim("designs that the supernet's training costs", cost, f"<= {TRAININGS}", cost <= TRAININGS)
        share_of_one = single["each"] / self.seconds
        self.claim("a score over the training of a design", share_of_one, "<= 0.02", share_of_one <= 0.02)
        for variant, one in supernets.items():
            if variant != "single":
                self.varied(variant, self.of(one["scores"], LOSS, -1), own)
        self.varied("accuracy in place of the loss", self.of(single["scores"], ACCURACY), own)

    def scatter(self, single: Mapping[str, Any], counted: Mapping[str, Any]) -> None:
        """Draw the truth over the score and over what is free, into a file beside this one."""
        figure = Figure(figsize=(12, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        signals = [("supernet: negative loss", self.of(single["scores"], LOSS, -1))]
        signals += [(what, self.of(counted, column)) for column, what in enumerate(FREE)]
        for axes, (what, values) in zip(figure.subplots(1, len(signals), sharey=True), signals, strict=True):
            axes.scatter(values, self.truth.mean(1), s=12)
            axes.set_xlabel(f"{what}, tau {tau(values, self.truth)[0]:.2f}")
        figure.axes[0].set_ylabel("test accuracy, trained alone")
        figure.suptitle(f"{self.name}: {len(self.truth)} designs")
        figure.savefig(HERE / f"{self.name}.png", dpi=80)

    def varied(self, variant: str, score: np.ndarray, own: np.ndarray) -> None:
        """Show tau of a variant's ``score``, and less tau of "single", its ``own`` (R,)."""
        other = tau(score, self.truth)
        self.reported(f"tau of the variant {variant}", interval(other))
        self.reported(f"tau of the variant {variant} less that of single", interval(other - own))


def space_shown(name: str, record: Record, data: Path, only: list[str]) -> None:
    """Fill the truth of ``name``, train and score its supernets, and show."""
    number, seeds = DESIGNS[name]
    truth = HERE / f"truth-{name}.jsonl"
    fill(truth, name, data, number=number, seeds=seeds, epochs=EPOCHS)
    folder = cache.place() / "supernet_rank"  # of what an interrupted run has trained
    folder.mkdir(parents=True, exist_ok=True)
    for variant in only if name == "mobile" else ("single", WITHOUT_NOISE):
        if record.run(f"{name}: {variant}") is None:
            found = scored(name, variant, data, folder, epochs=PASSES, number=number)
            record.add(f"{name}: {variant}", found)
    if record.run(f"{name}: free") is None:
        record.add(f"{name}: free", {"scores": free(name, data, number)})
    if record.run(f"{name}: begun") is None:
        record.add(f"{name}: begun", begun(name, data, number))
    supernets = {v: found for v in VARIANTS if (found := record.run(f"{name}: {v}")) is not None}
    counted, short = record.run(f"{name}: free")["scores"], record.run(f"{name}: begun")
    Shown(record, name, rows(truth)).everything(supernets, counted, short)
    if name == "mobile":
        warm(name, record, data, folder)


def supernet_file(folder: Path, name: str, variant: str, epochs: int) -> Path:
    """Return where a supernet lies while this code is what it was trained by."""
    return folder / f"{name}-{variant}-{epochs}-{code_hash(*MEASURED)}.safetensors"


def warm(name: str, record: Record, data: Path, folder: Path) -> None:
    """Train designs from inherited weights; show after how many epochs they have what scratch has at its end.

    That is compared with the first epoch at which scratch has it. One that never has it counts as an epoch more than
    there are, and how many these are is shown.
    """
    file = supernet_file(folder, name, "single", PASSES)
    scratch = {row["number"]: row for row in rows(HERE / f"truth-{name}.jsonl") if row["seed"] == 0}
    chosen = [
        known for known in designs(name, open_saved(data), DESIGNS[name][0]) if scratch[known.number]["curve"]
    ]
    chosen = chosen[:WARMED]
    for known in chosen:
        if record.run(f"{name}: warm {known.number}") is None:
            record.add(
                f"{name}: warm {known.number}", train(known, data, seed=0, epochs=EPOCHS, inherit=file)
            )
    pairs = np.array(
        [
            reached(scratch[known.number]["curve"], record.run(f"{name}: warm {known.number}")["curve"])
            for known in chosen
        ]
    )
    never = int((pairs[:, 1] > EPOCHS).sum())
    drawn = np.random.default_rng(0).integers(len(pairs), size=(1_000, len(pairs)))
    shares = np.append(pairs[:, 1].sum() / pairs[:, 0].sum(), pairs[drawn, 1].sum(1) / pairs[drawn, 0].sum(1))
    share = interval(shares)
    text = f"{name}: epochs with inherited weights to those from scratch, {len(pairs)} designs, {never} never"
    bar = f"<= 0.5; 90 % {share.low:.2f} to {share.high:.2f}"
    record.show(text, share.value, bar, share.value <= 0.5, seeds=[0], command=COMMAND)
    seconds = np.mean([row["curve"][-1][1] for row in scratch.values() if row["curve"]])
    spent = record.run(f"{name}: single")["seconds"]
    whole = share.value + spent / (len(pairs) * float(seconds))
    text = f"{name}: the same with the supernet's training shared among them"
    record.show(text, whole, "reported", True, seeds=[0], command=COMMAND)
    print(f"{name}: {share} of the epochs, {whole:.2f} with the supernet's own training", flush=True)


def reached(scratch: list[list[float]], warm: list[list[float]]) -> tuple[int, int]:
    """Return the epochs at which each of two curves has what ``scratch`` has at its end; one too many for never."""
    goal = scratch[-1][0]
    first, second = (
        next((at + 1 for at, (accuracy, _) in enumerate(curve) if accuracy >= goal), EPOCHS + 1)
        for curve in (scratch, warm)
    )
    return first, second


def quick(place: Path) -> None:
    """Go all the way with six designs of ``chain`` and an epoch of each; keep nothing."""
    data = images(place / "data", SIDE)
    fill(place / "truth.jsonl", "chain", data, number=6, seeds=(0,), epochs=1)
    single = scored("chain", "single", data, place, epochs=2, number=6)
    counted = free("chain", data, 6)
    numbers = [str(row["number"]) for row in rows(place / "truth.jsonl")]
    truth = np.array([[row["test"] or 0.0] for row in rows(place / "truth.jsonl")])
    for what, scores, column, sign in (
        ("supernet", single["scores"], LOSS, -1),
        ("MACs", counted, 1, 1),
        (PROXY, counted, 2, 1),
    ):
        values = finite(sign * np.array([scores[number][column] for number in numbers], dtype=float))
        print(f"tau of {what} over six designs, one epoch: {interval(tau(values, truth))}")
    print(f"a score takes {single['each']:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--spaces", default=",".join(DESIGNS))
    parser.add_argument(
        "--only", default=",".join(VARIANTS), help="variants on mobile; elsewhere the first of them"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        if options.quick:
            quick(Path(place))
            return
        data = images(Path(place) / "data", SIDE, tested=TESTED)
        for name in options.spaces.split(","):
            space_shown(name, Record(__file__, *MEASURED), data, options.only.split(","))


if __name__ == "__main__":
    main()
