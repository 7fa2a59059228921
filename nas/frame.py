"""The trials of a study as a table of pandas, which is loaded only here."""

from collections.abc import Sequence
from typing import Any

from nas.trial import Trial


def to_dataframe(trials: Sequence[Trial]) -> Any:
    """Return one row per trial: number, state, seconds, parameters, metrics, and the folds of a cross-validation."""
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "to_dataframe needs pandas; install the extra: pip install 'nas-engine[pandas]'"
        ) from None
    return pandas.DataFrame(
        {
            "number": trial.number,
            "state": "failed" if trial.failed else "running" if trial.asked else "finished",
            "seconds": trial.seconds,
            **{f"config.{path}": value for path, value in trial.config.items()},
            **trial.metrics,
            **_folds(trial),
        }
        for trial in trials
    )


def _folds(trial: Trial) -> dict[str, float | str]:
    """Return the columns of a cross-validation: the spread of each metric, and its value in each fold."""
    last = trial.last
    if last is None or not last.folds:
        return {}
    columns: dict[str, float | str] = {f"{name}.spread": last.spread(name) for name in last.metrics}
    for place, fold in enumerate(last.folds):
        named = {"error": fold} if isinstance(fold, str) else fold
        columns |= {f"{name}.fold{place}": value for name, value in named.items()}
    return columns
