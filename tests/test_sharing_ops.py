"""Of every op: a candidate of shared weights is its own network, and what it does not use does not move."""

from typing import Any

import pytest
import torch
from test_ops import NODES
from test_sharing import OWN, SHAPE, snapshot, used_by

from estimators.mix import Labels
from estimators.sharing.candidate import Candidate
from estimators.sharing.training import SharedTraining
from estimators.sharing.weights import SharedWeights
from search_spaces.architecture import Architecture, SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.graph import Graph, Node
from search_spaces.op import ops
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.space import Choice, Space

# attributes that say how large an op is, small and large
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
        attrs, shapes = NODES[self.op]
        own = {**attrs, **{name: ends[size] for name, ends in SIZES.items() if name in attrs}}
        nodes = [Node.make("image", "input"), Node.make("conv", "conv", ["image"], filters=width, kernel=3)]

        def then(name: str, op: str, *others: str, **more: Any) -> None:
            nodes.append(Node.make(name, op, [nodes[-1].name, *others], **more))

        then("small", "adaptive-pool", grid=4)
        if len(shapes[0]) == 1:
            then("pool", "global-pool")
        elif len(shapes[0]) == 2:
            then("tokens", "to-tokens")
            if self.op == "attend":
                then("qkv", "linear", units=3 * width)
        others = []
        if len(shapes) > 1:
            gate = {"op": "adaptive-pool", "grid": 1} if shapes[1][1] == 1 else {"op": "norm"}
            nodes.insert(-1, Node.make("other", gate.pop("op"), ["conv"], **gate))
            if shapes[1][1] != 1:
                nodes.insert(-1, Node.make("less", "adaptive-pool", ["other"], grid=4))
            others = ["other" if shapes[1][1] == 1 else "less"]
        then("op", self.op, *others, **own)
        if self.op in ("to-image",) or (
            len(shapes[0]) == 3 and self.op not in ("flatten", "global-pool", "to-tokens")
        ):
            then("end", "global-pool")
        elif self.op == "to-tokens" or (len(shapes[0]) == 2 and self.op != "mean-tokens"):
            then("end", "mean-tokens")
        then("out", "linear", units=self.classes)
        return Graph(tuple(nodes), "out")


@pytest.mark.parametrize(
    "op", [name for name in ops.names() if name not in ("input", "none")]
)  # no weights do work
def test_of_every_op_views_are_what_is_cut_out_and_nothing_else_moves(op):
    space = SearchSpace(Around(op), recipe_space(SHAPE, 4, 1000))
    shared = SharedWeights()
    ends = [
        space.decode(space.space.default({"architecture.width": width, "architecture.size": size}))
        for width in (8, 16)
        for size in (0, 1)
    ]
    for design in ends:
        Candidate(design, shared)
    recipe = Recipe.parse(space.space.default({"recipe.optimizer": "adamw"}).part("recipe"))
    training = SharedTraining(shared, recipe, OWN)
    x, y = torch.randn(6, *SHAPE), torch.randint(4, (6,))
    for design in (ends[-1], ends[0], ends[0]):  # the largest gives all elements moments
        before, used = snapshot(training), used_by([design], shared)
        training.step(x, Labels(y), 1.0, [design])
        for name, tensor in snapshot(training).items():
            if name in before:
                outside = ~used.get(name.split("|")[0], torch.zeros_like(tensor, dtype=torch.bool))
                assert not ((tensor != before[name]) & outside).any(), name
    for design in ends:
        candidate = Candidate(design, shared)
        parameters = candidate.parameters()
        candidate.recalibrate([x], parameters)
        own = design.network(0)
        own.load_state_dict(candidate.cut_out())
        with torch.no_grad():
            torch.testing.assert_close(candidate.forward(x, parameters), own.eval()(x), rtol=1e-5, atol=1e-5)
    # the largest is its own module: it uses all there is of the tensors that are its own
    largest = Candidate(ends[-1], shared)
    for cut in largest.cuts:
        assert cut.stored == tuple(shared.tensors[cut.name].shape), cut
