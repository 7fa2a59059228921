"""The names of all tables, how they are split, and how long a search of each is. The split was made before any run."""

from experiments.tables.cells import COLUMNS, cells
from experiments.tables.functions import MAKE, function
from experiments.tables.networks import networks
from experiments.tables.table import Table
from search_spaces.registry import nearest

DEVELOPMENT = (
    "nb201-cifar10",
    "nb201-cifar100",
    "fcnet-protein",
    "fcnet-parkinsons",
    "mlp-australian",
    "mlp-blood-transfusion",
    "mlp-car",
    "mlp-credit-g",
)
UNTOUCHED = (
    "nb201-imagenet16",
    "fcnet-naval",
    "fcnet-slice",
    "mlp-kc1",
    "mlp-phoneme",
    "mlp-segment",
    "mlp-vehicle",
)
SYNTHETIC = tuple(MAKE)
GROUPS = {"dev": DEVELOPMENT, "synthetic": SYNTHETIC, "untouched": UNTOUCHED}
REPLICATES = 20


def names_of(text: str) -> list[str]:
    """Read names of tables and of groups, separated by commas; a wrong one is a ``ValueError``."""
    names: list[str] = []
    for part in text.split(","):
        names += GROUPS.get(part, (part,))
    known = [*DEVELOPMENT, *UNTOUCHED, *SYNTHETIC]
    for name in names:
        if name not in known:
            raise ValueError(f"no table {name!r}; {nearest(name, [*known, *GROUPS])}")
    return names


def table(name: str) -> Table:
    """Return the table ``name``."""
    if name in COLUMNS:
        return cells(name)
    return function(name) if name in MAKE else networks(name)


def length(name: str) -> int:
    """Return how many evaluations a search of the table ``name`` has."""
    if name in MAKE:
        return 50 if name == "branin" else 60
    return 100
