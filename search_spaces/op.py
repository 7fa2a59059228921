"""What an op is: a frozen description of one node, from which shape, cost, module and source text all follow.

An op lists its torch layers once, as plain data (``Layer``). Parameters and multiply-accumulates are integer
arithmetic on that list; the module is built from it and the source text printed from it, so the three cannot differ.

Notation
    shape   (C, H, W) of images, (T, F) of tokens or (F,) of vectors; the batch is not counted
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from search_spaces.graph import RATES
from search_spaces.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from search_spaces.graph import Node

Shape = tuple[int, ...]
NORMS = ("BatchNorm2d", "GroupNorm", "LayerNorm")

ops: "Registry[type[Op]]" = Registry("op", "search_spaces.ops")


@dataclass(frozen=True)
class Layer:
    """One ``torch.nn`` module: its class name and the arguments it is called with."""

    kind: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def make(cls, kind: str, *arguments: Any, **options: Any) -> "Layer":
        """Return a layer; options that are None are left out."""
        return cls(
            kind, arguments, tuple((key, value) for key, value in options.items() if value is not None)
        )

    def build(self) -> "nn.Module":
        """Return the module."""
        from torch import nn

        module: nn.Module = getattr(nn, self.kind)(*self.arguments, **dict(self.options))
        return module

    def expression(self) -> str:
        """Return the Python expression that builds the module, with ``nn`` for ``torch.nn``."""
        options = [f"{key}={value!r}" for key, value in self.options]
        return f"nn.{self.kind}({', '.join([*map(repr, self.arguments), *options])})"

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        options: Mapping[str, Any] = dict(self.options)
        if self.kind == "Conv2d":
            inputs, outputs, kernel = self.arguments
            return int(outputs * (inputs // options.get("groups", 1) * kernel**2 + options.get("bias", True)))
        if self.kind == "Linear":
            inputs, outputs = self.arguments
            return int(outputs * (inputs + options.get("bias", True)))
        if self.kind == "Embedding":
            return prod(self.arguments)
        return 2 * int(self.arguments[-1]) if self.kind in NORMS else 0

    @property
    def buffers(self) -> int:
        """Number of float32 values kept beside the weights."""
        return 2 * int(self.arguments[0]) if self.kind == "BatchNorm2d" else 0

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of the output; a ``ValueError`` if the input is too small."""
        options = dict(self.options)
        if self.kind in ("Conv2d", "MaxPool2d", "AvgPool2d"):
            kernel = self.arguments[2] if self.kind == "Conv2d" else self.arguments[0]
            channels = self.arguments[1] if self.kind == "Conv2d" else shape[0]
            stride, padding = options.get("stride", 1), options.get("padding", 0)
            reach = options.get("dilation", 1) * (kernel - 1) + 1
            sides = tuple((side + 2 * padding - reach) // stride + 1 for side in shape[1:])
            if min(sides) < 1:
                raise ValueError(
                    f"{self.expression()} leaves nothing of an input of shape {shape}; use fewer stages"
                )
            return (channels, *sides)
        if self.kind == "AdaptiveAvgPool2d":
            return (shape[0], self.arguments[0], self.arguments[0])
        if self.kind == "Flatten":
            return (prod(shape),)
        return (*shape[:-1], self.arguments[1]) if self.kind == "Linear" else shape

    def macs(self, shape: Shape) -> int:
        """Return the multiply-accumulates of convolutions and linear maps on an input of ``shape``."""
        if self.kind == "Conv2d":
            inputs, _, kernel = self.arguments
            groups = dict(self.options).get("groups", 1)
            return prod(self.shape(shape)) * int(inputs // groups * kernel**2)
        return prod(shape[:-1]) * prod(self.arguments) if self.kind == "Linear" else 0


@dataclass(frozen=True)
class Op(ABC):
    """An op: subclasses are frozen dataclasses whose fields are the attributes of a node.

    Most ops are their ``layers``, one after the other. Others say what they do with them, or with their inputs
    alone: ``forward`` on tensors, ``call`` as text.
    """

    arity: ClassVar[tuple[int, int]] = (1, 1)  # least and most inputs
    kernels: ClassVar[str] = ""  # how kernels of several sizes share weights (estimators.sharing.weights)

    @abstractmethod
    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        """Return the layers in order, for inputs of ``shapes``."""

    def shape(self, *shapes: Shape) -> Shape:
        """Return the output's shape; a ``ValueError`` when these inputs are impossible."""
        shape = shapes[0]
        for layer in layers_of(self, shapes):
            shape = layer.shape(shape)
        return shape

    def parameters(self, *shapes: Shape) -> int:
        """Return the number of trained weights."""
        return sum(layer.parameters for layer in layers_of(self, shapes))

    def buffers(self, *shapes: Shape) -> int:
        """Return the number of float32 values kept beside the weights."""
        return sum(layer.buffers for layer in layers_of(self, shapes))

    def macs(self, *shapes: Shape) -> int:
        """Return the multiply-accumulates for one image."""
        total, shape = 0, shapes[0]
        for layer in layers_of(self, shapes):
            total += layer.macs(shape)
            shape = layer.shape(shape)
        return total

    def outputs(self, *shapes: Shape) -> int:
        """Return how many values its layers put out for one image, or the op itself, if it has no layers."""
        total, shape = 0, shapes[0]
        layers = layers_of(self, shapes)
        for layer in layers:
            shape = layer.shape(shape)
            total += prod(shape)
        return total if layers else prod(self.shape(*shapes))

    def arrangement(self, *shapes: Shape) -> str:
        """Return how the features put out are arranged, where a leading slice of more of them would be others.

        In a supernet what reads features of one arrangement shares no weights with what reads those of another.
        """
        return ""

    def build(self, *shapes: Shape) -> "nn.Module":
        """Return the torch module of the layers; only for ops that have some."""
        from torch import nn

        modules = [layer.build() for layer in layers_of(self, shapes)]
        return modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def expression(self, *shapes: Shape) -> str:
        """Return the expression that builds the same module in plain PyTorch; empty without layers."""
        layers = [layer.expression() for layer in layers_of(self, shapes)]
        if len(layers) < 2:
            return "".join(layers)
        return f"nn.Sequential({', '.join(layers)})"

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        """Apply the op to its inputs; ``module`` is what ``build`` returned, None without layers."""
        if module is None:
            return values[0]
        result: Tensor = module(*values)
        return result

    def call(self, module: str, *names: str) -> str:
        """Return ``forward`` as an expression on ``module`` (empty without layers) and the inputs ``names``."""
        return f"{module}({names[0]})" if module else names[0]


@lru_cache(maxsize=1 << 16)
def layers_of(op: Op, shapes: tuple[Shape, ...]) -> tuple[Layer, ...]:
    """Return ``op.layers(*shapes)``; a search asks for the same again and again."""
    return op.layers(*shapes)


@lru_cache(maxsize=1 << 14)
def op_of(node: "Node") -> Op:
    """Return the op that ``node`` describes; unknown names and attributes are a ``ValueError``."""
    kind = ops.get(node.op)
    known = {field.name for field in dataclasses.fields(kind)}
    for name, _ in node.attrs:
        if name not in known:
            raise ValueError(
                f"node {node.name!r}: op {node.op!r} has no attribute {name!r}; it has {sorted(known)}"
            )
    op = kind(**dict(node.attrs))
    _check_values(node, op)
    least, most = kind.arity
    if not least <= len(node.inputs) <= most:
        raise ValueError(
            f"node {node.name!r}: op {node.op!r} takes {least} to {most} inputs, not {len(node.inputs)}"
        )
    return op


def _check_values(node: "Node", op: Op) -> None:
    """Refuse counts below one (padding: below zero), rates outside [0, 1), and other numbers that are not positive."""
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if field.name in RATES:
            right, rule = 0 <= value < 1, "lie in [0, 1)"
        elif field.name == "padding":
            right, rule = value >= 0, "be 0 or more"
        else:
            right, rule = value > 0, "be above 0"
        if not right:
            raise ValueError(f"node {node.name!r}: {field.name}={value!r} of op {node.op!r} must {rule}")
