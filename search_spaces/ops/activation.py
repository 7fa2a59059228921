"""Activations by name, as layers of their own or at the end of a block."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.registry import nearest

KINDS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "LeakyReLU",
    "silu": "SiLU",
    "gelu": "GELU",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "mish": "Mish",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}


def activation_layers(name: str) -> tuple[Layer, ...]:
    """Return the layer of the activation ``name``; none for ``"none"``."""
    if name == "none":
        return ()
    if name not in KINDS:
        raise ValueError(f"no activation {name!r}; {nearest(name, [*KINDS, 'none'])}")
    return (Layer.make(KINDS[name]),)


@ops.register("activation")
@dataclass(frozen=True)
class Activation(Op):
    """A nonlinearity of one ``kind``."""

    kind: str = "relu"

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return activation_layers(self.kind)
