"""A folder of pictures of every odd kind, some of them broken: what is read, and how fast the second time.

    python -m experiments.folder.run [--quick]

Every start is a process of its own. Times are of loading alone, imports excluded; the folder has just been written,
so that its files are in the page cache at the first start, too.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.record import ROOT, Record

sys.path.insert(0, str(ROOT / "tests"))
from test_pictures import COLOURS, alpha_of, broken_kinds, odd_kinds

SEED = 0
CLASSES = ("bird", "cat", "dog", "fish", "horse")
SECOND = 2.0  # seconds that a second start may take
START = """
import json, sys
from estimators.dataset import fingerprint, load, summary
while not sys.stdin.readline(): pass
data = load(sys.argv[1])
report = data.report
print(json.dumps({"hash": fingerprint(data), "source": report.source, "seconds": report.seconds,
    "images": sum(map(len, (data.train, data.val, data.test))), "summary": summary(data)}))
"""


def pictures(folder: Path, count: int, broken: int) -> None:
    """Write ``count`` pictures of all kinds, sides from 32 to 256, ``broken`` of them unreadable, and some texts."""
    rng = np.random.default_rng(SEED)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    good = bad = 0
    for i in range(count):
        side = int(2 ** rng.uniform(3, 6)) * 4
        coarse = rng.integers(0, 4, (8, 8))
        index = np.kron(coarse, np.ones((side // 8, side // 8), int))
        grey = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).resize(index.shape))
        if i % (count // broken) == 0:
            files = broken_kinds(COLOURS[index])
            name, content = list(files.items())[bad % len(files)]
            bad += 1
        else:
            kinds = odd_kinds(COLOURS[index], index, grey, alpha_of(index))
            name = list(kinds)[good % len(kinds)]
            content = kinds[name]()
            good += 1
        (folder / CLASSES[i % len(CLASSES)] / f"{i:05}-{name}").write_bytes(content)
    for name in CLASSES:
        (folder / name / "README.txt").write_text("no picture")
        (folder / name / "Thumbs.db").write_bytes(bytes(99))


def starts(folder: Path, cache: Path, together: int = 1) -> list[dict]:
    """Load ``folder`` in so many processes, which have all imported what they need when the first begins."""
    environment = {**os.environ, "NAS_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    children = [subprocess.Popen(command, **pipes) for _ in range(together)]
    time.sleep(5)
    with ThreadPoolExecutor(together) as pool:
        outputs = list(pool.map(lambda child: child.communicate("go\n")[0], children))
    return [json.loads(output) for output in outputs]


def claims(count: int, broken: int, first: dict, second: dict, pair: list[dict]) -> list[tuple]:
    """Return (claim, value, bar, whether it holds)."""
    builds = sum(one["source"] == "decoded" for one in pair)
    equal = len({one["hash"] for one in [first, second, *pair]}) == 1
    left_out = re.search(r"([\d,]+) of [\d,]+ files are no readable pictures", first["summary"])
    listed = int(left_out[1].replace(",", "")) if left_out else 0
    seconds = second["seconds"]
    together = f"decodings by two processes that start together, {count} pictures"
    return [
        (f"second start of {count} odd pictures, seconds", seconds, f"< {SECOND}", seconds < SECOND),
        (together, builds, "== 1, equal hashes", builds == 1 and equal),
        (
            f"broken files among {count} listed and left out, none fatal",
            listed,
            f"== {broken}",
            listed == broken,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, broken = (500, 5) if quick else (5000, 50)
    command = "python -m experiments.folder.run" + " --quick" * quick
    record = Record(
        __file__,
        *(f"estimators/{name}.py" for name in ("cache", "folders", "pictures", "partition", "saved")),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder, alone, shared = (Path(scratch) / name for name in ("odd", "alone", "shared"))
        pictures(folder, count, broken)
        (first,), (second,) = starts(folder, alone), starts(folder, alone)
        pair = starts(folder, shared, together=2)
    print(first["summary"])
    record.add(f"{count} pictures", {"first": first, "second": second, "together": pair})
    for claim, value, bar, holds in claims(count, broken, first, second, pair):
        record.show(claim, value, bar, holds, seeds=[SEED], command=command)
        print(f"{claim}: {value} ({bar}): {'holds' if holds else 'DOES NOT HOLD'}")
    times = ", ".join(f"{one['seconds']:.2f}" for one in [first, second, *pair])
    print(f"seconds of the first start, the second, and two together: {times}")


if __name__ == "__main__":
    main()
