"""How families for images of any side begin: large ones are halved until the body has 32 to 63 pixels.

The side is that of the data set, also where the recipe makes its images smaller: the network stays, its cost falls.
"""

import math

LARGE = 64  # pixels from which on the stem halves the side first


def stem_halvings(side: int) -> int:
    """Return how often a stem halves ``side`` pixels before the first stage: 224 becomes 56, 32 stays."""
    return 0 if side < LARGE else int(math.log2(side / 32))


def most_stages(side: int, most: int = 4) -> int:
    """Return how many stages, each of half the side of the one before, an image of ``side`` pixels can have."""
    body = side >> stem_halvings(side)
    return max(1, min(most, int(math.log2(body)) - 1))
