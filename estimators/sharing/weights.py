"""A dictionary of the largest tensors, of which every candidate's parameters are cuts.

A parameter is the leading slice of its tensor's channels and the centre of its kernel (Cai et al. 2020, section 3.2).
With ``kernels="transform"`` a smaller kernel is the centre of the next larger one times a matrix of its own place,
which begins as the identity (the same section); with "apart" each size of a kernel has tensors of its own.

Tensors grow when a candidate is met that needs more of them; what is added depends on the seed, the tensor's name and
its new size. A score is given on borrowed tensors, whose growth stays with the one who borrowed them.

Notation
    box     (start, stop) along each axis of a stored tensor: what a candidate uses of it
    stored  a tensor in the dictionary; of a parameter of several parts it is (parts, F, ...) for (parts * F, ...)
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from estimators.device import MEMORY_FORMAT
from search_spaces.network import initialise
from search_spaces.op import Layer
from search_spaces.placement import Place
from search_spaces.registry import nearest

KERNELS = ("centre", "transform", "apart")
Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cut:
    """How a candidate's ``parameter`` of ``shape`` comes from the stored tensor ``name``.

    ``transforms`` are the names of the matrices of the kernel sizes below the stored one, largest first.
    """

    parameter: str
    name: str
    shape: tuple[int, ...]
    parts: int = 1
    transforms: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape of what is used, as it is stored."""
        return (self.parts, self.shape[0] // self.parts, *self.shape[1:]) if self.parts > 1 else self.shape

    def box(self, size: Sequence[int]) -> Box:
        """Return what is used of a stored tensor of ``size``; with transforms, what the first of them reads."""
        used = self.stored
        if self.transforms:
            used = (*used[:2], size[2] - 2, size[3] - 2)
        return placed_in(used, size)

    def of(self, used: Tensor, matrices: Mapping[str, Tensor]) -> Tensor:
        """Return the parameter: ``used`` is the stored tensor's box, ``matrices`` are the transforms."""
        for name in self.transforms:
            matrix = matrices[name]
            side = int(len(matrix) ** 0.5)
            margin = (used.shape[2] - side) // 2
            used = used[:, :, margin : margin + side, margin : margin + side]
            used = (used.flatten(2) @ matrix).reshape(*used.shape[:2], side, side)
        return used.reshape(self.shape) if self.parts > 1 else used


class SharedWeights:
    """The stored tensors by name, on ``device``; ``kernels`` is one of ``KERNELS``."""

    def __init__(self, *, seed: int = 0, kernels: str = "centre", device: torch.device | str = "cpu") -> None:
        if kernels not in KERNELS:
            raise ValueError(f"kernels={kernels!r} is not known; {nearest(kernels, list(KERNELS))}")
        self.seed, self.kernels, self.device = seed, kernels, torch.device(device)
        self.tensors: dict[str, Tensor] = {}
        self.version = 0  # how often a tensor has come to be, or grown

    def borrowed(self) -> "SharedWeights":
        """Return the same tensors in a dictionary of its own: where they grow there, these stay as they are."""
        other = SharedWeights(seed=self.seed, kernels=self.kernels, device=self.device)
        other.tensors = dict(self.tensors)
        return other

    def cuts(self, place: Place) -> list[Cut]:
        """Return the cuts of the parameters at ``place``; what is too small for them grows first."""
        kernels = place.kernels or self.kernels
        assert kernels in KERNELS, place
        name, found = place.name, list[Cut]()
        square = _cropped(place.layer)
        if square and kernels == "apart":
            name = f"{name}({square})"
        for own, shape in parameter_shapes(place.layer):
            cut = Cut(f"{place.module}.{own}", f"{name}.{own}", shape, place.parts)
            self._hold(cut, place.layer, own)
            if square and own == "weight" and kernels == "transform":
                sizes = range(self.tensors[cut.name].shape[2] - 2, square - 1, -2)
                cut = Cut(cut.parameter, cut.name, shape, 1, tuple(f"{name}.to{size}" for size in sizes))
                for size, matrix in zip(sizes, cut.transforms, strict=True):
                    if matrix not in self.tensors:
                        self.tensors[matrix] = torch.eye(size * size, device=self.device)
            found.append(cut)
        return found

    def box(self, cut: Cut) -> Box:
        """Return what ``cut`` uses of its stored tensor."""
        return cut.box(self.tensors[cut.name].shape)

    def take(self, cut: Cut) -> Tensor:
        """Return the parameter of ``cut``: a view wherever it can be one."""
        used = inside(self.tensors[cut.name], self.box(cut))
        return cut.of(used, self.tensors)

    def _hold(self, cut: Cut, layer: Layer, own: str) -> None:
        """Let the stored tensor of ``cut`` be large enough: what it held stays, at the place it has in the new one."""
        before = self.tensors.get(cut.name)
        if before is not None and all(
            have >= need for have, need in zip(before.shape, cut.stored, strict=True)
        ):
            return
        size = cut.stored
        if before is not None:
            size = tuple(max(pair) for pair in zip(before.shape, cut.stored, strict=True))
        fresh = initial(layer, own, size, cut.parts, _entropy(self.seed, cut.name)).to(self.device)
        self.tensors[cut.name] = fresh if before is None else grown(before, fresh)
        self.version += 1


def laid_out(parameter: Tensor) -> Tensor:
    """Return ``parameter`` as its own network would hold it: a copy of kernels, as their views compute slowly."""
    return parameter.contiguous(memory_format=MEMORY_FORMAT) if parameter.ndim == 4 else parameter


def inside(tensor: Tensor, box: Box) -> Tensor:
    """Return the view of ``tensor`` in ``box``."""
    if all(start == 0 and stop == size for (start, stop), size in zip(box, tensor.shape, strict=True)):
        return tensor
    return tensor[tuple(slice(start, stop) for start, stop in box)]


def placed_in(shape: Sequence[int], size: Sequence[int]) -> Box:
    """Return where a tensor of ``shape`` lies in one of ``size``: kernels (axes 2 and 3 of four) in the middle."""
    starts = [(size[at] - own) // 2 if len(size) == 4 and at > 1 else 0 for at, own in enumerate(shape)]
    return tuple((start, start + own) for start, own in zip(starts, shape, strict=True))


def grown(before: Tensor, into: Tensor) -> Tensor:
    """Return ``into``, a larger tensor, with ``before`` at its place."""
    inside(into, placed_in(before.shape, into.shape)).copy_(before)
    return into


@lru_cache(maxsize=1 << 14)
def parameter_shapes(layer: Layer) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return name and shape of each parameter of ``layer``."""
    with torch.device("meta"):
        return tuple((name, tuple(one.shape)) for name, one in layer.build().named_parameters())


def initial(layer: Layer, own: str, size: Sequence[int], parts: int, seed: int) -> Tensor:
    """Return the parameter ``own`` of ``layer``, stored at ``size``, as a network of that width would begin with it."""
    with torch.device("meta"):
        module = layer.build()
    shape = (size[0] * size[1], *size[2:]) if parts > 1 else tuple(size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # that of a GPU stays as it was
        for name, parameter in list(module.named_parameters()):
            fits = shape if name == own or parameter.ndim > 1 else tuple(parameter.shape)
            if name != own and parameter.ndim > 1:  # a bias is drawn by the fan-in of its weight
                fits = (shape[0], *parameter.shape[1:])
            module.register_parameter(name, nn.Parameter(torch.empty(fits)))
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False  # its statistics are the candidates' own
        module.reset_parameters()  # type: ignore[operator]
        initialise(module)
    found: Tensor = module.get_parameter(own).detach()
    return found.reshape(tuple(size))


def _cropped(layer: Layer) -> int:
    """Return the side of a kernel that larger ones may hold in their centre, or 0."""
    options = dict(layer.options)
    if layer.kind != "Conv2d" or options.get("stride", 1) == layer.arguments[2] > 1:
        return 0
    kernel = int(layer.arguments[2])
    return kernel if kernel % 2 else 0


def _entropy(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")
