"""A run folder: its settings, its status, and where everything in it lies.

config.yaml     what was asked for and what was measured before the first trial; all a resume needs
study.log       the store        status.json   what ``nas show`` prints, rewritten atomically
data/           the decoded images        checkpoints/   weights of promising trials
tensorboard/    events        best/   the exported model        supernet.safetensors   where one was trained
"""

import dataclasses
import inspect
import itertools
import json
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from estimators.estimator import Fidelity, estimators
from estimators.metric import METRICS
from estimators.sharing import FILE
from nas.checkpoints import parse_bytes
from nas.executor import Executor, checked_workers, executors
from nas.lease import alive
from nas.scheduler import schedulers
from nas.strategy import strategies
from nas.tracker import trackers
from nas.trial import Budget, Constraint, Objective
from nas.trust import SUPERNET
from nas.warm_start import members_of
from search_spaces.architecture import spaces
from search_spaces.registry import nearest

VERSION = 1
TEXTS = (
    "space",
    "strategy",
    "scheduler",
    "estimator",
    "executor",
    "device",
    "precision",
    "root",
    "weights",
    "warm_start",
)
EXAMPLES = {"objectives": "[accuracy]", "constraints": '["params<=1e6"]', "trackers": "[terminal]"}
PARTIAL = (
    ".status.json.*",
    ".config.yaml.*",
    ".study.log.*",
    "supernet.safetensors.*.tmp",
    ".best.new",
    "..best.new.*.partial",
    "checkpoints/*/*.tmp",
)
INHERIT = "inherit"  # the supernet option by which trainings begin with the weights of a supernet
OWN = "own"  # the space of a search over a user's own ``build(config) -> nn.Module``


