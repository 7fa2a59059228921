"""Check and time everything that a GPU does differently, in under eight minutes: ``python -m experiments.gpu.run``.

    python -m experiments.gpu.run [--quick] [--seconds 460] [--only NAME,NAME]

Runs the tests marked ``gpu``, the checks (``checks.py``) and the timings (``timings.py``), each by itself: what fails
is reported and the rest goes on. What there is no time for any more is named as left out. ``--quick`` does all of it on
the CPU at a small size, so that the script itself is tested without a GPU, and records nothing. Exit 1 if anything
failed, 2 where there is no CUDA device.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.gpu.checks import CHECKS, Place
from experiments.gpu.timings import TIMINGS
from experiments.record import ROOT, Record

COMMAND = "python -m experiments.gpu.run"
SECONDS = 460.0  # of the eight minutes


def tests() -> str:
    """Run the tests that need a device."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    last = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, f"{last}\n{done.stdout[-3_000:]}"
    return last


def attempt(name: str, work: Callable[[], Any]) -> dict[str, Any]:
    """Do ``work``; return what came out, or the error in its place, with the seconds."""
    began = time.perf_counter()
    try:
        found = {"result": work()}
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"[:2_000]}
    found["seconds"] = round(time.perf_counter() - began, 1)
    state = "FAILED" if "error" in found else "ok"
    shown = found.get("error") or found["result"]
    lines = shown if isinstance(shown, str) else "".join(f"\n    {key}: {row}" for key, row in shown.items())
    print(f"{state:6} {name} ({found['seconds']} s): {lines}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="on the CPU, at a small size; records nothing")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which nothing new is begun")
    parser.add_argument("--only", help="names of checks and timings, with commas; records nothing")
    options = parser.parse_args()
    if not options.quick and not torch.cuda.is_available():
        print(
            "experiments.gpu: torch sees no CUDA device; run this on a machine that has one, or with --quick",
            file=sys.stderr,
        )
        return 2
    began, found, left_out = time.perf_counter(), dict[str, dict[str, Any]](), list[str]()
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        device = torch.device("cpu" if options.quick else "cuda")
        place = Place(device, Path(folder), options.quick)
        works: dict[str, Callable[[], Any]] = {} if options.quick else {"tests": tests}
        works |= {work.__name__: lambda work=work: work(place) for work in (*CHECKS, *TIMINGS)}  # type: ignore[misc]
        only = options.only.split(",") if options.only else list(works)
        if unknown := [name for name in only if name not in works]:
            parser.error(f"--only: no {unknown[0]!r}; choose from {', '.join(works)}")
        for name, work in works.items():
            if name not in only:
                continue
            if time.perf_counter() - began > options.seconds:
                left_out.append(name)
            else:
                found[name] = attempt(name, work)
    failed = [name for name, result in found.items() if "error" in result]
    seconds = time.perf_counter() - began
    print(
        f"{len(found) - len(failed)} well, failed: {failed or 'none'}, left out: {left_out or 'none'}; {seconds:.0f} s"
    )
    if not options.quick and not options.only:
        keep(found, len(failed) + len(left_out), seconds)
    return 1 if failed else 0


def keep(found: dict[str, dict[str, Any]], missing: int, seconds: float) -> None:
    """Record what a device gave under its name."""
    record, name = Record(__file__), torch.cuda.get_device_name()
    record.add(name, found)
    record.show(
        f"{name}: checks and timings that failed or were left out",
        missing,
        "0",
        missing == 0,
        seeds=[0, 1],
        command=COMMAND,
    )
    record.show(
        f"{name}: seconds in all", round(seconds), "<= 480", seconds <= 480, seeds=[0, 1], command=COMMAND
    )


if __name__ == "__main__":
    sys.exit(main())
