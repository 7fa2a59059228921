"""What a supernet is worth to a surrogate that hears it beside results, and from which budget on it pays.

    python -m experiments.supernet_source.run [--quick] [--spaces mobile,chain,cell]

The truth and the scores are those of ``experiments/supernet_rank``; nothing is trained. ``--quick`` is three splits of
``chain`` and keeps nothing.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from estimators.dataset import open_saved
from experiments.curves.record import images
from experiments.record import ROOT, Record
from experiments.supernet_rank.truth import DESIGNS, SIDE, designs, rows, space_of
from experiments.supernet_source import fitted
from nas.draws import features
from nas.encoder import Graphs, View, Vocabulary
from nas.hpo.acquisition import log_expected_improvement
from nas.hpo.gp import fit, squash
from nas.hpo.kernel import Inputs
from nas.rows import Rows
from nas.source import Source
from nas.strategies.auto import Auto
from nas.trial import Objective, Problem
from nas.trust import taus

COMMAND = "python -m experiments.supernet_source.run"
MEASURED = ("nas/hpo", "nas/source.py", "nas/encoder.py", "nas/rows.py", "experiments/supernet_rank/truth.py")
RANKED = ROOT / "experiments" / "supernet_rank"
TOLD = (8, 16, 24, 48)  # results that a surrogate is told of
SPLITS = 40
FOLDS = 6  # what the source says of a design follows from the scores of the other folds
SCORED = 64  # designs of a search's sample
SEEDS = 20
TRAININGS = 40  # of a search at most
FITTED, SEARCHES = ("mobile", "chain"), 24  # spaces of whole searches, and how many there are
# what differs between them: label, strategy, whether a source is heard
ARMS: Sequence[tuple[str, str | type[Auto], bool]] = (
    ("auto", "auto", False),
    ("a source heard from start 24 on", "auto", True),
    ("gp every second time without a source", fitted.Turns, False),
)
OF_SEARCHES = (
    "nas/strategies",
    "nas/schedulers",
    "nas/models.py",
    "nas/maximise.py",
    "experiments/supernet_source/fitted.py",
)
COVERED = 0.9
NORMAL = 1.645  # standard errors of a mean within which 90 % lie


@dataclass(frozen=True)
class Sample:
    """Designs as a surrogate sees them: ``truth`` (n, seeds) accuracies.

    ``said`` (n,) is what the source says of each, less is better, by the scores of other designs; ``view`` returns how
    a surrogate sees all of them that was told of those given. ``cost`` is that of the supernet with its scores of a
    sample, in trainings.
    """

    truth: np.ndarray
    said: np.ndarray
    view: Callable[[np.ndarray], Inputs]
    cost: float


def ranked(name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the trainings of ``name`` that ``experiments/supernet_rank`` has kept, and what its supernet came to."""
    run = json.loads((RANKED / "results.json").read_text())["runs"][f"{name}: single"]
    return rows(RANKED / f"truth-{name}.jsonl"), run


def sample_of(name: str, data: Path) -> Sample:
    """Return the designs of ``name`` that ``experiments/supernet_rank`` has trained and scored."""
    known = list(designs(name, open_saved(data), DESIGNS[name][0]))
    trained, stored = ranked(name)
    by_seed = [
        {row["number"]: row["test"] or 0.0 for row in trained if row["seed"] == seed}
        for seed in DESIGNS[name][1]
    ]
    truth = np.array([[own[one.number] for own in by_seed] for one in known])
    score = np.array([-stored["scores"][str(one.number)][1] for one in known])
    seconds = float(np.mean([row["curve"][-1][1] for row in trained if row["curve"]]))
    cost = (stored["seconds"] + SCORED * stored["each"]) / seconds

    space = space_of(name, data)
    problem = Problem(space.space, (Objective("accuracy", maximize=True),), features=partial(features, space))
    table = Rows(space.space)
    drawn = np.array([table.row(one.design.config) for one in known])
    said = np.zeros(len(known))
    order = np.random.default_rng(0).permutation(len(known))
    for fold in np.array_split(order, FOLDS):
        others = np.setdiff1d(order, fold)
        configs = [known[at].design.config for at in others]
        said[fold] = Source(problem, configs, score[others].tolist(), ["accuracy"]).at(drawn[fold], True)
    assert problem.features is not None
    graphs = Graphs(problem.features, table)

    def view(told: np.ndarray) -> Inputs:
        vocabulary = Vocabulary.of([graphs(drawn[at]) for at in told])
        return View(table, (0.0, 0.0), vocabulary, graphs).inputs(drawn)

    return Sample(truth, said, view, cost)


