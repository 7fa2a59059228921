"""Residual networks in stages: ResNet (He et al. 2016), ResNeXt (Xie et al. 2017) and ConvNeXt (Liu et al. 2022).

Each stage chooses its block, so that early basic blocks and late ConvNeXt blocks can stand in one network.
"""

from functools import cached_property

from search_spaces.architecture import Architecture, spaces
from search_spaces.graph import Graph, Node
from search_spaces.listing import listing
from search_spaces.space import Choice, Configuration, Float, Int, Space
from search_spaces.spaces.stem import most_stages, stem_halvings

# multiples of 16, so that bottlenecks of a quarter split into four groups
WIDTHS = ((16, 32, 48, 64), (32, 48, 64, 96, 128), (48, 64, 96, 128, 192, 256), (64, 96, 128, 192, 256, 384))


@spaces.register("residual")
class ResidualNet(Architecture):
    """A convolutional stem, one to four stages of one to four residual blocks, global average pooling."""

    @cached_property
    def space(self) -> Space:
        """Per stage block, depth, width, kernel or groups; activation, stochastic depth, dropout."""
        most = most_stages(min(self.shape[1:]))
        least = max(1, most - 1)
        stages = {f"s{stage}": self._stage(stage) for stage in range(1, most + 1)}
        counts = {
            f"n{n}": Space(**{name: stages[name] for name in list(stages)[:n]})  # type: ignore[arg-type]
            for n in range(least, most + 1)
        }
        return Space(
            stages=Choice(counts, ordered=True, shared=True, default=f"n{min(most, 3)}"),
            activation=Choice(("relu", "silu", "gelu")),
            dropout=Float(0.0, 0.5, default=0.1),
            drop=Float(0.0, 0.3, default=0.0),
        )

    def _stage(self, stage: int) -> Space:
        small = min(self.shape[1:]) < 16
        kernel = Choice((3, 5, 7), ordered=True, default=5 if not small else 3)
        return Space(
            block=Choice(
                {
                    "residual": Space(kernel=Choice((3, 5), ordered=True, default=3)),
                    "bottleneck": Space(groups=Choice((1, 2, 4), ordered=True, default=1)),
                    "convnext": Space(kernel=kernel, expansion=Choice((2, 3, 4), ordered=True, default=3)),
                }
            ),
            depth=Int(1, 4, default=1 if stage == 1 else 2),
            filters=Choice(WIDTHS[stage - 1], ordered=True, default=WIDTHS[stage - 1][1]),
        )

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        count, act = int(str(config["stages"])[1:]), config["activation"]
        nodes = [Node.make("image", "input")]
        filters = config["stages.s1.filters"]
        halvings = stem_halvings(min(self.shape[1:]))
        for number in range(max(halvings, 1)):
            stem = {"filters": filters, "stride": 2 if halvings else 1, "activation": act}
            nodes.append(Node.make(f"stem{number + 1}", "conv", [nodes[-1].name], **stem))
        for stage in range(1, count + 1):
            own = config.part(f"stages.s{stage}")
            nodes += _stage_nodes(stage, own, nodes[-1].name, act, config["drop"])
        nodes.append(Node.make("pool", "global-pool", [nodes[-1].name]))
        if config["dropout"]:
            nodes.append(Node.make("dropout", "dropout", ["pool"], rate=config["dropout"]))
        nodes.append(Node.make("classifier", "linear", [nodes[-1].name], units=self.classes))
        return Graph(tuple(nodes), "classifier")


def _stage_nodes(stage: int, own: Configuration, source: str, act: object, drop: object) -> list[Node]:
    """Return the blocks of a stage; from the second stage on the first halves the side, or a downsampling before it."""
    block, nodes = str(own["block"]), list[Node]()
    attrs = {**own.part(f"block.{block}"), "activation": act, "drop": drop}
    if "expansion" in attrs:
        attrs["expansion"] = float(attrs["expansion"])  # type: ignore[arg-type]
    if block == "convnext":
        size = 2 if stage > 1 else 1
        nodes.append(Node.make(f"down{stage}", "downsample", [source], filters=own["filters"], size=size))
        source = nodes[-1].name
    for number in range(1, int(own["depth"]) + 1):  # type: ignore[arg-type]
        name = f"stage{stage}_block{number}"
        if block != "convnext":
            attrs |= {"filters": own["filters"], "stride": 2 if stage > 1 and number == 1 else 1}
        nodes.append(Node.make(name, block, [source], **attrs))  # type: ignore[arg-type]
        source = name
    return nodes


if __name__ == "__main__":
    print(listing(ResidualNet))
