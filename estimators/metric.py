"""Metrics: their names, directions and units. The arithmetic on predictions lives in ``estimators.score``."""

import math
from dataclasses import dataclass

from search_spaces.registry import nearest


@dataclass(frozen=True)
class Metric:
    """A number from 0 to ``most`` that an evaluation yields. ``free`` ones follow from the design, untrained."""

    name: str
    maximize: bool = False
    unit: str = ""
    free: bool = False
    most: float = math.inf


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", maximize=True, most=1.0),
        Metric("balanced_accuracy", maximize=True, most=1.0),
        Metric("macro_f1", maximize=True, most=1.0),
        Metric("loss"),
        Metric("latency", unit="ms"),
        Metric("params", free=True),
        Metric("macs", free=True),
        Metric("size", unit="bytes", free=True),
        Metric("memory", unit="bytes"),
        Metric("seconds", unit="s"),
    )
}


def metric(name: str) -> Metric:
    """Return the metric called ``name``; an unknown name is a ``ValueError`` with the nearest guess."""
    if name not in METRICS:
        raise ValueError(f"no metric {name!r}; {nearest(name, list(METRICS))}")
    return METRICS[name]