def predicted(sample: Sample, told: np.ndarray, heard: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean and deviation (n,) of the losses of all designs, by the results of ``told`` (m,) with the first seed.

    Beside them the best mean among those told.
    """
    inputs = sample.view(told)
    if heard:
        inputs = replace(inputs, source=sample.said)
    mean, deviation = fit(inputs[told], squash(-sample.truth[told, 0])).predict(inputs)
    return mean, deviation, float(mean[told].min())


def surrogates(sample: Sample, told: int, splits: int) -> dict[str, list[float]]:
    """Return tau with the last seed of the designs not told of, split by split: of surrogates and of the source."""
    found: dict[str, list[float]] = {"without": [], "with": [], "source": []}
    n = len(sample.truth)
    for split in range(splits):
        order = np.random.default_rng((told, split)).permutation(n)
        first, rest = order[:told], order[told:]
        for name, values in (
            ("without", predicted(sample, first, False)[0]),
            ("with", predicted(sample, first, True)[0]),
            ("source", sample.said),
        ):
            whole = np.ones((1, len(rest)))
            found[name].append(float(taus(-values[rest], sample.truth[rest, -1], whole)[0]))
    return found


def search(sample: Sample, seed: int, heard: bool, trainings: int) -> list[float]:
    """Return, training by training, the accuracy by the last seed of the design that is best by the first.

    The first designs are eight at random, as a search has; where the source is heard four of them are its best.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sample.truth)).tolist()
    if heard:
        order = [*np.argsort(sample.said)[:4].tolist(), *order]
    told = list(dict.fromkeys(order))[:8]
    while len(told) < trainings:
        mean, deviation, best = predicted(sample, np.array(told), heard)
        value = log_expected_improvement(mean, deviation, best, xi=0.0)
        value[told] = -np.inf
        told.append(int(np.argmax(value)))
    best_of = [max(told[: n + 1], key=lambda at: sample.truth[at, 0]) for n in range(trainings)]
    return [float(sample.truth[at, -1]) for at in best_of]


