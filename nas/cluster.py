"""A cluster of Ray, and whether it has what workers ask of it: that is refused, with the numbers, before any starts."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SLACK = 1e-6  # a third of a GPU fits three times


@dataclass(frozen=True)
class Share:
    """The ``cpus`` and ``gpus`` of each worker; a share of a GPU lies on one GPU."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0:
            raise ValueError(
                f"cpus={self.cpus:g}, gpus={self.gpus:g}; give each worker cpus above 0, gpus from 0 up"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(
                f"gpus={self.gpus:g}; give each worker whole GPUs, or a share of one, such as 0.5"
            )

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")

    def fits(self, node: Mapping[str, float]) -> int:
        """Return how many such workers ``node`` has room for; its resources are called CPU and GPU, as Ray does."""
        count = math.floor(node.get("CPU", 0.0) / self.cpus + SLACK)
        if not self.gpus:
            return count
        gpus = int(node.get("GPU", 0.0))
        return min(
            count, gpus * math.floor(1 / self.gpus + SLACK) if self.gpus < 1 else gpus // int(self.gpus)
        )


def share_of_gpu(workers: int, gpus: int) -> float:
    """Return what each of ``workers`` has of so many GPUs: whole numbers of them share one."""
    return 1 / math.ceil(workers / gpus)


def refused(workers: int, share: Share, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """Return why ``nodes`` have no room for so many workers of ``share``: the numbers, and what to write instead."""
    fits = sum(share.fits(node) for node in nodes)
    if fits >= workers:
        return None
    remedy = f"give workers={fits}, or less to each" if fits else "give less to each"
    for name, each in (("CPU", share.cpus), ("GPU", share.gpus)):
        has = sum(node.get(name, 0.0) for node in nodes)
        if has + SLACK < workers * each:
            need = f"{workers} workers of {each:g} {name}s need {workers * each:g} {name}s"
            return f"{need}; the cluster has {has:g}; {remedy} ({name.lower()}s=)"
    return (
        f"{workers} workers of {share}: the {len(nodes)} nodes have room for {fits}, as each worker's lie on one node; "
        f"{remedy} (cpus=, gpus=)"
    )


_users = 0  # executors of this process on the connection that was made for the first of them


def connected(address: str | None) -> tuple[Any, bool]:
    """Return the module ray, connected to a cluster, and whether to ``disconnect`` in the end; else a ``ValueError``.

    Not if a user of this process had connected before.
    """
    global _users
    ray, ours = _connected(address)
    _users += ours
    return ray, ours


def disconnect(ray: Any) -> None:
    """Disconnect from the cluster, and end it if it was started here, when nobody in this process uses it any more."""
    global _users
    _users -= 1
    if not _users:
        ray.shutdown()


def _connected(address: str | None) -> tuple[Any, bool]:
    try:
        import ray
    except ImportError:
        raise ValueError(
            "executor 'ray' needs Ray, which is not installed: pip install 'nas-engine[ray]'"
        ) from None
    if ray.is_initialized():
        return ray, _users > 0
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a search tells nobody of itself
        ray.init(address="local", include_dashboard=False, **options)
        return ray, True
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise ValueError(
            f"no Ray cluster answers at {address!r} ({line_of(error)}); start one by `ray start --head`, or leave "
            "address out for a new one on this machine"
        ) from None
    return ray, True


def line_of(error: BaseException) -> str:
    """Return what ``error`` says in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
