"""Of every op: a candidate of shared weights is its own network, and what it does not use does not move."""

from typing import Any

import pytest
import torch
from test_ops import NODES
from test_sharing import OWN, SHAPE, moved_by, same_as_cut_out, snapshot, used_by

from estimators.sharing.candidate import Candidate
from estimators.sharing.training import SharedTraining
from estimators.sharing.weights import SharedWeights
from search_spaces.architecture import Architecture, SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.graph import Graph, Node
from search_spaces.op import op_of, ops
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.space import Choice, Space

# attributes that say how large an op is, small and large; the 16 tokens are an image of 4 by 4 again
SIZES = {
    "filters": (8, 16),
    "units": (5, 9),
    "kernel": (3, 5),
    "grid": (1, 2),
    "ratio": (1.0, 2.0),
    "reduced": (2, 4),
    "height": (4, 4),
    "width": (4, 4),
}


class Around(Architecture):
    """A space around one op: before it a narrow or a wide convolution, its own attributes small or large."""

    def __init__(self, op: str) -> None:
        super().__init__(SHAPE, 4)
        self.op = op

    @property
    def space(self) -> Space:
        return Space(width=Choice((8, 16), ordered=True), size=Choice((0, 1), ordered=True))

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        width, size = int(config["width"]), int(config["size"])
        nodes = [Node.make("image", "input")]

        def put(op: str, *inputs: str, **attrs: Any) -> str:
            nodes.append(Node.make(f"n{len(nodes)}", op, inputs, **attrs))
            return nodes[-1].name

        attrs, shapes = NODES[self.op]
        last = put("adaptive-pool", put("conv", "image", filters=width, kernel=3), grid=4)
        if len(shapes[0]) == 1:
            last = put("global-pool", last)
        elif len(shapes[0]) == 2:
            last = put("to-tokens", last)
        if self.op == "attend":
            last = put("linear", last, units=3 * width)
        others = [put("adaptive-pool", last, grid=1 if side == 1 else 4) for _, side, _ in shapes[1:]]
        ends = {name: both[size] for name, both in SIZES.items() if name in attrs}
        last = put(self.op, last, *others, **{**attrs, **ends})
        after = op_of(Node.make("op", self.op, [str(place) for place in range(len(shapes))], **attrs)).shape(
            *shapes
        )
        if len(after) > 1:
            last = put("global-pool" if len(after) == 3 else "mean-tokens", last)
        out = put("linear", last, units=self.classes)
        return Graph(tuple(nodes), out)


# of "none" nothing comes out that weights work on
@pytest.mark.parametrize("op", [name for name in ops.names() if name not in ("input", "none")])
def test_of_every_op_views_are_what_is_cut_out_and_nothing_else_moves(op):
    space, shared = SearchSpace(Around(op), recipe_space(SHAPE, 4, 1000)), SharedWeights()
    designs = [
        space.decode(space.space.default({"architecture.width": width, "architecture.size": size}))
        for width in (8, 16)
        for size in (0, 1)
    ]
    smallest, *_, largest = designs
    for design in designs:
        Candidate(design, shared)
    recipe = Recipe.parse(space.space.default({"recipe.optimizer": "adamw"}).part("recipe"))
    training, generator = SharedTraining(shared, recipe, OWN), torch.Generator().manual_seed(0)
    for design in (largest, smallest, smallest):  # the largest gives all elements moments
        assert moved_by(training, [design], generator) > 0
    left = used_by([smallest], shared)
    assert any(
        (~left[name]).any() for name in left if name in snapshot(training)
    )  # there was something to leave alone
    for design in designs:
        same_as_cut_out(design, shared)
    for cut in Candidate(largest, shared).cuts:  # it is its own module: it uses the tensors whole
        assert cut.stored == tuple(shared.tensors[cut.name].shape), cut
