"""The files of results: what one search saw, one line per replicate."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.tables.table import Table
from search_spaces.space import Configuration

KEPT = Path(__file__).parent
MARKS = (25, 50)  # evaluations after which searches are compared, besides the end


@dataclass(frozen=True)
class Search:
    """One search of one replicate: see the package for the fields."""

    replicate: int
    losses: tuple[float, ...]
    test: tuple[float, ...]
    distinct: int
    seconds: float


class Watch:
    """An objective that remembers what it was asked."""

    def __init__(self, table: Table, replicate: int) -> None:
        self.table, self.replicate = table, replicate
        self.configs: list[Configuration] = []
        self.losses: list[float] = []
        self._began = time.process_time()

    def __call__(self, config: Configuration) -> float:
        """Evaluate ``config``, which must lie in the space."""
        loss = self.table.evaluate(self.table.space.check(config), self.replicate)
        self.configs.append(config)
        self.losses.append(loss)
        return loss

    def search(self) -> Search:
        """Return what was seen, and the seconds of processor time since the start."""
        seconds = time.process_time() - self._began
        best = [min(range(n), key=self.losses.__getitem__) for n in marks_of(len(self.losses))]
        return Search(
            self.replicate,
            tuple(rounded(loss) for loss in self.losses),
            tuple(rounded(self.table.test(self.configs[place])) for place in best),
            len(set(self.configs)),
            round(seconds, 3),
        )


def marks_of(count: int) -> tuple[int, ...]:
    """Return the evaluations after which searches of ``count`` evaluations are compared."""
    return (*MARKS, count)


def rounded(loss: float) -> float:
    """Return ``loss`` to seven digits."""
    return float(f"{loss:.7g}")


def path_of(rival: str, table: str) -> Path:
    """Return where the searches of ``rival`` on ``table`` are kept."""
    return KEPT / f"{rival}-{table}.jsonl"


def read(path: Path) -> dict[int, Search]:
    """Return the searches in the file at ``path`` by replicate; none where there is no file."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        row = {**row, "losses": tuple(row["losses"]), "test": tuple(row["test"])}
        found[row["replicate"]] = Search(**row)
    return found


def keep(path: Path, search: Search) -> None:
    """Add a line to the file at ``path``."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(search), separators=(",", ":")) + "\n")


def run(search: Callable[[Watch], None], table: Table, replicate: int) -> Search:
    """Run ``search`` and return what it saw."""
    watch = Watch(table, replicate)
    search(watch)
    return watch.search()
