"""Check and time everything that a GPU does differently, in under eight minutes: ``python -m experiments.gpu.run``.

    python -m experiments.gpu.run [--quick] [--seconds 460] [--only NAME,NAME]

Runs the tests marked ``gpu``, the checks (``checks.py``) and the timings (``timings.py``), each by itself: what fails
is reported and the rest goes on. What went well with this code on this kind of device is not done again, unless
``--only`` names it; what there is no time for any more is named as left out. ``--quick`` does all of it on the CPU at a
small size, so that the script itself is tested without a GPU, and records nothing. Exit 1 if anything failed, 2 where
there is no CUDA device.
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

from experiments.gpu.checks import CHECKS, LAST, Place
from experiments.gpu.timings import TIMINGS
from experiments.record import ON_A_GPU, ROOT, Record

COMMAND = "python -m experiments.gpu.run"
SECONDS = 460.0  # of the eight minutes
ALL = ("estimators", *ON_A_GPU, "search_spaces", "nas/executor.py", "nas/supervise.py", "tests/test_gpu.py")
ALONE = (  # without shared weights, which most parts have nothing to do with
    *(
        f"estimators/{path.name}"
        for path in sorted((ROOT / "estimators").iterdir())
        if path.name not in ("sharing", "supernet.py", "__pycache__")
    ),
    *ALL[1:-1],
)
SHARING = ("shared_weights", "supernet", "tests")  # parts that depend on shared weights, too
TESTED = ("tests/test_gpu.py", "tests/test_cost.py", "tests/test_proxies.py")


def tests() -> str:
    """Run the tests that need a device; return how they ended, and the slowest."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        *TESTED,
        "-p",
        "no:cacheprovider",
        "--durations=5",
    ]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or [""]
    assert done.returncode == 0, f"{lines[-1]}\n{done.stdout[-3_000:]}"
    return "; ".join([lines[-1], *(" ".join(line.split()) for line in lines if "s call " in line)])


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
    parser.add_argument(
        "--only", help="names of checks and timings, with commas, done also if they are known"
    )
    options = parser.parse_args()
    if not options.quick and not torch.cuda.is_available():
        print(
            "experiments.gpu: torch sees no CUDA device; run this on a machine that has one, or with --quick",
            file=sys.stderr,
        )
        return 2
    began, found, left_out = time.perf_counter(), dict[str, dict[str, Any]](), list[str]()
    kept = None if options.quick else Kept()
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        device = torch.device("cpu" if options.quick else "cuda")
        place = Place(device, Path(folder), options.quick)
        works: dict[str, Callable[[], Any]] = {} if options.quick else {"tests": tests}
        works |= {work.__name__: lambda work=work: work(place) for work in (*CHECKS, *TIMINGS, LAST)}  # type: ignore[misc]
        only = (
            options.only.split(",")
            if options.only
            else [name for name in works if not (kept and kept.well(name))]
        )
        if unknown := [name for name in only if name not in works]:
            parser.error(f"--only: no {unknown[0]!r}; choose from {', '.join(works)}")
        for name in only:
            if time.perf_counter() - began > options.seconds:
                left_out.append(name)
                continue
            found[name] = attempt(name, works[name])
            if kept:
                kept.add(name, found[name])
    failed = [name for name, result in found.items() if "error" in result]
    seconds = time.perf_counter() - began
    print(
        f"{len(found) - len(failed)} well, failed: {failed or 'none'}, left out: {left_out or 'none'}; {seconds:.0f} s"
    )
    if kept:
        kept.show(list(works))
    return 1 if failed else 0


class Kept:
    """What is recorded of this kind of device with this code, part by part."""

    def __init__(self) -> None:
        self.card = torch.cuda.get_device_name()

    def of(self, name: str) -> Record:
        """Return the record, with the code that the part ``name`` depends on."""
        return Record(__file__, *(ALL if name in SHARING else ALONE))

    def known(self, name: str) -> dict[str, Any]:
        """Return what the part ``name`` gave with the code as it is; nothing if it was not done."""
        return self.of(name).run(f"{self.card}: {name}") or {}

    def well(self, name: str) -> bool:
        """Return whether the part ``name`` is known to have gone well."""
        return "result" in self.known(name)

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Keep what the part ``name`` gave."""
        self.of(name).add(f"{self.card}: {name}", found)

    def show(self, names: list[str]) -> None:
        """Keep how many of all parts did not go well, and the seconds of all."""
        known = [self.known(name) for name in names]
        missing = sum(not self.well(name) for name in names)
        seconds = round(sum(one.get("seconds", 0.0) for one in known))
        for claim, value, bar, holds in (
            ("checks and timings that failed or were left out", missing, "0", missing == 0),
            ("seconds in all", seconds, "<= 480", seconds <= 480 and not missing),
        ):
            self.of("tests").show(f"{self.card}: {claim}", value, bar, holds, seeds=[0, 1], command=COMMAND)


if __name__ == "__main__":
    sys.exit(main())
