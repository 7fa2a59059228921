"""Canonical keys against NAS-Bench-201's table and against brute force, and the microseconds of a proposal.

    python -m experiments.nb201.run --table nb201_table.npz [--quick]

``--table`` holds ``code`` (15625, 6), ``ops`` and ``params_m_cifar10``; without it only its claims are left out.
"""

import argparse
import random
from pathlib import Path

from experiments.nb201 import pairs, table, times
from experiments.record import Record

MEASURED = (
    *(
        f"search_spaces/{name}.py"
        for name in ("graph", "canonical", "describe", "space", "parameter", "configuration", "op", "block")
    ),
    "search_spaces/ops",
    "search_spaces/spaces/cell.py",
    "search_spaces/spaces/chain.py",
    "nas/operators",
)
COMMAND = "python -m experiments.nb201.run"


def show(record: Record, claim: str, value: float, bar: str, holds: bool, seed: int, command: str) -> None:
    """Keep a claim and print it."""
    print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:,.4g}, bar {bar}", flush=True)
    record.show(claim, value, bar, holds, seeds=[seed], command=command)


def show_table(record: Record, path: Path, quick: bool, command: str) -> None:
    """Parameters of all rows, and how many cells differ."""
    configs, known = table.read(path)
    rows = random.Random(0).sample(range(len(configs)), 500) if quick else range(len(configs))
    off = {row for row in rows if table.parameters(configs[row]) != known[row]}
    surprises = len(off ^ (table.WRONG & set(rows)))
    claim = f"NAS-Bench-201, {len(rows):,} rows: parameters unlike the table's, its 150 wrong rows aside"
    show(record, claim, surprises, "= 0", surprises == 0, 0, command)
    kinds = len({table.unfolding(config) for config in configs})
    claim = "NAS-Bench-201: different cells by the benchmark's own unfolding"
    show(record, claim, kinds, "= 6466", kinds == 6466, 0, command)
    kinds = len({table.cell(config).key() for config in configs})
    show(record, "NAS-Bench-201: different keys of cells", kinds, "= 5425", kinds == 5425, 0, command)
    count = 100 if quick else 300
    wrong = table.disagreements(configs, count, seed=0)
    claim = (
        f"NAS-Bench-201, {count} pairs: whole networks are equal where their cells are not, or the reverse"
    )
    show(record, claim, wrong, "= 0", wrong == 0, 0, command)


def show_pairs(record: Record, count: int, command: str) -> None:
    """Keys of small networks against brute force."""
    found = pairs.compare(count, seed=0)
    record.add(f"{count} pairs", found)
    mistakes = found["joined"] + found["split"] + found["mixed"]
    share = found["equal"] / found["pairs"]
    claim = f"{count:,} pairs of small networks, {share:.0%} equal: mistakes of keys against brute force"
    show(record, claim, mistakes, "= 0", mistakes == 0, 0, command)


def show_times(record: Record, command: str) -> None:
    """Microseconds beside their bars."""
    bars = {"mutate": 100.0, "describe": 1000.0}
    for name, family in times.families().items():
        found = times.of_space(family, seed=0)
        record.add(f"microseconds, {name}", found)
        print(name, {call: round(value) for call, value in found.items()})
        for call, bar in bars.items():
            claim = f"{name}, {found['live nodes']:.0f} nodes: microseconds to {call}"
            show(record, claim, found[call], f"<= {bar:.0f}", found[call] <= bar, 0, command)
    key = times.of_twenty_nodes(seed=0)
    show(record, "microseconds for the key of a graph of 20 nodes", key, "<= 500", key <= 500, 0, command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="nb201_table.npz")
    parser.add_argument("--quick", action="store_true", help="500 rows, 100 and 20,000 pairs")
    options = parser.parse_args()
    record, command = Record(__file__, *MEASURED), COMMAND + (" --quick" if options.quick else "")
    show_times(record, command)
    if options.table is not None:
        show_table(record, options.table, options.quick, f"{command} --table nb201_table.npz")
    show_pairs(record, 20_000 if options.quick else 1_000_000, command)


if __name__ == "__main__":
    main()
