"""Every space on small and large images: samples train, mutants stay valid, exports run alone, counts are true.

    python -m experiments.spaces.run [--quick]

Needs the extra ``experiments`` (fvcore, whose counts ours are compared with). Results are kept one by one; what was
measured on this code is not measured again.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis
from torch.nn.functional import cross_entropy

from experiments.record import Record
from nas.exporter import Trained, exporters
from nas.exporters.pytorch import verify_all
from nas.operators import mutate, uniform_crossover
from search_spaces.architecture import Design, SearchSpace, spaces
from search_spaces.space import Space

NAMES = ("graph", "space", "parameter", "configuration", "op", "block", "network", "source", "backbone")
MEASURED = (
    *(f"search_spaces/{name}.py" for name in NAMES),
    "search_spaces/ops",
    "search_spaces/spaces",
    "nas/operators",
    "nas/exporters",
)
SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 224, 224))
CLASSES = 10
COUNTED = ("conv", "linear", "addmm", "matmul", "scaled_dot_product_attention")


def joint(name: str, shape: tuple[int, int, int]) -> SearchSpace:
    return SearchSpace(spaces.get(name)(shape, CLASSES), Space())


def samples(name: str, count: int, seed: int) -> Iterator[Design]:
    rng = np.random.default_rng(seed)
    families = [joint(name, shape) for shape in SHAPES]
    for number in range(count):
        one = families[number % len(families)]
        yield one.decode(one.space.sample(rng))


def train(name: str, count: int) -> dict:
    """Build each sample and train it a step; count what went wrong."""
    broken, seconds = [], time.perf_counter()
    for design in samples(name, count, seed=1):
        try:
            network = design.network(0)
            optimizer = torch.optim.SGD(network.parameters(), 1e-3)
            loss = cross_entropy(network(torch.randn(2, *design.shape)), torch.tensor([0, 1]))
            loss.backward()
            optimizer.step()
            if not torch.isfinite(loss) or sum(p.numel() for p in network.parameters()) != design.parameters:
                broken.append(dict(design.config))
        except (ValueError, RuntimeError) as error:
            broken.append({**design.config, "error": str(error)})
    return {"samples": count, "broken": broken, "seconds": time.perf_counter() - seconds}


def attention(inputs: list, outputs: list) -> int:
    """Return the products of queries with keys and of weights with values, which fvcore does not know."""
    batch, heads, tokens, features = inputs[0].type().sizes()
    return 2 * batch * heads * tokens * tokens * features


def count(name: str, number: int) -> dict:
    """Compare multiply-accumulates with fvcore's, of the convolutions and products."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    wrong = []
    for design in samples(name, number, seed=2):
        network = design.network(0).eval()
        analysis = FlopCountAnalysis(network, torch.zeros(1, *design.shape))
        analysis.set_op_handle("aten::scaled_dot_product_attention", attention)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        theirs = sum(value for op, value in analysis.by_operator().items() if op in COUNTED)
        if int(theirs) != design.macs:
            wrong.append({**design.config, "fvcore": int(theirs), "ours": design.macs})
    return {"samples": number, "wrong": wrong}


def vary(name: str, number: int) -> dict:
    """Mutate and cross, generation after generation; count what leaves the space or decodes to nothing."""
    rng, invalid = np.random.default_rng(3), []
    one = joint(name, (3, 32, 32))
    parents = [one.space.sample(rng) for _ in range(20)]
    for _ in range(number):
        mother, father = (parents[int(place)] for place in rng.integers(len(parents), size=2))
        child = mutate(one.space, uniform_crossover(one.space, mother, father, rng), rng)
        try:
            one.space.check(child)
            if one.decode(child).graph is not None:
                one.key(child)
        except ValueError as error:
            invalid.append({**child, "error": str(error)})
            continue
        parents[int(rng.integers(len(parents)))] = child
    return {"children": number, "invalid": invalid}


def export(name: str, number: int) -> dict:
    """Export sampled designs with random statistics; verify all of them in one process without this project."""
    rng = np.random.default_rng(4)
    exporter = exporters.get("pytorch")()
    with tempfile.TemporaryDirectory() as place:
        folders = []
        for i, design in enumerate(samples(name, number, seed=5)):
            folders.append(exporter.export(_trained(design, rng), Path(place) / f"{name}-{i}"))
        reports = verify_all(folders)
    good = sum(report["top1_equal"] == 1 and report["worst"] <= 1 for report in reports)
    return {"exports": number, "verified": good}


def _trained(design: Design, rng: np.random.Generator) -> Trained:
    network = design.network(0)
    with torch.no_grad():
        network.train()(torch.randn(8, *design.shape))
    channels = design.shape[0]
    return Trained(
        design=design,
        weights={key: value.numpy() for key, value in network.state_dict().items()},
        classes=tuple(map(str, range(CLASSES))),
        normalize=((0.5,) * channels, (0.25,) * channels),
        images=rng.integers(0, 256, (4, *design.shape), dtype=np.uint8),
        labels=rng.integers(0, CLASSES, 4),
        metrics={},
        about={"data": "drawn"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--space", action="append", help="only this one; may stand several times")
    options = parser.parse_args()
    record, quick = Record(__file__, *MEASURED), options.quick
    command = "python -m experiments.spaces.run" + (" --quick" if quick else "")
    for name in options.space or spaces.names():
        plan: list[tuple[str, Callable[[str, int], dict], int, str, str]] = [
            (
                "samples that do not build, count or train a step",
                train,
                20 if quick else 500,
                "broken",
                "== 0",
            ),
            (
                "children of mutation and crossover that are invalid",
                vary,
                200 if quick else 10_000,
                "invalid",
                "== 0",
            ),
            ("samples whose MACs differ from fvcore's", count, 8 if quick else 40, "wrong", "== 0"),
            ("exports verified without this project", export, 2 if quick else 20, "verified", "all"),
        ]
        for claim, measure, number, key, bar in plan:
            found = record.run(f"{name}: {claim}, {number}")
            if found is None:
                record.add(f"{name}: {claim}, {number}", measure(name, number))
                found = record.run(f"{name}: {claim}, {number}")
            value = found[key] if isinstance(found[key], int) else len(found[key])
            wanted = number if bar == "all" else 0
            said = f">= {number}" if bar == "all" else bar
            print(f"{name}: {claim}: {value} of {number}", flush=True)
            record.show(
                f"{name}: {claim}, of {number}", value, said, value == wanted, seeds=[1], command=command
            )


if __name__ == "__main__":
    main()
