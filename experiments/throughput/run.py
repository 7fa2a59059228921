"""Images per second of our loop, of the textbook's loop, and of the bare step, in turn in one run.

    python -m experiments.throughput.run [--quick] [--cifar FOLDER]

The textbook's loop comes in four forms: torchvision's transforms v1 on PIL images and v2 on tensors, a ``DataLoader``
without and with two workers. Ratios are those of a round, where every loop trains once; a claim is their median.
"""

import argparse
import statistics
from pathlib import Path

import torch

from experiments.record import Record, hardware
from experiments.throughput.loops import AUGMENTATIONS, Case
from experiments.throughput.networks import DEPTHS
from experiments.throughput.starts import continued, middle, second_starts
from experiments.throughput.turns import Processes, ratio, speeds

LOOP = ("loop", "batches", "average", "capture", "device", "divergence", "optimizer")
DATA = ("augment", "trivial", "mix", "preprocess", "resident", "train", "checkpoint")
CODE = [f"estimators/{name}.py" for name in LOOP + DATA]
TEXTBOOK = ("textbook v1 0", "textbook v1 2", "textbook v2 0", "textbook v2 2")  # transforms, workers
IMAGES = {"small": 4800, "middle": 1280, "large": 512}  # that a loop trains on in a round
ROUNDS = {"small": 3, "middle": 2, "large": 2}
SECOND = 2.0  # seconds that a folder's second start may take


def precisions() -> tuple[str, ...]:
    """Return float32, and bfloat16 where the processor has it."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ("float32", "bfloat16") if native else ("float32",)


def kinds_of(case: Case) -> list[str]:
    """Return the loops timed: the textbook's on every augmentation of the small network, on one of the others."""
    own = [f"{name} {precision}" for precision in precisions() for name in ("ours", "bare")]
    return own + list(TEXTBOOK) * (case.network == "small" or case.augment == "flip-crop")


def best_textbook(found: dict[str, list[float]]) -> str:
    return max(TEXTBOOK, key=lambda kind: statistics.median(found[kind]))


def line(name: str, found: dict[str, list[float]]) -> str:
    """Return a row of a table: median images per second of each loop, then the ratios of ours."""
    cells = [f"{kind} {statistics.median(values):,.0f}" for kind, values in found.items()]
    for precision in precisions():
        low, mid, high = ratio(found, f"ours {precision}", f"bare {precision}")
        cells.append(f"{precision} of bare {mid:.3f} ({low:.3f} to {high:.3f})")
        for other in TEXTBOOK:
            if other in found:
                low, mid, high = ratio(found, f"ours {precision}", other)
                cells.append(f"{precision} / {other} {mid:.2f} ({low:.2f} to {high:.2f})")
    return f"{name}\n    " + "\n    ".join(cells)


def of_textbook(name: str, found: dict[str, list[float]]) -> list[tuple]:
    """Return (claim, value, bar, whether it holds) for the small network against the quickest of the four."""
    rival, rows = best_textbook(found), []
    for precision, bar in zip(precisions(), (2.5, 3.5), strict=False):
        _, mid, _ = ratio(found, f"ours {precision}", rival)
        rows.append(
            (f"ours in {precision} over the quickest textbook loop, {name}", mid, f">= {bar}", mid >= bar)
        )
    return rows


def of_bare(data: str, results: dict[Case, dict[str, list[float]]]) -> list[tuple]:
    """Return the claims on the least median ratio to the bare step, over networks."""
    rows = []
    for augment, bar in (("none", 0.95), ("flip-crop", 0.87)):
        for precision in precisions():
            least = min(
                ratio(found, f"ours {precision}", f"bare {precision}")[1]
                for case, found in results.items()
                if case.augment == augment and case.data == data
            )
            claim = f"ours over the bare step, {precision}, {augment}, {shown(data)}, least of networks"
            rows.append((claim, least, f">= {bar}", least >= bar))
    return rows


def shown(data: str) -> str:
    return "CIFAR-10 folder" if Path(data).is_dir() else data


def measured(record: Record, sets: list[str], quick: bool) -> dict[Case, dict[str, list[float]]]:
    """Return the speeds of every case, each kept as it comes."""
    names = ("small",) if quick else tuple(DEPTHS)
    results = {}
    with Processes() as processes:
        for case in [Case(data, net, augment) for data in sets for net in names for augment in AUGMENTATIONS]:
            name = f"{shown(case.data)}, {case.network}, {case.augment}"
            found = None if quick else record.run(name)
            if found is None:
                n, rounds = (640, 1) if quick else (IMAGES[case.network], ROUNDS[case.network])
                found = speeds(processes, case, kinds_of(case), n=n, rounds=rounds)
                if not quick:
                    record.add(name, found)
            results[case] = {kind: found[kind] for kind in kinds_of(case)}
            print(line(name, results[case]), flush=True)
    return results


def begun(cifar: str | None, rounds: int) -> list[tuple]:
    """Return the claims on what it costs to begin."""
    seconds = continued(rounds)
    print(f"seconds to continue, warm {middle(seconds['warm'])}, cold {middle(seconds['cold'])}")
    saved = [cold / warm for cold, warm in zip(seconds["cold"], seconds["warm"], strict=True)]
    rows = [
        (
            "a cold continue over a warm one, seconds",
            statistics.median(saved),
            "> 1",
            statistics.median(saved) > 1,
        )
    ]
    if cifar:
        starts = second_starts(Path(cifar), rounds)
        taken = [one["load"] + one["open"] for one in starts]
        print(
            f"seconds of a second start, {starts[0]['images']:,} pictures: {middle(taken)}; with imports "
            f"{middle([one['process'] for one in starts])}"
        )
        worst = max(taken)
        claim = f"second start of a folder of {starts[0]['images']:,} JPEG, seconds, longest of {rounds}"
        rows.append((claim, worst, f"< {SECOND}", worst < SECOND))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the small network, one round; nothing is recorded"
    )
    parser.add_argument("--cifar", help="folder of CIFAR-10 as train/ and test/ class folders")
    options = parser.parse_args()
    record, quick = Record(__file__, *CODE), options.quick
    print(hardware())
    sets = ["fashion-mnist", *([options.cifar] if options.cifar else [])]
    results = measured(record, sets, quick)
    rows = []
    for case, found in results.items():
        if case.network == "small" and case.augment == "flip-crop":
            rows += of_textbook(f"small network, crop and flip, {shown(case.data)}", found)
    for data in sets:
        rows += of_bare(data, results)
    rows += begun(options.cifar, 1 if quick else 5)
    for claim, value, bar, holds in rows:
        print(f"{claim}: {value:.3f} ({bar}): {'holds' if holds else 'DOES NOT HOLD'}")
        if not quick:
            command = "python -m experiments.throughput.run" + " --cifar FOLDER" * bool(options.cifar)
            record.show(claim, value, bar, holds, seeds=[0], command=command)


if __name__ == "__main__":
    main()
