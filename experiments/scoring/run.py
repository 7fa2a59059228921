"""How low rungs are to be scored under a long schedule: as the recipe says, raw, by an average, by a branched decay.

    python -m experiments.scoring.run [--quick]

Random joint designs (architecture and recipe) of ``chain`` train on 4,000 images of Fashion-MNIST under a schedule of
15 epochs. What each way of scoring says after 1, 3 and 5 epochs is compared with the accuracy after 15.
"""

import argparse
import tempfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from estimators.dataset import open_saved
from experiments.proxies.trained import saved
from experiments.record import Record
from experiments.scoring.ranks import correlations
from experiments.scoring.ways import Scored
from nas.draws import Draw, draw
from nas.joint import joint_space
from search_spaces.architecture import Design

N, IMAGES, HORIZON, SEED = 24, 4_000, 15, 0
AT = (1, 3, 5)
WAYS = ("recipe", "raw", "ema", "branch")
CODE = [f"estimators/{name}.py" for name in ("loop", "batches", "average", "optimizer", "score", "train")]
CODE.append("experiments/scoring/ways.py")
COMMAND = "python -m experiments.scoring.run"


def designs(data: Path) -> Iterator[tuple[int, Design]]:
    """Yield draws with their numbers; those of more multiply-accumulates than the default's are left out."""
    space = joint_space(open_saved(data), "chain")
    limit = space.measure(space.space.default())["macs"]
    for number in count():
        drawn = draw(space, number, SEED)
        if isinstance(drawn, Draw) and drawn.metrics["macs"] <= limit:
            yield number, drawn.design


def compared(runs: list[dict], epoch: int) -> dict[str, dict]:
    """Return the correlations by way after ``epoch``, the engine's first; last what it says an epoch later."""
    final = np.array([run["accuracies"][str(HORIZON)]["recipe"] for run in runs])
    found = {way: np.array([run["accuracies"][str(epoch)][way] for run in runs]) for way in WAYS}
    found["recipe, an epoch later"] = np.array([run["accuracies"][str(epoch + 1)]["recipe"] for run in runs])
    return correlations(found, final)


def report(record: Record, runs: list[dict], failed: int) -> None:
    """Print and record the table, costs and claims."""
    spent = {name: sum(run["seconds"].get(name, 0.0) for run in runs) for name in runs[0]["seconds"]}
    epoch = spent["training"] / HORIZON
    branch, average = spent["branches"] / len(AT) / epoch, spent["average"] / HORIZON / epoch
    print(
        f"{len(runs)} designs, {failed} diverged; a branch costs {branch:.2f} epochs, an average {average:.3f}"
    )
    table = {str(at): compared(runs, at) for at in AT}
    record.add("table", {"by_epoch": table, "branch": branch, "average": average, "diverged": failed})
    for at, ways in table.items():
        for way, one in ways.items():
            (low, high), (less, more) = one["interval"], one["less_interval"]
            print(
                f"epoch {at:2} {way:24} tau {one['tau']:.2f} ({low:.2f} to {high:.2f}), rho {one['rho']:.2f}, "
                f"less recipe {one['less']:+.2f} ({less:+.2f} to {more:+.2f})"
            )
            if way in ("ema", "branch"):
                claim = (
                    f"tau of {way} less that of what the recipe scores, after epoch {at}, {len(runs)} designs"
                )
                record.show(claim, one["less"], "interval above 0", less > 0, seeds=[SEED], command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one design, not recorded")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    record, runs, failed = Record(__file__, *CODE), [], 0
    with tempfile.TemporaryDirectory() as folder:
        data = saved(Path(folder) / "data")
        share = IMAGES / len(open_saved(data).train)
        for number, design in islice(designs(data), 1 if quick else N):
            name = f"draw {number}"
            run = (None if quick else record.run(name)) or Scored(
                design, data, share=share, seed=SEED, horizon=HORIZON
            ).run(AT)
            if not quick:
                record.add(name, {**run, "macs": design.macs, "recipe": dict(design.recipe)})
            print(name, run.get("error") or (run["accuracies"], run["seconds"]), flush=True)
            if "error" in run:
                failed += 1
            else:
                runs.append(run)
    if not quick:
        report(record, runs, failed)


if __name__ == "__main__":
    main()
