"""Latency predicted: the times of a network's primitive ops, each measured once on this machine, added up.

What the sum leaves out (handing values from node to node, caches that another op has filled) is fitted on a few
networks measured whole, as ``fixed + node * nodes + scale * sum``; the error of that, each of these networks predicted
without itself, is kept and shown. Lookup tables of ops are those of ProxylessNAS (Cai et al. 2019, appendix B) and of
FBNet (Wu et al. 2019, section 3.3).

Times are kept for the machine in a file of the cache, a line for each op. A line is never changed: the first counts,
so a search that is resumed predicts as before. Delete ``latency-*.jsonl`` there to have all measured again.
"""

import dataclasses
import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from estimators.cache import key_of, place
from estimators.cost.latency import Latency, latency, passes, using_threads, warm_up
from estimators.device import MEMORY_FORMAT, kernels
from search_spaces.architecture import Design
from search_spaces.block import expanded, walk
from search_spaces.graph import RATES
from search_spaces.op import Op, Shape

SPAN, TIMES = 3.0, 3  # milliseconds that an op is timed for, and how often; other work only adds time
MOST_PASSES = 30
LEAST = 1e-4  # milliseconds: a pass that launches nothing takes none by events
PRIOR = (
    0.25  # spread of ``scale`` about 1, and of the other two about 0 in units of a median network's latency
)
NOISE = 0.05  # relative spread of networks about the sum of their ops, which weighs the prior


@dataclass(frozen=True)
class Total:
    """A network in the table: how many ``nodes`` it runs, and the summed ``milliseconds`` of their ops."""

    nodes: int
    milliseconds: float


@dataclass(frozen=True)
class Fit:
    """Milliseconds of a whole network from its ``Total``: ``fixed + node * nodes + scale * milliseconds``.

    ``median`` and ``ninetieth`` are quantiles of the relative error on the ``measured`` networks, each left out.
    """

    fixed: float
    node: float
    scale: float
    median: float
    ninetieth: float
    measured: int

    def milliseconds(self, total: Total) -> float:
        """Return the predicted milliseconds of a pass."""
        return self.fixed + self.node * total.nodes + self.scale * total.milliseconds


