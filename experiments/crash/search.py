"""The search that is killed again and again.

    python -m experiments.crash.search STORE WORKERS

By one worker it is a function of its seed; it prints what it came to, a line for each trial.
"""

import sys
import time
from pathlib import Path
from typing import Any

from estimators.estimator import Fidelity
from nas.executor import Limits
from nas.study import Study
from nas.trial import Trial
from search_spaces.space import Choice, Float, Int, Space

SPACE = Space(x=Float(0, 1), k=Int(1, 3), c=Choice({"a": None, "b": Space(z=Float(0, 1))}))
LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
TRIALS = 60
EPOCH = 0.004  # seconds


def curve(config: Any, context: Any) -> None:
    """Report a loss for each epoch."""
    for epoch in range(context.start, context.epochs):
        time.sleep(EPOCH)
        context.report(epoch + 1, {"loss": (config["x"] - 0.3) ** 2 + config["k"] + 1 / (epoch + 1)})
        if context.stopping():
            return


def opened(path: Path, workers: int) -> Study:
    """Return the study in the file ``path``, as it was left."""
    return Study(
        SPACE,
        strategy="evolution",
        scheduler="halving" if workers == 1 else "asha",
        ladder=LADDER,
        seed=5,
        storage=path,
    )


def said(trial: Trial) -> str:
    """Return what ``trial`` came to, without what a clock measured."""
    steps = [(step.fidelity.epochs, step.metrics.get("loss"), step.error) for step in trial.steps]
    return f"{trial.number} {trial.config.id} {steps}"


def main() -> None:
    path, workers = Path(sys.argv[1]), int(sys.argv[2])
    with opened(path, workers) as study:
        left = TRIALS - study.history.starts
        study.optimize(curve, trials=left, workers=workers, limits=Limits(seconds=60.0))
        print("\n".join(map(said, study.trials)))


if __name__ == "__main__":
    main()
