"""The files of searches, one line each."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.fidelity.task import Task
from experiments.fidelity.trace import Piece, in_turn

KEPT = Path(__file__).parent


@dataclass(frozen=True)
class Search:
    """One search of one worker: see the package for the fields."""

    seed: int
    rows: tuple[int, ...]
    stops: tuple[int, ...]
    seconds: float
    versions: str

    def pieces(self, task: Task) -> tuple[Piece, ...]:
        """Return its trainings under the simulated clock."""
        return in_turn(task, list(zip(self.rows, self.stops, strict=True)))


class Worker:
    """Trains rows of ``task`` until its budget is spent, and remembers which, and how far."""

    def __init__(self, task: Task) -> None:
        self.task, self.now = task, 0.0
        self.reached: dict[int, int] = {}
        self.steps: list[tuple[int, int]] = []

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.now >= self.task.budget * (1 - 1e-9)

    def train(self, row: int, stop: int) -> float:
        """Train ``row`` on to epoch ``stop``; return the loss there, NaN if it has diverged."""
        start = self.reached.get(row, 0)
        if start >= stop or self.failed(row):
            return float(self.task.losses[row, stop - 1])
        stop = self.task.lived(row, start, stop)
        self.now += float(self.task.seconds[row, start:stop].sum())
        self.reached[row] = stop
        if self.steps and self.steps[-1][0] == row:
            self.steps.pop()  # one training that went on
        self.steps.append((row, stop))
        return float(self.task.losses[row, stop - 1])

    def failed(self, row: int) -> bool:
        """Whether ``row`` has diverged in what was trained of it."""
        return row in self.reached and math.isnan(self.task.losses[row, self.reached[row] - 1])

    def search(self, seed: int, seconds: float, versions: str) -> Search:
        """Return what was trained."""
        rows, stops = zip(*self.steps, strict=True)
        return Search(seed, rows, stops, round(seconds, 2), versions)


def path_of(rival: str, task: str) -> Path:
    """Return where the searches of ``rival`` on ``task`` are kept."""
    return KEPT / f"{rival}-{task}.jsonl"


def read(path: Path) -> dict[int, Search]:
    """Return the searches in the file at ``path`` by seed; none where there is no file."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        found[row["seed"]] = Search(**{**row, "rows": tuple(row["rows"]), "stops": tuple(row["stops"])})
    return found


def keep(path: Path, searches: Sequence[Search]) -> None:
    """Add lines to the file at ``path``."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(one), separators=(",", ":")) + "\n" for one in searches)
