"""Designs drawn from a space one at a time, with what is known of each before training.

Draw i of seed s is the same configuration wherever it is asked for.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod

import numpy as np
import torch

from estimators.cost.memory import predict_memory
from estimators.device import compute_dtype, find_device
from search_spaces.architecture import Design, SearchSpace
from search_spaces.block import walk
from search_spaces.graph import Node
from search_spaces.op import Shape
from search_spaces.recipe import Recipe
from search_spaces.space import Configuration

DRAWS = 21  # purpose of counted randomness


@dataclass(frozen=True)
class Draw:
    """A valid draw with its free metrics, the predicted memory among them."""

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
        return Draw(number, design, measured(search_space, config))
    except ValueError as error:
        return str(error)


def generator(seed: int, purpose: int, number: int) -> np.random.Generator:
    """Return the generator that depends on these three and on nothing else."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 0, 0, purpose)))


def network_key(design: Design) -> str:
    """Return what is equal for designs with one network on images of one shape, whatever their recipes."""
    return f"{design.shape} {replace(design, recipe=Configuration({})).key}"


@dataclass(frozen=True)
class Known(Mapping[str, float]):
    """The free metrics of a design, and ``memory``: the predicted peak of training it, worked out when it is asked for.

    Most draws that break a bound on parameters need not have their memory predicted.
    """

    design: Design
    dtype: torch.dtype
    device: str

    @cached_property
    def _memory(self) -> float:
        return predict_memory(self.design, dtype=self.dtype, device=self.device).total

    @cached_property
    def _free(self) -> Mapping[str, float]:
        return self.design.measure()

    def __getitem__(self, name: str) -> float:
        return self._memory if name == "memory" else self._free[name]

    def __contains__(self, name: object) -> bool:
        return name == "memory" or name in self._free

    def __iter__(self) -> Iterator[str]:
        return iter((*self._free, "memory"))

    def __len__(self) -> int:
        return len(self._free) + 1


def measured(
    search_space: SearchSpace,
    config: Configuration,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Known:
    """Return the free metrics of the design of ``config``, and ``memory`` as predicted for ``dtype``.

    A ``ValueError`` says that it describes no network.
    """
    known = Known(search_space.decode(config), dtype, device)
    assert known["params"] >= 0  # what cannot be built is said here
    return known


def known_of(
    search_space: SearchSpace, precision: str, device: str
) -> Callable[[Configuration], Mapping[str, float]]:
    """Return ``measured`` as a function of the configuration alone, for a search in ``precision`` on ``device``."""
    where = find_device(device)
    return partial(measured, search_space, dtype=compute_dtype(precision, where), device=where.type)


def features(search_space: SearchSpace, config: Configuration) -> dict[str, float]:
    """Return the features of the network of ``config``, and the log of the values that its layers put out for a batch.

    The latter stands for the memory of a training, for a surrogate that looks at thousands of candidates.
    """
    design = search_space.decode(config)
    outputs = Recipe.parse(design.recipe).batch_size * (prod(design.shape) + design.outputs)
    return {**search_space.features(config), "values of a batch": math.log(outputs)}


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
