"""Chains of convolutional stages with a dense head: the family most image classifiers start from.

A stage is ``depth`` blocks of one width and kernel, optionally with residual sums; the side halves between stages.
Ranges follow the image's side, so that no sample runs out of pixels. The head's dropout is part of the architecture.
"""

from functools import cached_property

from search_spaces.architecture import Architecture, spaces
from search_spaces.graph import Graph, Node
from search_spaces.listing import listing
from search_spaces.space import Choice, Configuration, Float, Int, Space
from search_spaces.spaces.stem import most_stages, stem_halvings

FILTERS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@spaces.register("chain")
class Chain(Architecture):
    """Stages of plain or separable convolution blocks, then pooling and up to two hidden layers."""

    @cached_property
    def space(self) -> Space:
        """Stages 1 to 4, each with depth, filters, kernel, block, residual; activation, downsampling, head."""
        side = min(self.shape[1:])
        most = most_stages(side)
        least = max(1, most - 2)
        stages = {f"n{n}": self._stages(n) for n in range(least, most + 1)}
        return Space(
            stages=Choice(stages, ordered=True, default=f"n{min(most, 3)}"),
            activation=Choice(("relu", "leaky_relu", "silu", "gelu", "hardswish")),
            downsample=Choice(("max-pool", "average-pool", "stride")),
            grid=Choice((1, 2), ordered=True, default=1),
            hidden=Choice(
                {
                    "h0": None,
                    "h1": Space(units1=self._units),
                    "h2": Space(units1=self._units, units2=self._units),
                },
                ordered=True,
                default="h0",
            ),
            dropout=Float(0.0, 0.5, default=0.1),
        )

    @property
    def _units(self) -> Choice:
        return Choice((32, 64, 128, 256), ordered=True, default=128)

    def _stages(self, count: int) -> Space:
        """Early stages are narrow, where pixels are many; late ones are wide."""
        stages = {}
        for stage in range(count):
            widths = FILTERS[stage + (min(self.shape[1:]) < 16) : stage + 6 + (min(self.shape[1:]) < 16)]
            stages[f"s{stage + 1}"] = Space(
                depth=Int(1, 3, default=1 if stage == 0 else 2),
                filters=Choice(widths, ordered=True, default=widths[2 if stage else 1]),
                kernel=Choice((3, 5) if stage < 2 else (3,), ordered=True, default=3),
                block=Choice(("conv", "separable")),
                residual=Choice((True, False)),
            )
        return Space(**stages)  # type: ignore[arg-type]

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        stages = config.part(f"stages.{config['stages']}")
        activation = config["activation"]
        nodes = [Node.make("image", "input")]
        channels = shape[0]
        for halving in range(stem_halvings(min(self.shape[1:]))):
            kernel = 5 if halving == 0 else 3
            nodes.append(_conv(f"stem{halving + 1}", nodes[-1].name, 16, kernel, activation, stride=2))
            channels = 16
        for number in range(1, int(str(config["stages"])[1:]) + 1):
            if number > 1 and config["downsample"] != "stride":
                nodes.append(Node.make(f"pool{number}", str(config["downsample"]), [nodes[-1].name]))
            stride = 2 if number > 1 and config["downsample"] == "stride" else 1
            nodes += _stage(number, stages.part(f"s{number}"), nodes[-1].name, channels, activation, stride)
            channels = int(stages[f"s{number}.filters"])  # type: ignore[arg-type]
        nodes += self._head(config, nodes[-1].name)
        return Graph(tuple(nodes), nodes[-1].name)

    def _head(self, config: Configuration, source: str) -> list[Node]:
        nodes = [Node.make("pool", "global-pool", [source], grid=config["grid"])]
        hidden = config.part(f"hidden.{config['hidden']}")
        for path, units in hidden.items():
            name = f"hidden{path[-1]}"
            nodes.append(
                Node.make(name, "linear", [nodes[-1].name], units=units, activation=config["activation"])
            )
        if config["dropout"]:
            nodes.append(Node.make("dropout", "dropout", [nodes[-1].name], rate=config["dropout"]))
        return [*nodes, Node.make("classifier", "linear", [nodes[-1].name], units=self.classes)]


def _conv(
    name: str, source: str, filters: object, kernel: object, activation: object, stride: int = 1
) -> Node:
    attrs = {"filters": filters, "kernel": kernel, "activation": activation, "stride": stride}
    return Node.make(name, "conv", [source], **attrs)  # type: ignore[arg-type]


def _stage(
    number: int, own: Configuration, source: str, channels: int, activation: object, stride: int
) -> list[Node]:
    """Return the blocks of a stage; a residual sum spans each block that keeps width and side."""
    nodes: list[Node] = []
    filters = int(own["filters"])  # type: ignore[arg-type]
    for block in range(1, int(own["depth"]) + 1):  # type: ignore[arg-type]
        name = f"stage{number}_block{block}"
        plain = own["block"] == "conv" or channels < 4
        step = stride if block == 1 else 1
        if plain:
            nodes.append(_conv(name, source, filters, own["kernel"], activation, step))
        else:
            attrs = {"filters": filters, "kernel": own["kernel"], "activation": activation, "stride": step}
            nodes.append(Node.make(name, "separable", [source], **attrs))  # type: ignore[arg-type]
        if own["residual"] and channels == filters and step == 1:
            nodes.append(Node.make(f"stage{number}_sum{block}", "sum", [source, name]))
        source, channels = nodes[-1].name, filters
    return nodes


if __name__ == "__main__":
    print(listing(Chain))