@dataclass(frozen=True)
class Settings:
    """What a search was asked for. ``budget`` is in seconds; ``ladder`` and ``cost`` are set before the first trial.

    ``memory`` are the bytes that an evaluation's process may hold; left out, most of what is free at the start.
    ``checkpoint_quota`` are the bytes that checkpoints may take; left out, a tenth of what is free on the disk.
    """

    data: str
    budget: float | None = None
    trials: int | None = None
    space: str = "chain"
    strategy: str = "auto"
    scheduler: str = "auto"
    estimator: str = "train"
    executor: str | None = None
    executor_options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    objectives: tuple[str, ...] = ("accuracy",)
    constraints: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ("tensorboard", "terminal")
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    root: str | None = None
    side: int | None = None
    weights: str | None = None
    warm_start: str | None = None
    supernet_options: Mapping[str, Any] = field(default_factory=dict)
    ladder: tuple[tuple[float, ...], ...] = ()
    cost: tuple[float, ...] | None = None
    memory: int | None = None
    checkpoint_quota: int | None = None
    round: int = 1
    began: float = 0.0  # active seconds of the study at which the round began
    version: int = VERSION

    def __post_init__(self) -> None:
        for registry, name in (
            (spaces, self.space),
            (strategies, self.strategy),
            (schedulers, self.scheduler),
            (executors, self.where),
            (estimators, self.estimator),
            *((trackers, tracker) for tracker in self.trackers),
        ):
            if name != OWN and name not in registry.names():  # type: ignore[attr-defined]
                raise ValueError(f"no {registry.kind} {name!r}; {nearest(name, registry.names())}")  # type: ignore[attr-defined]
        members_of(self.warm_start, self.strategy, timed=self.budget is not None)
        if not self.objectives:
            raise ValueError("objectives is empty; give at least one metric, for example accuracy")
        for name in self.objectives:
            if name not in METRICS:
                raise ValueError(f"no metric {name!r}; {nearest(name, list(METRICS))}")
        for text in self.constraints:
            Constraint.parse(text)
        if self.budget is None and self.trials is None:
            raise ValueError(
                "no budget; give a time (--budget 30m), a number of trials (--trials 200), or both"
            )
        if self.budget is not None:
            Budget.parse_seconds(self.budget)
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"trials={self.trials}: give at least 1")
        if self.memory is not None and self.memory < 1:
            raise ValueError(f"memory={self.memory}: give bytes above 0, or leave it out")
        if self.checkpoint_quota is not None:
            parse_bytes(self.checkpoint_quota)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: give a whole number from 0 up")
        checked_workers(self.workers)
        if not isinstance(self.executor_options, Mapping):
            raise ValueError(
                f"executor_options={self.executor_options!r}: give names and values, such as gpus: 0.5"
            )

    @property
    def where(self) -> str:
        """The executor: where none was named, "serial" for one worker and "process" for several."""
        return self.executor or ("serial" if self.workers == 1 else "process")

    @property
    def inherits(self) -> bool:
        """Whether trainings begin with the weights of a supernet: final ones where it scores all designs."""
        return self.estimator == SUPERNET or bool(self.supernet_options.get(INHERIT))

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """The ladder as fidelities."""
        return tuple(Fidelity(int(row[0]), float(row[1]), float(row[2])) for row in self.ladder)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Settings":
        """Read plain values (of YAML or a command line); unknown names are a ``ValueError`` with a guess."""
        known = {one.name: one for one in fields(cls)}
        for name in values:
            if name not in known:
                raise ValueError(f"no setting {name!r}; {nearest(str(name), list(known))}")
        values = dict(values)
        if isinstance(values.get("budget"), str):
            values["budget"] = Budget.parse_seconds(values["budget"])
        if isinstance(values.get("checkpoint_quota"), str):
            values["checkpoint_quota"] = parse_bytes(values["checkpoint_quota"])
        for name in ("objectives", "constraints", "trackers"):
            if isinstance(values.get(name), str):
                values[name] = [values[name]]
            _check_names(name, values.get(name))
        for name in ("data", *TEXTS):
            if not isinstance(values.get(name), str | None):
                raise ValueError(f"setting {name}={values[name]!r}: give a name or a path")
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        for name, kind in (
            ("trials", int),
            ("seed", int),
            ("workers", int),
            ("side", int),
            ("memory", int),
            ("checkpoint_quota", int),
            ("budget", float),
        ):
            value = values.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"setting {name}={value!r}: give a number")
            if value is not None and kind(value) != value:
                raise ValueError(f"setting {name}={value!r}: give a whole number")
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read a YAML file."""
        try:
            values = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(
                f"cannot read the settings {str(path)!r}: {' '.join(str(error).split())}"
            ) from None
        if not isinstance(values, dict):
            raise ValueError(f"{str(path)!r} holds no settings; write lines such as 'budget: 30m'")
        version = values.get("version", VERSION)
        if isinstance(version, int) and version > VERSION:
            raise ValueError(
                f"{str(path)!r} was written by a newer version ({version}, this one reads up to {VERSION}); "
                "upgrade this package to open it"
            )
        return cls.parse(values)

    def write(self, path: Path) -> None:
        """Write a YAML file that ``read`` reads, atomically."""
        plain = json.loads(json.dumps(dataclasses.asdict(self)))
        _replace(path, yaml.safe_dump(plain, sort_keys=False))


def _check_names(name: str, value: Any) -> None:
    whole = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if value is not None and not whole:
        raise ValueError(f"setting {name}={value!r}: give a list of words, for example {EXAMPLES[name]}")


@dataclass(frozen=True)
class Folder:
    """The paths of a run."""

    path: Path

    @classmethod
    def existing(cls, path: Path | str) -> "Folder":
        """Return the run folder at ``path``; a ``ValueError`` if it is none."""
        folder = cls(Path(path))
        if not folder.config.is_file():
            raise ValueError(f"no run in {str(path)!r}; give the folder of a run, for example runs/digits")
        return folder

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def store(self) -> Path:
        return self.path / "study.log"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def supernet(self) -> Path:
        return self.path / FILE

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def status_file(self) -> Path:
        return self.path / "status.json"

    def check(self) -> None:
        """Raise ``ValueError`` when the store is gone from a run that had begun."""
        begun = self.status_file.exists() or any(self.checkpoints.glob("trial-*"))
        if begun and not (self.store.is_file() and self.store.stat().st_size):
            raise ValueError(
                f"run {str(self.path)!r} is damaged: its {self.store.name} is missing or empty, but trials were begun; "
                f"restore a backup of that file, or begin anew with the rest by `nas doctor {self.path} --salvage`"
            )

    def leftovers(self) -> list[Path]:
        """Return what processes are writing now, or have left half-written when they were killed."""
        return sorted(itertools.chain.from_iterable(self.path.glob(pattern) for pattern in PARTIAL))

    def sweep(self) -> None:
        """Remove what killed processes left half-written; only while no other process works on the run."""
        for path in self.leftovers():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Rewrite ``status.json`` in one move."""
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        _replace(self.status_file, json.dumps({**status, **owner}, indent=1) + "\n")

    def status(self) -> dict[str, Any]:
        """Return the status last written; a run whose process is gone without saying so is ``interrupted``."""
        try:
            status: dict[str, Any] = json.loads(self.status_file.read_text())
        except (OSError, ValueError):
            return {"state": "interrupted"}
        here = status.pop("host", None) == socket.gethostname()
        if status["state"] == "running" and here and not alive(status.get("pid", 0)):
            status["state"] = "interrupted"
        status.pop("pid", None)
        return status


def executor_of(settings: Settings) -> Executor:
    """Return the executor that ``settings`` name, its workers spread over the devices of this machine."""
    from estimators.device import find_devices

    kind: Any = executors.get(settings.where)
    options = dict(settings.executor_options)
    devices = find_devices(settings.device) if settings.workers > 1 else ()
    taken = inspect.signature(kind).parameters
    for name in options:
        if name not in taken or name in ("workers", "devices"):
            known = [one for one in taken if one not in ("workers", "devices")]
            raise ValueError(f"executor {settings.where!r} has no option {name!r}; {nearest(name, known)}")
    executor: Executor = kind(workers=settings.workers, devices=devices, **options)
    return executor


def objectives_of(settings: Settings) -> tuple[Objective, ...]:
    """Return the objectives with the directions of their metrics."""
    return tuple(Objective(name) for name in settings.objectives)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
