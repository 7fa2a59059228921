"""What a user gives a study, checked and put together as a ``Problem``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nas.prior import Prior, checked_priors, mode
from nas.trial import Constraint, Metrics, Objective, Problem
from search_spaces.space import Configuration, Space


def checked_problem(
    space: Space,
    objectives: Sequence[str | Objective],
    constraints: Sequence[str | Constraint],
    *,
    priors: Mapping[str, Prior],
    key: Callable[[Configuration], str] | None,
    measure: Callable[[Configuration], Metrics] | None,
    timed: bool,
    features: Callable[[Configuration], Mapping[str, float]] | None,
) -> Problem:
    """Return what is to be searched, or raise a ``ValueError`` that says what of it makes no search."""
    if not isinstance(space, Space):
        raise ValueError(f"space={space!r}; give a Space, for example Space(lr=Float(1e-5, 1e-1, log=True))")
    if not space.slots:
        raise ValueError("the space is empty; give it at least one Float, Int or Choice")
    if isinstance(objectives, str) or not objectives:
        raise ValueError(f"objectives={objectives!r}: give a list of names, for example ['accuracy']")
    if isinstance(constraints, str):
        raise ValueError(f"constraints={constraints!r}: give a list, for example [{constraints!r}]")
    parsed = tuple(Objective(one) if isinstance(one, str) else one for one in objectives)
    if wrong := [one for one in parsed if not isinstance(one, Objective)]:
        raise ValueError(
            f"objectives: {wrong[0]!r} is neither a name nor an Objective; give ['accuracy'] or such"
        )
    names = [one.name for one in parsed]
    if len(set(names)) < len(names):
        raise ValueError(f"objectives={names!r}: one stands twice; name each once")
    bounds = tuple(Constraint.parse(one, own=True) if isinstance(one, str) else one for one in constraints)
    if not isinstance(priors, Mapping):
        raise ValueError(
            f"priors={priors!r}; give a map from path to Prior, for example {{'lr': Prior(0.01)}}"
        )
    functions = {name: f for name, f in (("key", key), ("measure", measure)) if f is not None}
    guesses = checked_priors(space, priors)
    first = mode(space, guesses)  # constraints that the first trial cannot hold are told of here
    if key is not None:
        _check_key(key, first)
    problem = Problem(space, parsed, bounds, timed=timed, features=features, priors=guesses)
    return replace(problem, **functions)  # type: ignore[arg-type]


def _check_key(key: Callable[[Configuration], str], config: Configuration) -> None:
    try:
        name = key(config)
    except ValueError:  # the configuration decodes to nothing
        return
    if not isinstance(name, str):
        raise ValueError(f"key={key!r} returned {name!r}; return a text, such as str(...) of it")
