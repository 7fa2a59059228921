"""Processor time of Optuna's asks, as JSON: ``python -m experiments.tables.rivals.times gpsampler 100 20``.

As in ``experiments.tables.times``: random trials of ``mixed`` first, one ask that is not counted, then the mean.
"""

import json
import sys
import time

import numpy as np
import optuna
import torch

from experiments.tables.functions import mixed, mixed_space
from experiments.tables.rivals.samplers import SAMPLERS, suggest


def filled(sampler: str, count: int) -> optuna.Study:
    """Return a study with ``count`` random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, mixed(suggest(trial, mixed_space())))
    study.sampler = SAMPLERS[sampler](seed=0)
    return study


def milliseconds(sampler: str, count: int, asks: int) -> list[float]:
    """Return milliseconds of processor time of each of ``asks`` asks after ``count`` trials, the first left out."""
    study, spent = filled(sampler, count), []
    for _ in range(asks + 1):
        began = time.process_time()
        trial = study.ask()
        config = suggest(trial, mixed_space())
        spent.append(1e3 * (time.process_time() - began))
        study.tell(trial, mixed(config))
    return spent[1:]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sampler, count, asks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(float(np.mean(milliseconds(sampler, count, asks)))))