class OpTable:
    """Times of ops for batches of ``batch_size`` on ``device`` with ``threads``; it grows as designs ask for more."""

    def __init__(self, device: torch.device, *, threads: int, batch_size: int = 1) -> None:
        self.device, self.threads, self.batch_size = device, threads, batch_size
        about = (processor(device), torch.__version__, str(device), threads, batch_size)
        self.path = place() / f"latency-{key_of(*about)}.jsonl"
        self._times: dict[str, float] = {}
        # (id of the function, architecture, shape) -> the function, kept so that its id stays its own, and milliseconds
        self._wholes: dict[tuple[int, str, Shape], tuple[object, float]] = {}
        self._size = 0  # bytes of the file at the last look
        self._look()

    def __len__(self) -> int:
        return len(self._times)

    def total(self, design: Design) -> Total:
        """Return the nodes of the design's network and the sum of their times; what is new is timed.

        Of an opaque design, whose network is one node, the whole is measured.
        """
        *_, total = self.growing(design)
        return total

    def growing(self, design: Design) -> Iterator[Total]:
        """Yield ``total`` op by op, what is known first: who has seen enough times no more.

        Sums are rounded once, so that the last one is the same whatever was known before, and none is above it.
        """
        if design.graph is None:
            yield Total(1, self._whole(design))
            return
        visits = list(walk(expanded(design.graph.simplified(), design.shape), design.shape))
        asked = [(op, shapes) for _, op, shapes, _ in visits]
        taken: list[float] = []
        for op, shapes in sorted(asked, key=lambda one: _name(*one) not in self._times):
            taken.append(self.milliseconds(op, shapes))
            yield Total(len(visits), math.fsum(taken))

    def milliseconds(self, op: Op, shapes: tuple[Shape, ...]) -> float:
        """Return the milliseconds of ``op`` on a batch of inputs of ``shapes``.

        Ops that are printed alike are one: rates of leaving out do not count.
        """
        return self._time(_name(op, shapes), (op, shapes))

    def _whole(self, design: Design) -> float:
        """Measure an opaque design once in this process: a function of one's own may be another one tomorrow."""
        key = id(design.build), design.config.part("architecture").id, design.shape
        if key not in self._wholes:
            self._wholes[key] = design.build, self.measure(design).p10
        return self._wholes[key][1]

    def _time(self, name: str, what: tuple[Op, tuple[Shape, ...]]) -> float:
        if name not in self._times:
            self._look()
        if name not in self._times:
            taken = self._op(*what)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps({"op": name, "milliseconds": taken}) + "\n")
            self._look()  # another process may have been first meanwhile
        return self._times[name]

    def _look(self) -> None:
        """Take over what the file holds and this table does not, if it has grown since the last look."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._size:
            self._times = {**_read(self.path), **self._times}
            self._size = size

    def _op(self, op: Op, shapes: tuple[Shape, ...]) -> float:
        """Time an op alone; the quickest of ``TIMES`` medians."""
        values = [_input((self.batch_size, *shape), self.device) for shape in shapes]
        module = None
        if op.layers(*shapes):
            module = op.build(*shapes).eval().to(device=self.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        with using_threads(self.threads), torch.inference_mode(), kernels(exact=True):
            warm_up(lambda: op.forward(module, *values), self.device)
            once = float(passes(lambda: op.forward(module, *values), self.device, 3).min())
            repeats = int(np.clip(SPAN / max(once, LEAST), 3, MOST_PASSES))
            medians = [
                np.median(passes(lambda: op.forward(module, *values), self.device, repeats))
                for _ in range(TIMES)
            ]
        return float(min(medians))

    def measure(self, design: Design, *, repeats: int = 30) -> Latency:
        """Return how long a pass of the whole network takes, measured now in ``repeats`` of them."""
        network = design.network().to(device=self.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        return latency(
            network,
            design.shape,
            device=self.device,
            batch_size=self.batch_size,
            threads=self.threads,
            repeats=repeats,
        )


def fitted(table: OpTable, designs: Sequence[Design]) -> Fit:
    """Measure ``designs`` whole and fit what the table's sums leave out; a ``ValueError`` for fewer than two.

    The tenth percentile is taken of each: like the ops, networks are to be as undisturbed as they can be.
    """
    if len(designs) < 2:
        raise ValueError(f"{len(designs)} design to fit a table of latencies on; give at least 2")
    return fit([table.total(design) for design in designs], [table.measure(design).p10 for design in designs])


def fit(totals: Sequence[Total], milliseconds: Sequence[float]) -> Fit:
    """Return the fit of measured ``milliseconds`` (n,) by ``totals``: relative least squares, no part negative.

    ``scale`` is drawn to 1 and the rest to 0, so that two networks are enough to begin with.
    """
    x = np.array([[1.0, total.nodes, total.milliseconds] for total in totals])
    y = np.array(milliseconds)
    every = np.ones(len(y), bool)
    errors = []
    for left in range(len(y)):
        others = every.copy()
        others[left] = False
        errors.append(abs(float(x[left] @ _coefficients(x[others], y[others])) / y[left] - 1))
    median, ninetieth = (float(q) for q in np.quantile(errors, (0.5, 0.9)))
    fixed, node, scale = (float(value) for value in _coefficients(x, y))
    return Fit(fixed, node, scale, median, ninetieth, len(y))


def _coefficients(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (3,) that minimises the squared relative error and the squared distance from the prior."""
    from scipy.optimize import nnls

    typical = float(np.median(y))
    spread = PRIOR * np.array([typical, typical / float(np.median(x[:, 1])), 1.0])
    rows = np.vstack([x / y[:, None] / NOISE, np.diag(1 / spread)])
    targets = np.concatenate([np.full(len(y), 1 / NOISE), [0.0, 0.0, 1 / PRIOR]])
    found: np.ndarray = nnls(rows, targets)[0]
    return found


@lru_cache(maxsize=1 << 16)
def _name(op: Op, shapes: tuple[Shape, ...]) -> str:
    """Return what is equal for ops that compute alike; in evaluation mode nothing is left out, at whatever rate."""
    rates = [field.name for field in dataclasses.fields(op) if field.name in RATES]
    op = dataclasses.replace(op, **dict.fromkeys(rates, 0.0))
    inputs = [f"x{place}" for place in range(len(shapes))]
    return f"{op.expression(*shapes)} {op.call('f', *inputs)} {shapes}"


def _input(shape: Shape, device: torch.device) -> torch.Tensor:
    x = torch.zeros(*shape, device=device)
    return x.contiguous(memory_format=MEMORY_FORMAT) if x.dim() == 4 else x


def _read(path: Path) -> dict[str, float]:
    """Return the times in a table's file; of an op that two processes measured at once the first one counts."""
    times: dict[str, float] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        times.setdefault(row["op"], float(row["milliseconds"]))
    return times


def processor(device: torch.device) -> str:
    """Return the name of what computes on ``device``."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not on every system
        return platform.processor() or platform.machine()
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
