"""A study opened again: the same one, or one whose space has grown.

A space may grow: new parameters, new options, wider ranges, other linear constraints. What was started before the
growth has the default of a parameter that is new, the one it had when it was added. What a trial has can not be taken
away: that is another study. (To search less of a space, add a linear constraint to it: what breaks it is kept, and not
proposed.)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nas.history import History
from nas.trial import Problem, Trial
from search_spaces.space import Choice, Configuration, Float, Parameter, Space, Value

GROWS = {"space", "parameters", "filled", "priors"}  # what may differ when a study is opened again


def space_row(problem: Problem) -> dict[str, Any]:
    """Return what the store tells of the space: its fingerprint, and every parameter in words."""
    return {
        "space": problem.space.fingerprint,
        "parameters": {slot.path: _words(slot.parameter) for slot in problem.space.slots},
        "priors": {path: [prior.value, prior.confidence] for path, prior in problem.priors.items()},
        "filled": {},
    }


def _words(parameter: Parameter) -> str:
    return f"Choice({list(parameter.options)!r})" if isinstance(parameter, Choice) else repr(parameter)


def same_study(stored: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Raise a ``ValueError`` if the study ``stored`` is not the one that ``about`` describes, the space apart."""
    for name, value in about.items():
        if name not in GROWS and stored.get(name) != value:
            raise ValueError(
                f"the store holds another study: its {name} is {stored.get(name)!r}, not {value!r}; open it with "
                "the same settings, or choose another file"
            )


def grown(
    history: History, problem: Problem, filled: Mapping[str, Value]
) -> tuple[History, dict[str, Value]]:
    """Return ``history`` with its trials as they stand in the space of ``problem``, and all values they were given.

    ``filled`` are values given at earlier growths. A ``ValueError`` says what of a trial does not fit any more.
    """
    given = dict(filled)
    trials = {number: _fitted(trial, problem, given) for number, trial in history.trials.items()}
    queue = list(history.queue)
    for place in range(history.taken, len(queue)):
        try:
            queue[place] = problem.space.partial(queue[place])
        except ValueError as error:
            raise ValueError(
                f"the store holds another study: a configuration waits in it whose {error}"
            ) from None
    new = replace(history, trials={}, searched={}, asked={}, starts=0, queue=queue)
    for trial in trials.values():
        new.put(trial)
    return new, given


def _fitted(trial: Trial, problem: Problem, given: dict[str, Value]) -> Trial:
    """Return ``trial`` with a value for every parameter; those it lacked are added to ``given``."""
    values = problem.space.filled({**given, **trial.config})
    for path, value in {**values, **trial.config}.items():
        why = _why_not(problem.space, path, value, values)
        if why is not None:
            raise ValueError(
                f"the store holds another study: its trial {trial.number} has {path}={value!r}, which {why}; a space "
                "may grow, not shrink: open it with what it had (a constraint can narrow it), or choose another file"
            )
    values = {path: _as_now(problem.space, path, value) for path, value in values.items()}
    config = Configuration(values)
    if config.id == trial.config.id:
        return trial
    given |= {path: value for path, value in values.items() if path not in trial.config}
    return replace(trial, config=config, key=_key(problem, config, trial.key))


def _as_now(space: Space, path: str, value: Value) -> Value:
    """Return ``value`` as it is written now: an integer whose range became a Float is one of its numbers."""
    if isinstance(value, int) and isinstance(space.parameter(path), Float):
        return float(value)
    return value


def _why_not(space: Space, path: str, value: Value, values: Mapping[str, Value]) -> str | None:
    if path not in values:
        known = any(slot.path == path for slot in space.slots)
        return "is inactive under its choices now" if known else "is no parameter of this space"
    problem = space.parameter(path).problem(value)
    return None if problem is None else f"does not fit any more: {problem}"


def _key(problem: Problem, config: Configuration, old: str) -> str:
    try:
        return problem.key(config)
    except ValueError:  # it decodes to nothing now
        return old
