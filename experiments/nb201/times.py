"""Processor time per call of what a strategy does thousands of times per proposal, nothing cached."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.nb201.pairs import OPS
from nas.operators import mutate
from search_spaces.architecture import Architecture, Design, SearchSpace
from search_spaces.canonical import least
from search_spaces.describe import describe
from search_spaces.graph import Graph, Node
from search_spaces.recipe import recipe_space
from search_spaces.space import Configuration
from search_spaces.spaces.cell import Cell
from search_spaces.spaces.chain import Chain

SHAPE = (3, 32, 32)
CALLS, REPEATS = 100, 5


def microseconds(call: Callable[[Any], object], make: Callable[[], Sequence[Any]]) -> float:
    """Return microseconds of processor time per ``call`` on what ``make`` returns; the least mean of REPEATS."""
    means = []
    for _ in range(REPEATS):
        items = make()
        least.cache_clear()
        began = time.process_time()
        for item in items:
            call(item)
        means.append((time.process_time() - began) / len(items) * 1e6)
    return min(means)


def of_space(family: Architecture, seed: int) -> dict[str, float]:
    """Return microseconds of every call on ``family`` joined with its recipes, and the mean number of live nodes."""
    rng = np.random.default_rng(seed)
    joint = SearchSpace(family, recipe_space(SHAPE, 10, 50_000))
    configs: list[Configuration] = []
    while len(configs) < CALLS:
        config = joint.space.sample(rng)
        try:
            joint.decode(config)
        except ValueError:
            continue
        configs.append(config)
    parts = [config.part("architecture") for config in configs]

    def graphs() -> list[Graph]:
        return [family.decode(part, SHAPE) for part in parts]

    def designs() -> list[Design]:
        return [
            Design(config, part, SHAPE, 10, graph)
            for config, part, graph in zip(configs, parts, graphs(), strict=True)
        ]

    return {
        "live nodes": float(np.mean([len(graph.simplified().nodes) for graph in graphs()])),
        "sample": microseconds(lambda _: joint.space.sample(rng), lambda: configs),
        "mutate": microseconds(lambda config: mutate(joint.space, config, rng), lambda: configs),
        "decode": microseconds(lambda part: family.decode(part, SHAPE), lambda: parts),
        "key": microseconds(lambda graph: graph.key(), graphs),
        "describe": microseconds(lambda graph: describe(graph, 1, 1), graphs),
        "parameters and MACs": microseconds(lambda design: design.measure(), designs),
    }


def of_twenty_nodes(seed: int) -> float:
    """Return microseconds of the key of a random graph of 20 live nodes that read up to three each."""
    rng = random.Random(seed)

    def twenty() -> Graph:
        while True:
            nodes = [Node.make("n0", "input")]
            for i in range(1, 28):
                op = rng.choice(OPS)
                count = rng.randint(1, 3) if op in ("sum", "concat") else 1
                inputs = [rng.choice(nodes[-6:]).name for _ in range(count)]
                nodes.append(Node.make(f"n{i}", op, inputs, **({"filters": 8} if op == "conv" else {})))
            graph = Graph(tuple(nodes), nodes[-1].name)
            if len(graph.simplified().nodes) == 20:
                return Graph(tuple(Node(n.name, n.op, n.inputs, n.attrs) for n in nodes), nodes[-1].name)

    return microseconds(lambda graph: graph.key(), lambda: [twenty() for _ in range(CALLS)])


def families() -> dict[str, Architecture]:
    """Return the spaces that are timed."""
    return {"chain": Chain(SHAPE, 10), "cell": Cell(SHAPE, 10)}
