"""The most memory that one evaluation holds, beside what its process held before: of a device, or resident.

On Linux the kernel keeps a high-water mark of a process's resident memory, which the process may set back. What is
freed and kept (``estimators.device.keep_memory``) is first handed back, once, or the blocks of the evaluation before
would count as held already; their pages come again at the first step, which costs a fraction of that step.
"""

import ctypes
import platform
import re
import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
HIGH_WATER = "5"  # of VmHWM: proc(5), clear_refs


class Peak:
    """Counts from its making. ``held`` are bytes that belong to the evaluation but were there before (it was warm).

    On a CUDA device: bytes that torch's allocator had given out. On a CPU: resident memory without the pages of
    files (the data set's map, libraries); where the mark cannot be set back, the growth of the largest that the process
    ever was, which says too little after a larger evaluation.
    """

    def __init__(self, device: torch.device, *, held: int = 0) -> None:
        self.device, self.held = device, held
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._base = torch.cuda.memory_allocated(device)
            return
        hand_back()
        self._resets = _set_back()
        self._base = _resident()["RssAnon"] if self._resets else _largest()

    @property
    def bytes(self) -> float:
        """The peak since the count began, above what the process held then."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device) - self._base + self.held)
        if not self._resets:
            return float(_largest() - self._base + self.held)
        now = _resident()
        files = now["VmRSS"] - now["RssAnon"]  # only grow, so that at the peak there were no more of them
        return float(max(now["VmHWM"] - files - self._base, now["RssAnon"] - self._base, 0) + self.held)


def hand_back() -> None:
    """Give freed memory back to the system, where the C library can be told to (glibc)."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _set_back() -> bool:
    try:
        CLEAR.write_text(HIGH_WATER)
    except OSError:
        return False
    return True


def _resident() -> dict[str, int]:
    """Return the bytes that the kernel tells of this process, by its names for them."""
    rows = re.findall(r"^(VmHWM|VmRSS|RssAnon):\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return {name: 1024 * int(count) for name, count in rows}


def _largest() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
