"""Who is compared: our schedulers with a strategy underneath, baselines, and the kept searches of rivals.

A search is the trainings of one seed on one task. Ours are kept in ``runs/`` by a hash of the code that decides them,
one line per search, so that a full run resumes.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from threadpoolctl import threadpool_limits

from experiments.fidelity import curves
from experiments.fidelity.rivals import baselines, kept
from experiments.fidelity.simulate import replay
from experiments.fidelity.suite import OURS, task
from experiments.fidelity.trace import Piece, in_turn
from experiments.record import code_hash
from experiments.tables import ours as tables
from nas.scheduler import schedulers

RUNS = Path(__file__).parent / "runs"
MEASURED = (  # what decides what is trained
    *tables.MEASURED,
    "search_spaces/spaces",
    "search_spaces/recipe.py",
    "nas/hpo/curves.py",
    "nas/hpo/promotion.py",
    "nas/schedulers",
    "nas/scheduler.py",
    "nas/rungs.py",
    "nas/brackets.py",
    "nas/rounds.py",
    "nas/waiting.py",
    "nas/ensemble.py",
    "nas/curves.py",
    "nas/outlook.py",
    "nas/fidelity_trust.py",
    "nas/plan.py",
    "nas/study.py",
    "nas/history.py",
    *(f"experiments/fidelity/{name}.py" for name in ("simulate", "task", "trace", "curves", "taskset")),
)
CODE = code_hash(*MEASURED)
BASELINES = {"one-epoch-top-k": baselines.one_epoch_top_k, "random": baselines.random_search}
PACKAGES = ("optuna-hyperband", "optuna-median", "dehb")
RIVALS = (*PACKAGES, *BASELINES)
RECORDED_ALONE = ("pbt",)  # a recipe that changes on the way is in no table

Searches = Mapping[int, Sequence[Piece]]


@dataclass(frozen=True)
class Ours:
    """A registered scheduler, the strategy underneath, and how many workers train at once."""

    scheduler: str
    strategy: str = "random"
    workers: int = 1

    def __str__(self) -> str:
        return f"{self.scheduler} x {self.strategy}" + (f" x {self.workers}" if self.workers > 1 else "")

    @property
    def there(self) -> bool:
        """Whether the scheduler is registered."""
        return self.scheduler in schedulers.names()

    def path(self, name: str) -> Path:
        """Return where the searches of the task ``name`` with today's code are kept."""
        grown = f"-{curves.digest(name)}" if name in OURS else ""  # our tables are still being recorded
        return RUNS / CODE / f"{str(self).replace(' ', '')}-{name}{grown}.jsonl"


def simulated() -> list[str]:
    """Return the registered schedulers that recorded curves can serve."""
    return [name for name in schedulers.names() if name not in RECORDED_ALONE]


def read(path: Path) -> dict[int, tuple[Piece, ...]]:
    """Return the searches in the file at ``path`` by seed; none where there is no file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["seed"]: tuple(Piece(*piece) for piece in row["pieces"]) for row in rows}


def search(ours: Ours, name: str, seed: int) -> tuple[Piece, ...]:
    """Return one search, from the kept ones if it is there."""
    path = ours.path(name)
    if (found := read(path).get(seed)) is not None:
        return found
    began = time.process_time()
    with threadpool_limits(1):
        pieces = replay(task(name, seed), ours.scheduler, ours.strategy, seed, workers=ours.workers)
    row = {"seed": seed, "seconds": round(time.process_time() - began, 2), "pieces": pieces}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row, separators=(",", ":")) + "\n")
    return pieces


def run(ours: Ours, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Searches]:
    """Return our searches by task and seed; all tasks of a seed come before the next seed."""
    found: dict[str, dict[int, Sequence[Piece]]] = {name: {} for name in names}
    for seed in seeds:
        for name in names:
            found[name][seed] = search(ours, name, seed)
    return dict(found)


def rival(who: str, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Searches]:
    """Return the searches of ``who`` by task and seed, those that there are."""
    if who in BASELINES:
        return {name: {seed: _baseline(who, name, seed) for seed in seeds} for name in names}
    return {name: _kept(who, name, seeds) for name in names}


def _kept(who: str, name: str, seeds: Sequence[int]) -> Searches:
    found = kept.read(kept.path_of(who, name))
    return {seed: found[seed].pieces(task(name, seed)) for seed in seeds if seed in found}


@cache
def _baseline(who: str, name: str, seed: int) -> tuple[Piece, ...]:
    run_one: Callable[[kept.Worker, int], None] = BASELINES[who]
    worker = kept.Worker(task(name, seed))
    run_one(worker, seed)
    return in_turn(worker.task, worker.steps)