def spread(values: np.ndarray) -> str:
    """Return in which range nine tenths of ``values`` lie."""
    low, high = np.quantile(values, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return f"{low:.2f} to {high:.2f}"


def show_surrogates(name: str, record: Record, sample: Sample, splits: int) -> None:
    """Show how much better a surrogate ranks designs where it hears the supernet."""
    for told in (one for one in TOLD if one <= len(sample.truth) - 8):
        if (known := record.run(key := f"{name}: {told} told")) is None:
            record.add(key, surrogates(sample, told, splits))
            known = record.run(key)
        without, beside, source = (np.array(known[one]) for one in ("without", "with", "source"))
        gain = beside - without
        record.show(
            f"{name}: tau of a surrogate with {told} results, what hearing the supernet adds",
            float(gain.mean()),
            f"at least -0.02; {beside.mean():.2f} for {without.mean():.2f}, the source alone {source.mean():.2f}; over "
            f"splits {spread(gain)}",
            float(gain.mean()) >= -0.02,
            seeds=[0],
            command=COMMAND,
        )


def show_budget(name: str, record: Record, sample: Sample, seeds: int) -> None:
    """Show from how many trainings on a search that pays for a supernet and hears it is ahead."""
    most = min(len(sample.truth) - 8, TRAININGS)
    curves = {}
    for label, heard in (("without", False), ("with", True)):
        if (known := record.run(key := f"{name}: searches {label}")) is None:
            found = [search(sample, seed, heard, most) for seed in range(seeds)]
            record.add(key, {"curves": found})
            known = record.run(key)
        curves[label] = np.array(known["curves"])[:seeds]
    late = int(np.ceil(sample.cost))
    gains = {
        n: curves["with"][:, n - late - 1] - curves["without"][:, n - 1] for n in range(late + 1, most + 1)
    }
    errors = {n: float(gain.std(ddof=1) / len(gain) ** 0.5) for n, gain in gains.items()}
    ahead = [n for n, gain in gains.items() if gain.mean() > NORMAL * errors[n]]
    for n in (late + 4, late + 8, late + 16, late + 32):
        if n in gains:
            beside, alone = curves["with"][:, n - late - 1].mean(), curves["without"][:, n - 1].mean()
            record.show(
                f"{name}: accuracy after {n} trainings, {late} of which the supernet and its scores cost, less without",
                float(gains[n].mean()),
                f"none, reported; {beside:.4f} for {alone:.4f}, 90 % within {NORMAL * errors[n]:.4f}",
                True,
                seeds=list(range(seeds)),
                command=COMMAND,
            )
    record.show(
        f"{name}: counts of trainings, of {late + 1} to {most}, at which a search that paid for a supernet is ahead",
        float(len(ahead)),
        f"none, reported; beyond the 90 % interval, first at {ahead[0] if ahead else 'none'}; the supernet and "
        f"{SCORED} scores cost {sample.cost:.1f}",
        True,
        seeds=list(range(seeds)),
        command=COMMAND,
    )


def show_fitted(name: str, record: Record, data: Path, seeds: int) -> None:
    """Show what a source that is heard late adds to ``auto`` under early stopping, on a truth that is fitted."""
    trained, stored = ranked(name)
    reached: dict[int, list[float]] = {}
    for row in trained:
        reached.setdefault(row["number"], []).append(row["test"] or 0.0)
    accuracy = {number: float(np.mean(values)) for number, values in reached.items()}
    score = {number: -stored["scores"][str(number)][1] for number in reached}
    task = fitted.task_of(name, data, accuracy, score)
    found: dict[str, list[list[float]]] = {label: [] for label, _, _ in ARMS}
    for seed in range(seeds):
        for label, strategy, heard in ARMS:
            if (known := record.run(key := f"{name}: fitted, {label}, seed {seed}")) is None:
                record.add(key, {"worth": fitted.search(task, strategy, seed, heard=heard)})
                known = record.run(key)
                print(key, [round(one, 3) for one in known["worth"]], flush=True)
            found[label].append(known["worth"])
    plain, *others = (np.array(found[label]) for label, _, _ in ARMS)
    for (label, _, _), own in zip(ARMS[1:], others, strict=True):
        for at, share in enumerate(fitted.SHARES):
            gain = own[:, at] - plain[:, at]
            error = NORMAL * float(gain.std(ddof=1) / len(gain) ** 0.5)
            record.show(
                f"{name}, fitted: worth found after {share:.0%} of the budget, {label}, less that of auto as it is",
                float(gain.mean()),
                f"none, reported; {own[:, at].mean():.2f} for {plain[:, at].mean():.2f}, 90 % within {error:.2f}",
                True,
                seeds=list(range(seeds)),
                command=COMMAND,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", default=",".join(DESIGNS))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nas-") as place, threadpool_limits(1):
        data = images(Path(place) / "data", SIDE)
        if options.quick:
            sample = sample_of("chain", data)
            found: Mapping[str, Any] = surrogates(sample, 8, 3)
            print({name: round(float(np.mean(values)), 3) for name, values in found.items()})
            print(search(sample, 0, True, 12))
            return
        for name in options.spaces.split(","):
            record, sample = Record(__file__, *MEASURED), sample_of(name, data)
            show_surrogates(name, record, sample, SPLITS)
            show_budget(name, record, sample, SEEDS)
            if name in FITTED:
                show_fitted(name, Record(__file__, *MEASURED, *OF_SEARCHES), data, SEARCHES)


if __name__ == "__main__":
    main()
