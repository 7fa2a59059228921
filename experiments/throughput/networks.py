"""Three networks of the space ``chain``, by name: three stages of plain convolutions with residual sums.

Multiply-accumulates in millions, for 1 x 28 x 28 and for 3 x 32 x 32: small 1.7 and 2.5, middle 13 and 18, large 55
and 72.
"""

from typing import Any

from search_spaces.architecture import Design, SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.space import Configuration
from search_spaces.spaces.chain import Chain

FILTERS = {"small": (16, 32, 48), "middle": (32, 48, 96), "large": (48, 64, 128)}
DEPTHS = {"small": (1, 1, 1), "middle": (1, 2, 2), "large": (2, 3, 3)}


def design(network: str, shape: tuple[int, int, int]) -> Design:
    """Return the chain ``network`` for ten classes of images of ``shape`` (C, H, W)."""
    joint = SearchSpace(Chain(shape, 10), recipe_space(shape, 10, 10_000))
    own: dict[str, Any] = {"architecture.dropout": 0.0, "architecture.stages": "n3"}
    for stage, (filters, depth) in enumerate(zip(FILTERS[network], DEPTHS[network], strict=True), 1):
        own |= {
            f"architecture.stages.n3.s{stage}.{key}": n for key, n in (("filters", filters), ("depth", depth))
        }
    return joint.decode(Configuration({**joint.space.default(), **own}))
