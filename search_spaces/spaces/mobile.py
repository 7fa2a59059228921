"""Inverted residuals in stages: the family of MobileNetV3 and Once-for-All (Cai et al. 2020, section 3).

Every block has its own kernel and expansion, every stage its depth, and one multiplier the width, as in the paper.
Squeeze-and-excitation is searched per stage. Stages and widths follow the side, so that small images keep pixels.
"""

from functools import cached_property

from search_spaces.architecture import Architecture, spaces
from search_spaces.graph import Graph, Node
from search_spaces.listing import listing
from search_spaces.ops.inverted_residual import divisible
from search_spaces.space import Choice, Configuration, Float, Space
from search_spaces.spaces.stem import most_stages, stem_halvings

WIDTHS = (24, 40, 80, 112, 160)  # output channels of the stages (MobileNetV3-Large, table 1)
DEPTHS = ("d2", "d3", "d4")


@spaces.register("mobile")
class Mobile(Architecture):
    """Stem, a first block without expansion, stages of 2 to 4 inverted residuals, a pointwise head."""

    @cached_property
    def space(self) -> Space:
        """Width, activation, drop rates, head; per stage squeeze and depth; per block kernel and expansion."""
        stages = {f"s{stage + 1}": self._stage() for stage in range(self._stages)}
        return Space(
            width=Choice((0.35, 0.5, 0.75, 1.0, 1.25), ordered=True, default=0.5),
            activation=Choice(("relu", "hardswish", "silu")),
            head=Choice((2, 4, 6), ordered=True, default=4),
            dropout=Float(0.0, 0.5, default=0.1),
            drop=Float(0.0, 0.2, default=0.0),
            **stages,  # type: ignore[arg-type]
        )

    @property
    def _stages(self) -> int:
        """One stage of full side, then one per halving, the last of the full five with the side of the one before."""
        return most_stages(min(self.shape[1:])) + (1 if min(self.shape[1:]) >= 32 else 0)

    def _stage(self) -> Space:
        block = Space(
            kernel=Choice((3, 5, 7), ordered=True, default=3),
            expansion=Choice((3, 4, 6), ordered=True, default=3),
        )
        blocks = {f"b{number}": block for number in range(1, 5)}
        depth = {name: Space(**dict(list(blocks.items())[: int(name[1:])])) for name in DEPTHS}  # type: ignore[arg-type]
        return Space(
            squeeze=Choice((False, True)),
            depth=Choice(depth, ordered=True, shared=True, default="d2"),
        )

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        act, width = config["activation"], float(config["width"])  # type: ignore[arg-type]
        nodes = [Node.make("image", "input")]
        halvings = stem_halvings(min(self.shape[1:]))
        for number in range(max(halvings, 1)):
            stem = {"filters": divisible(16 * width), "stride": 2 if halvings else 1, "activation": act}
            nodes.append(Node.make(f"stem{number + 1}", "conv", [nodes[-1].name], **stem))
        plain = {"filters": divisible(16 * width), "expansion": 1.0, "activation": act}
        nodes.append(Node.make("first", "inverted-residual", [nodes[-1].name], **plain))
        filters = 0
        for number in range(1, self._stages + 1):
            filters = divisible(WIDTHS[number - 1] * width)
            stride = 1 if number in (1, most_stages(min(self.shape[1:])) + 1) else 2
            own = config.part(f"s{number}")
            nodes += self._blocks(number, own, nodes[-1].name, filters, stride, act, config["drop"])
        wide = {"filters": divisible(filters * float(config["head"])), "kernel": 1, "activation": act}  # type: ignore[arg-type]
        nodes.append(Node.make("head", "conv", [nodes[-1].name], **wide))
        nodes.append(Node.make("pool", "global-pool", ["head"]))
        if config["dropout"]:
            nodes.append(Node.make("dropout", "dropout", ["pool"], rate=config["dropout"]))
        nodes.append(Node.make("classifier", "linear", [nodes[-1].name], units=self.classes))
        return Graph(tuple(nodes), "classifier")

    def _blocks(
        self,
        stage: int,
        own: Configuration,
        source: str,
        filters: int,
        stride: int,
        act: object,
        drop: object,
    ) -> list[Node]:
        nodes: list[Node] = []
        for number in range(1, int(str(own["depth"])[1:]) + 1):
            attrs = {
                "filters": filters,
                "kernel": own[f"depth.b{number}.kernel"],
                "expansion": float(own[f"depth.b{number}.expansion"]),  # type: ignore[arg-type]
                "stride": stride if number == 1 else 1,
                "squeeze": own["squeeze"],
                "activation": act,
                "drop": drop if number > 1 else 0.0,
            }
            nodes.append(Node.make(f"stage{stage}_block{number}", "inverted-residual", [source], **attrs))  # type: ignore[arg-type]
            source = nodes[-1].name
        return nodes


if __name__ == "__main__":
    print(listing(Mobile))
