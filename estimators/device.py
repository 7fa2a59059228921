"""What differs between devices, in one place: the rest of the training code has a single path.

Measured on two cores of an AMD EPYC (AVX2, torch 2.13, float32; three convolutions of 16/32/64 filters, batch
norm, pooling; best of 4 to 6 repeats). Images per second in training:
    contiguous 28 x 28, batch 64            3,700        channels-last                           6,000
    channels-last 32 x 32, batch 256        3,800        with memory kept (``keep_memory``)      5,100
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from search_spaces.registry import nearest

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_FORMAT = torch.channels_last


def find_device(name: str) -> torch.device:
    """Return the device ``name``; ``auto`` is CUDA where there is one. A missing one is a ``ValueError``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is not one torch knows; write auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices; write cpu or auto"
        )
    return device


def find_devices(name: str) -> tuple[str, ...]:
    """Return the CUDA devices that workers on the device ``name`` share out: all, unless it has a number.

    Nothing on a CPU, whose cores are shared out otherwise.
    """
    device = find_device(name)
    if device.type != "cuda":
        return ()
    if device.index is not None:
        return (str(device),)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the type the forward pass runs in; ``float32`` switches autocast off.

    ``auto`` is bfloat16 where that is native to a GPU, float16 on older ones, float32 on a CPU: what is faster there
    depends on the network, and is measured where there is time to (``rivals_of_auto``).
    """
    if precision == "auto":
        if device.type == "cuda":
            return (
                torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
            )
        return torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not known; {nearest(precision, ['auto', *PRECISIONS])}")
    return PRECISIONS[precision]


def rivals_of_auto(device: torch.device) -> tuple[str, ...]:
    """Return the precisions of which either may be the fastest on ``device``: one, if no measurement is needed.

    On two cores of a Xeon with AVX-512 bfloat16 (torch 2.13, batch 64) the default chain for 28 x 28 pixels trains
    0.70 to 0.85 times as fast in bfloat16 as in float32; on other processors it is the other way round.
    """
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ("float32", "bfloat16") if device.type == "cpu" and native else ("auto",)


@cache
def keep_memory() -> None:
    """Let the C library keep what is freed: a training asks for the same large blocks at each step.

    Handing them back to the system and faulting them in again costs up to a third of a step. Holds for
    this process and for as long as it lives; only glibc has the setting.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        library = ctypes.CDLL(None)
        library.mallopt(mmap_threshold, 1 << 30)
        library.mallopt(trim_threshold, (1 << 31) - 1)


def optimizer_kernel(name: str, device: torch.device) -> dict[str, bool]:
    """Return the quickest form of an optimizer: one fused kernel, or one per list; on CUDA fit for a graph."""
    form = {"foreach": True} if name == "rmsprop" else {"fused": True}
    return form if name == "sgd" or device.type == "cpu" else {**form, "capturable": True}


@contextmanager
def kernels(*, exact: bool, tuned: bool | None = None) -> Iterator[None]:
    """Choose kernels of convolutions and products on CUDA: full float32 to score, tuned and TF32 to train.

    To be ``tuned`` costs time for each new shape; it may be left out of a training whose shapes change.
    """
    if not torch.cuda.is_available():
        yield
        return
    products, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=not exact if tuned is None else tuned, allow_tf32=not exact
    ):
        products.allow_tf32 = not exact
        try:
            yield
        finally:
            products.allow_tf32 = before


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Queue CUDA work beside the default stream, after what is queued there and before what follows.

    A graph can only be recorded there, and what it records must have been made there.
    """
    if device.type != "cuda":
        yield
        return
    outer, own = torch.cuda.current_stream(device), _stream(device)
    own.wait_stream(outer)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        outer.wait_stream(own)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def fits(device: str, size: int) -> bool:
    """Return whether ``size`` bytes are at most half of what is free on the CUDA device."""
    return 2 * size <= torch.cuda.mem_get_info(device)[0]


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return ``tensor`` of the CPU on ``device``; to CUDA by way of pinned memory, without waiting for the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def synchronize(device: torch.device) -> None:
    """Wait for everything queued on ``device``."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
