"""Designs drawn from a space one at a time, with what is known of each before training.

Draw i of seed s is the same configuration wherever it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from search_spaces.architecture import Design, SearchSpace
from search_spaces.block import walk
from search_spaces.graph import Node
from search_spaces.op import Shape
from search_spaces.recipe import Recipe
from search_spaces.space import Configuration

DRAWS = 21  # purpose of counted randomness
MOMENTS = {"sgd": 1, "rmsprop": 1}  # values an optimizer keeps for each weight; the family of Adam keeps 2


@dataclass(frozen=True)
class Draw:
    """A valid draw with its free metrics, the memory estimate among them."""

    number: int
    design: Design
    metrics: Mapping[str, float]

    @cached_property
    def network(self) -> str:
        """Equal for draws with one network."""
        return network_key(self.design)


@dataclass(frozen=True)
class Row:
    """A node of a network: its op with attributes, the shape of its output, parameters, MACs for one image."""

    node: str
    op: str
    shape: Shape
    parameters: int
    macs: int


def draw(search_space: SearchSpace, number: int, seed: int) -> Draw | str:
    """Return draw ``number`` of ``seed``, or why it describes no network."""
    config = search_space.space.sample(generator(seed, DRAWS, number))
    try:
        design = search_space.decode(config)
        return Draw(number, design, measured(design))
    except ValueError as error:
        return str(error)


def generator(seed: int, purpose: int, number: int) -> np.random.Generator:
    """Return the generator that depends on these three and on nothing else."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 0, 0, purpose)))


def network_key(design: Design) -> str:
    """Return what is equal for designs with one network on images of one shape, whatever their recipes."""
    return f"{design.shape} {replace(design, recipe=Configuration({})).key}"


def measured(design: Design) -> dict[str, float]:
    """Return the free metrics and ``memory``, an estimate of the bytes that a training step holds at its peak."""
    return {**design.measure(), "memory": training_memory(design)}


def training_memory(design: Design) -> float:
    """Return 4 bytes for each output of a layer in a batch, and for each weight, gradient, moment and average.

    An estimate: gradients of outputs and the scratch space of kernels are not in it. What autograd saves for a
    batch was 0.65 to 1.06 of the outputs counted here, on 24 networks of the chain space (float32).
    """
    recipe = Recipe.parse(design.recipe)
    copies = 2 + MOMENTS.get(recipe.optimizer, 2) + bool(recipe.ema)
    return 4.0 * (recipe.batch_size * (prod(design.shape) + design.outputs) + copies * design.parameters)


def rows(design: Design) -> list[Row]:
    """Return the nodes of the simplified network in order, the input left out; of an opaque one, its name alone."""
    if design.graph is None:
        name = " ".join(f"{path} {value}" for path, value in design.config.part("architecture").items())
        return [Row("network", name, (design.classes,), design.parameters, design.macs)]
    return [
        Row(node.name, _text(node), shape, op.parameters(*inputs), op.macs(*inputs))
        for node, op, inputs, shape in walk(design.graph.simplified(), design.shape)
    ]


def _text(node: Node) -> str:
    attrs = (
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in node.attrs
    )
    return f"{node.op} {', '.join(attrs)}".strip()
