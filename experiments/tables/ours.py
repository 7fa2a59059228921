"""Our strategies on a table, through ``nas.Study`` in memory; what was run on the same code is kept and read again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from experiments.record import code_hash
from experiments.tables import fronts
from experiments.tables.rivals import kept
from experiments.tables.suite import length, table
from experiments.tables.table import Table
from nas.strategy import strategies
from nas.study import Study
from search_spaces.architecture import SearchSpace
from search_spaces.describe import describe

RUNS = Path(__file__).parent / "runs"
SPACES = "canonical configuration describe graph grid inside linear op parameter slot space"
MODELS = "acquisition cmaes forest gp kernel pareto standing tpe warp"
MEASURED = (  # what decides which configuration is proposed
    *(f"search_spaces/{name}.py" for name in SPACES.split()),
    "search_spaces/ops",
    "search_spaces/spaces/cell.py",
    *(f"nas/hpo/{name}.py" for name in MODELS.split()),
    "nas/operators",
    "nas/strategies",
    "nas/strategy.py",
    "nas/models.py",
    "nas/maximise.py",
    "nas/encoder.py",
    "nas/observations.py",
    "nas/rows.py",
)
CODE = code_hash(*MEASURED)


@dataclass(frozen=True)
class Ours:
    """A registered strategy and its settings, as (name, value)."""

    strategy: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.strategy, *(f"{name}={value}" for name, value in self.settings)])

    def path(self, name: str) -> Path:
        """Return where the searches of the table ``name`` with today's code are kept."""
        return RUNS / CODE / f"{self}-{name}.jsonl"


def study_of(ours: Ours, table: Table, seed: int, objectives: Sequence[str] = ("loss",)) -> Study:
    """Return a study of ``table`` in memory, with keys and features of cells where there are graphs."""
    known: dict[str, Any] = {}
    if table.graph is not None:
        known["key"] = keys(table.graph)
        known["features"] = features(table.graph)
    make = strategies.get(ours.strategy)
    strategy = partial(make, **dict(ours.settings)) if ours.settings else make
    study = Study(table.space, objectives=objectives, strategy=strategy, seed=seed, **known)
    if not table.baseline:
        study.strategy.baseline = False  # type: ignore[misc]
    return study


def keys(graph: Callable[[Any], Any]) -> Callable[[Any], str]:
    """Return the key of the decoded graph as a function of the configuration."""
    return lambda config: graph(config).key()


def features(graph: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, float]]:
    """Return the features of the decoded graph by configuration, kept as ``SearchSpace`` keeps them."""
    return lru_cache(maxsize=SearchSpace.KEPT)(lambda config: describe(graph(config), 0, 0).features)


def search(ours: Ours, name: str, replicate: int) -> kept.Search:
    """Return one search, from the kept ones if it is there."""
    path = ours.path(name)
    if (found := kept.read(path).get(replicate)) is not None:
        return found

    def whole(watch: kept.Watch) -> None:
        with study_of(ours, table(name), replicate) as study:
            for _ in range(length(name)):
                trial = study.ask()
                study.tell(trial, watch(trial.config))

    with threadpool_limits(1):
        new = kept.run(whole, table(name), replicate)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept.keep(path, new)
    return new


def front(ours: Ours, device: str, replicate: int) -> list[tuple[float, float]]:
    """Return the points of one search for accuracy and for latency on ``device``."""
    points = []
    with threadpool_limits(1), study_of(ours, table(fronts.ACCURACY), replicate, ("error", "ms")) as study:
        for _ in range(fronts.LENGTH):
            trial = study.ask()
            points.append(fronts.point(trial.config, device, replicate))
            study.tell(trial, dict(zip(("error", "ms"), points[-1], strict=True)))
    return points
