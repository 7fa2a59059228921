"""Small vision transformers, with convolutional stages before them.

Dosovitskiy et al. 2021 (ViT), with mean pooling in place of a class token (Beyer et al. 2022) and the convolutional
stem of Xiao et al. 2021: on small data sets what comes before the tokens decides more than what comes after.
"""

from functools import cached_property

from search_spaces.architecture import Architecture, spaces
from search_spaces.graph import Graph, Node
from search_spaces.listing import listing
from search_spaces.space import Choice, Configuration, Float, Int, Space

MOST_TOKENS, LEAST_SIDE = 256, 4


@spaces.register("vit")
class VisionTransformer(Architecture):
    """Convolutional stages that each halve the side, patches, positions, transformer layers, mean, linear."""

    @cached_property
    def space(self) -> Space:
        """Stem stages and filters, pixels per token, width, heads, depth, ratio, activation, positions, drop rates."""
        height, width = self.shape[1:]
        side = min(height, width)
        if side < LEAST_SIDE:
            raise ValueError(
                f"vit on images of {height}x{width} pixels: give at least {LEAST_SIDE} on each side"
            )
        stems = [n for n in range(4) if side >> n >= 4]
        patches = [1 << n for n in range(side.bit_length() - 1)]  # at least two tokens along the shorter side
        fits = [size for size in patches if (height // size) * (width // size) <= MOST_TOKENS] or patches[-1:]
        return Space(
            stem=Choice(
                {
                    f"n{n}": Space(filters=Choice((16, 24, 32, 48), ordered=True, default=24)) if n else None
                    for n in stems
                },
                ordered=True,
                shared=True,
                default=f"n{min(1, stems[-1])}",
            ),
            patch=Choice(tuple(fits), ordered=True, default=fits[min(1, len(fits) - 1)]),
            width=Choice((48, 64, 96, 128, 192), ordered=True, default=96),
            heads=Choice((1, 2, 4), ordered=True, default=2),
            depth=Int(1, 8, default=3),
            ratio=Choice((1.0, 2.0, 3.0, 4.0), ordered=True, default=2.0),
            activation=Choice(("gelu", "relu", "silu")),
            position=Choice((True, False)),
            dropout=Float(0.0, 0.5, default=0.1),
            drop=Float(0.0, 0.3, default=0.0),
        )

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        stem = int(str(config["stem"])[1:])
        nodes = [Node.make("image", "input")]
        for number in range(1, stem + 1):
            conv = {"filters": int(config["stem.filters"]) * 2 ** (number - 1), "stride": 2}  # type: ignore[arg-type]
            nodes.append(Node.make(f"stem{number}", "conv", [nodes[-1].name], activation="relu", **conv))
        patch = _patch(int(config["patch"]), stem)  # type: ignore[arg-type]
        nodes.append(Node.make("patch", "patch", [nodes[-1].name], filters=config["width"], size=patch))
        nodes.append(Node.make("tokens", "to-tokens", ["patch"]))
        if config["position"]:
            nodes.append(Node.make("positions", "position", ["tokens"]))
        for layer in range(1, int(config["depth"]) + 1):  # type: ignore[arg-type]
            drop = config["drop"]
            heads = {"heads": config["heads"], "drop": drop}
            nodes.append(Node.make(f"layer{layer}_attention", "attention", [nodes[-1].name], **heads))
            feed = {"ratio": config["ratio"], "activation": config["activation"], "drop": drop}
            nodes.append(Node.make(f"layer{layer}_mlp", "mlp", [nodes[-1].name], **feed))
        nodes.append(Node.make("norm", "norm", [nodes[-1].name], kind="layer"))
        nodes.append(Node.make("mean", "mean-tokens", ["norm"]))
        if config["dropout"]:
            nodes.append(Node.make("dropout", "dropout", ["mean"], rate=config["dropout"]))
        nodes.append(Node.make("classifier", "linear", [nodes[-1].name], units=self.classes))
        return Graph(tuple(nodes), "classifier")


def _patch(pixels: int, stem: int) -> int:
    """Return the side of a patch behind ``stem`` halvings, so that a token spans ``pixels`` of the image's side."""
    return max(1, pixels >> stem)


if __name__ == "__main__":
    print(listing(VisionTransformer))
