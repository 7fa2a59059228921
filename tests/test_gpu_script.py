"""The script for a GPU runs on a CPU: what it calls exists, and its checks hold here."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.gpu.checks import CHECKS
from experiments.gpu.timings import TIMINGS

ROOT = Path(__file__).parents[1]
QUICKEST = "same_passes,latency_by_events,augmentations,optimizers,zero_cost,latencies"


def script(*arguments):
    command = [sys.executable, "-W", "ignore", "-m", "experiments.gpu.run", "--quick", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_quickest_parts_run_on_a_cpu():
    done = script("--only", QUICKEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") + 1 == QUICKEST.count(",") + 1 and "failed: none" in done.stdout


def test_an_unknown_part_is_named():
    done = script("--only", "warp")
    assert done.returncode == 2 and "no 'warp'; choose from same_passes" in done.stderr


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu():
    done = script()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok   ") == len(CHECKS) + len(TIMINGS) and "left out: none" in done.stdout
