"""Normalisation over the batch, over groups of channels, or over the features of each token."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.registry import nearest

KINDS = ("batch", "group", "layer", "none")
MOST_GROUPS = 8


def norm_layers(kind: str, channels: int) -> tuple[Layer, ...]:
    """Return the normalisation of images of ``channels``.

    ``batch`` (Ioffe and Szegedy 2015); ``group`` (Wu and He 2018) of as many groups, up to 8, as divide the
    channels; ``layer``, one group over all channels and pixels; ``none``.
    """
    if kind not in KINDS:
        raise ValueError(f"no norm {kind!r}; {nearest(kind, list(KINDS))}")
    if kind == "batch":
        return (Layer.make("BatchNorm2d", channels),)
    groups = next(n for n in range(min(MOST_GROUPS, channels), 0, -1) if channels % n == 0)
    return () if kind == "none" else (Layer.make("GroupNorm", groups if kind == "group" else 1, channels),)


@ops.register("norm")
@dataclass(frozen=True)
class Norm(Op):
    """A normalisation by itself; tokens and vectors take ``layer`` (Ba et al. 2016), over their features."""

    kind: str = "batch"

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        if len(shapes[0]) == 3:
            return norm_layers(self.kind, shapes[0][0])
        if self.kind != "layer":
            raise ValueError(f"{self!r} on shape {shapes[0]}: it takes images; use kind='layer' here")
        return (Layer.make("LayerNorm", shapes[0][-1], eps=1e-6),)  # as ConvNeXt and ViT have it
