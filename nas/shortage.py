"""Whether a process runs short of memory: its own size and its children's, and what the system says of itself.

On a CPU running out of memory is no exception: the kernel kills, and not always the culprit.
"""

import math
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from rich.filesize import decimal

CGROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNIFIED = "0"  # number of the one hierarchy of version 2
V1_SIZES = ("memory.limit_in_bytes", "memory.usage_in_bytes")
KERNEL = Path("/proc/vmstat")
MEMORY_SHARE = (
    0.85  # of what is free at the start: beyond it the system would kill, and not always the culprit
)
PROCESS = (
    400_000_000  # bytes that a warm process holds before it trains: 200 to 350 MB measured (torch 2.13, CPU)
)
LIST_EVERY = 0.5  # seconds between two looks for processes below, which read the table of all processes
SCARCE = 0.05  # of the system's memory: with less than this available when a process is killed, it was short


class Watch:
    """Looks at process ``pid`` and all below it, from now on."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.used = 0  # bytes, at the last look that found the process
        self.available = psutil.virtual_memory().available  # bytes, at that look
        self._kills = system_kills()
        self._family, self._listed = list[psutil.Process](), -math.inf

    def look(self) -> int:
        """Return the bytes that the processes hold and no file backs; 0 if they are gone."""
        if time.monotonic() - self._listed > LIST_EVERY:
            self._family, self._listed = family(self.pid), time.monotonic()
        used = sum(map(anonymous, self._family))
        if used:
            self.used, self.available = used, psutil.virtual_memory().available
        return used

    def shortage(self) -> str | None:
        """Return what says that a process that was killed just now was killed for want of memory, or None."""
        held = f"it held {decimal(self.used)}" if self.used else "it was not looked at"
        if system_kills() > self._kills:
            return f"out of memory, {held}; search smaller designs or give the machine more memory"
        if self.available < SCARCE * psutil.virtual_memory().total:
            return f"{decimal(self.available)} were available, {held}; search smaller designs, or free memory"
        return None


def limit_at_start() -> int:
    """Return the bytes that an evaluation's process may hold, by what machine and control groups have available now."""
    return int(MEMORY_SHARE * min(psutil.virtual_memory().available, *_left_in_groups(), math.inf))


def _left_in_groups() -> list[int]:
    """Return the bytes that each limited control group of this process has left; cached files are given back."""
    left = []
    for folder, own in _memory_groups():
        names = ("memory.max", "memory.current") if own == UNIFIED else V1_SIZES
        cached = "inactive_file" if own == UNIFIED else "total_inactive_file"
        for group in (folder, *folder.parents):
            limit, used = (_size(group / name) for name in names)
            if limit is not None and used is not None:
                left.append(max(limit - used + _count(group / "memory.stat", cached), 0))
            if group == CGROUPS:
                break
    return left


def _size(path: Path) -> int | None:
    """Return the number that a file of a control group holds; None where there is none, as in "max"."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def share_of_training(limit: int) -> int:
    """Return what training may take of a process's ``limit``: a function of it alone, unlike the process's own size."""
    return max(limit - PROCESS, limit // 4)


def over_limit(used: int, limit: int) -> str:
    """Return the error of an evaluation that took more than it may."""
    return (
        f"memory: {decimal(used)} resident, limit {decimal(limit)}; search smaller designs or batches by a constraint "
        f"such as 'memory<={max(limit / 2, 1):.1g}', or free memory and raise 'memory:' in the run's config.yaml"
    )


def resident(pid: int) -> int:
    """Return the bytes that process ``pid`` and all below it hold and no file backs; 0 if it is gone."""
    return sum(map(anonymous, family(pid)))


def family(pid: int) -> list[psutil.Process]:
    """Return process ``pid`` and all below it, by a look at all processes that is not older than ``LIST_EVERY``."""
    try:
        found, children = [psutil.Process(pid)], _processes.children()
    except psutil.Error:
        return []
    for one in found:
        found += children.get(one.pid, [])
    return found


class _Processes:
    """All processes of this machine by their parents: a look takes milliseconds, and many watch at a time."""

    def __init__(self) -> None:
        self._lock, self._looked = threading.Lock(), -math.inf
        self._children = dict[int, list[psutil.Process]]()

    def children(self) -> Mapping[int, list[psutil.Process]]:
        with self._lock:
            if time.monotonic() - self._looked > LIST_EVERY:
                self._children = {}
                for one in psutil.process_iter(["ppid"]):
                    self._children.setdefault(one.info["ppid"], []).append(one)
                self._looked = time.monotonic()
            return self._children


_processes = _Processes()


def anonymous(process: psutil.Process) -> int:
    """Return the resident bytes of ``process`` without pages of files; 0 if it is gone.

    Those pages, such as a data set's map, are the system's to take back: they do not exhaust memory.
    """
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - (memory.shared if psutil.LINUX else 0))


def system_kills() -> int:
    """Return how many processes the kernel has killed for want of memory, in the machine and in our groups."""
    return sum(_count(path) for path in (KERNEL, *_group_files()))


def _group_files() -> list[Path]:
    """Return the files that count such kills in the control groups of this process, both versions of them."""
    return [
        folder / ("memory.events" if number == UNIFIED else "memory.oom_control")
        for folder, number in _memory_groups()
    ]


def _memory_groups() -> list[tuple[Path, str]]:
    """Return folder and number of the control groups that count the memory of this process, of both versions."""
    if not OWN_GROUP.exists():
        return []
    found = []
    for line in OWN_GROUP.read_text().splitlines():
        number, kinds, path = line.split(":", 2)
        if number == UNIFIED:
            found.append((CGROUPS / path.lstrip("/"), number))
        elif "memory" in kinds.split(","):
            found.append((CGROUPS / "memory" / path.lstrip("/"), number))
    return found


def _count(path: Path, name: str = "oom_kill") -> int:
    try:
        found = re.search(rf"^{name} (\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
