"""The names of all tasks, and how they are split. The split was made before any scheduler was run on them."""

from experiments.fidelity import curves, taskset
from experiments.fidelity.task import Task
from search_spaces.registry import nearest

OURS = ("chain", "mobile")
TASKSET = (
    "patch128_LSTM128_avg_bs64",
    "patch128_LSTM128_bs64",
    "patch128_LSTM128_embed128_bs64",
    "patch32_GRU128_bs128",
    "patch32_GRU64_avg_bs128",
    "patch32_IRNN64_relu_avg_bs128",
    "patch32_IRNN64_relu_last_bs128",
    "patch32_LSTM128_E128_bs128",
    "patch32_LSTM128_bs128",
    "patch32_VRNN128_tanh_bs128",
    "patch32_VRNN64_relu_avg_bs128",
    "patch32_VRNN64_tanh_avg_bs128",
)
DEVELOPMENT = (*TASKSET[::2], "chain")
UNTOUCHED = (*TASKSET[1::2], "mobile")
GROUPS = {"dev": DEVELOPMENT, "untouched": UNTOUCHED}
SEEDS = 10
LEAST = 50  # trainings that make a table of ours: of fewer designs nothing is to be searched


def task(name: str, search: int = 0) -> Task:
    """Return the task ``name`` as search number ``search`` sees it: only our own curves have several seeds."""
    return curves.read(name, search) if name in OURS else taskset.read(name)


def there(name: str) -> bool:
    """Return whether the curves of the task ``name`` are on this machine; of ours, those of enough designs."""
    return len(curves.rows_of(curves.table(name))) >= LEAST if name in OURS else taskset.DATA.exists()


def names_of(text: str) -> list[str]:
    """Read names of tasks and of groups, separated by commas; a wrong one is a ``ValueError``."""
    found: list[str] = []
    for part in text.split(","):
        found += GROUPS.get(part, (part,))
    known = [*DEVELOPMENT, *UNTOUCHED]
    for name in found:
        if name not in known:
            raise ValueError(f"no task {name!r}; {nearest(name, [*known, *GROUPS])}")
        if name in text.split(",") and not there(name):
            raise ValueError(
                f"the curves of {name!r} are not here; experiments/fidelity/README.md says what has them"
            )
    return [name for name in found if there(name)]
