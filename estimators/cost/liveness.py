"""What an op or a whole network holds while it runs forward and backward, found by running it on a few images.

The tensors that autograd keeps are told by its own hooks, those that come and go by watching every call (storages
that two tensors share count once). What a kernel takes inside a call is not seen. Nothing is assumed about an op: a new
one, or a network that a user builds, is measured in the same way.

Notation
    n       images in a batch
    affine  bytes as (fixed, each): fixed + each * n; fixed are copies and gradients of weights
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from estimators.device import MEMORY_FORMAT
from search_spaces.op import Op, Shape

FEW = 2  # images: batch norm takes no fewer
Affine = tuple[float, float]


@dataclass(frozen=True)
class Held:
    """What one op holds for the way back, and the most it needs on either way beside that and its inputs.

    ``inputs`` and ``output`` say which of these autograd keeps, ``inside`` what else; ``alias`` is the input that the
    output shares its memory with. ``ahead`` and ``back`` are peaks: ``ahead`` counts ``inside`` and the output,
    ``back`` the gradients of inputs and weights, of which ``passed`` share the memory of the output's gradient.
    ``size`` is the output for one image, in ``dtype``.
    """

    inputs: tuple[bool, ...]
    output: bool
    alias: int | None
    inside: Affine
    ahead: Affine
    back: Affine
    size: float
    passed: tuple[bool, ...]
    dtype: torch.dtype


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that were made under it and still live: ``now``, and their ``peak``."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: dict[int, Any] = {address(tensor): None for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return out

    def forget(self, tensor: Tensor) -> None:
        """Take ``tensor``, made just now, as one that was there before."""
        self._free(address(tensor), tensor.untyped_storage().nbytes(), None)
        self._seen[address(tensor)] = None
        self.peak = self.now

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        at = storage._cdata
        if at in self._seen:
            return
        size = storage.nbytes()
        self._seen[at] = weakref.ref(storage, partial(self._free, at, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _free(self, at: int, size: int, reference: Any) -> None:
        self._seen.pop(at, None)
        self.now -= size


def address(tensor: Tensor) -> int:
    """Return what is equal for tensors that share memory."""
    return int(tensor.untyped_storage()._cdata)


@lru_cache(maxsize=1 << 14)
def held_by(op: Op, shapes: tuple[Shape, ...], dtypes: tuple[torch.dtype, ...], dtype: torch.dtype) -> Held:
    """Return what ``op`` holds on inputs of ``shapes`` and ``dtypes`` when the forward pass runs in ``dtype``.

    Takes 1 to 2 ms the first time (one core of an AMD EPYC, torch 2.13); a search meets the same
    op on the same input again and again.
    """
    with torch.random.fork_rng(devices=[]):
        module = op.build(*shapes) if op.layers(*shapes) else None
        return held(module, partial(op.forward, module), shapes, dtypes, dtype)


def held(
    module: nn.Module | None,
    forward: Callable[..., Tensor],
    shapes: Sequence[Shape],
    dtypes: Sequence[torch.dtype],
    dtype: torch.dtype,
) -> Held:
    """Return what ``forward`` of inputs of ``shapes`` (without the batch) holds; ``module`` owns its weights."""
    inputs = [_input(shape, kind) for shape, kind in zip(shapes, dtypes, strict=True)]
    weights = [] if module is None else [*module.train().parameters(), *module.buffers()]
    trained = [weight for weight in weights if weight.requires_grad]
    kept = Kept()
    with Live(*inputs, *weights) as live:
        precision = torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False)
        with precision, torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
            out = forward(*inputs)
        ahead, start, live.peak = live.peak, live.now, live.now
        passed = _backward(out, [*inputs, *trained], live)[: len(inputs)]
    places = [address(one) for one in inputs]
    cut = {tuple(sorted(weight.shape)) for weight in trained}  # a copy may be transposed
    own = {*places, *map(address, weights), address(out)}
    inside = {at: one for at, one in kept.found.items() if at not in own}
    copies = sum(size for size, shape in inside.values() if tuple(sorted(shape)) in cut)
    whole = sum(size for size, _ in inside.values())
    gradients = sum(weight.nbytes for weight in trained)
    return Held(
        inputs=tuple(at in kept.found for at in places),
        output=address(out) in kept.found,
        alias=places.index(address(out)) if address(out) in places else None,
        inside=_affine(whole, copies),
        ahead=_affine(ahead, copies),
        back=_affine(live.peak - start, gradients),
        size=out.nbytes / FEW,
        passed=passed,
        dtype=out.dtype,
    )


class Kept:
    """The storages that autograd keeps: their bytes and the shape of a tensor in each."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[int, torch.Size]] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        """Take note of ``tensor``; the tensor itself would hold the graph that holds it."""
        self.found[address(tensor)] = tensor.untyped_storage().nbytes(), tensor.shape
        return tensor.detach()

    def unpack(self, tensor: Tensor) -> Tensor:
        """Return what ``pack`` did."""
        return tensor


def _affine(size: float, fixed: float) -> Affine:
    fixed = min(fixed, size)
    return fixed, (size - fixed) / FEW


def _backward(out: Tensor, towards: list[Tensor], live: Live) -> tuple[bool, ...]:
    """Run backward; return for which of ``towards`` the gradient is that of the output, passed on."""
    if not out.requires_grad:
        return (False,) * len(towards)
    gradient = torch.ones_like(out)
    live.forget(gradient)
    found = torch.autograd.grad(out, towards, gradient, allow_unused=True)
    return tuple(one is not None and address(one) == address(gradient) for one in found)


def _input(shape: Shape, dtype: torch.dtype) -> Tensor:
    x = torch.zeros(FEW, *shape, dtype=dtype)
    x = x.contiguous(memory_format=MEMORY_FORMAT) if x.ndim == 4 else x
    return x.requires_grad_()
