"""What a run has come to, as the plain values that ``status.json`` and ``nas show --json`` hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from estimators.cost.seconds import Interval
from nas.fidelity_trust import Ranking, rankings
from nas.folder import Settings
from nas.hearing import HEARD, SOURCE
from nas.history import RETRIED, best_fidelity, pareto, standing
from nas.trial import Metrics, Problem, Trial
from nas.trust import CALLED, SPLIT, SPLIT_DONE, SUPERNET, Trust, has_say, trusts
from nas.warm_start import EVENT as WARM_START


def status_of(
    trials: Sequence[Trial],
    problem: Problem,
    events: Mapping[str, Any],
    settings: Settings,
    *,
    state: str,
    seconds: float,
    best: Path,
    error: str | None = None,
    left: Interval | None = None,
    rungs: Sequence[Ranking] | None = None,
) -> dict[str, Any]:
    """Return what ``nas show --json`` prints. A trial in flight is ``running`` only while the run is.

    ``state`` is running, finished or interrupted; ``error`` says why a run that has no model was interrupted.
    ``best`` is where the exported model lies, ``left`` the seconds until there is one. Where latency is searched it is
    predicted in ``metrics``; ``latency`` says how well, and has those that were measured alone, by trial. ``served``
    are shares of the trials by the strategy that proposed them, where one strategy asks others: under a budget of time,
    how many came from a cheaper path. Finished and failed trials are starts; ``forks`` are counted where there are any.
    ``rungs`` are comparisons made shortly before; without them they are made.
    """
    searched = [trial for trial in trials if trial.replicate == 0]
    order = standing(searched, problem)
    fidelity = best_fidelity(searched)
    front = {trial.number for trial in pareto(searched, problem)} if len(problem.objectives) > 1 else set()
    entries = [_entry(trial, metrics) for trial, metrics in order]
    if rungs is None:
        rungs = rankings(searched, problem, settings.fidelities) if settings.fidelities else []
    return {
        "state": state,
        "seconds": round(seconds, 1),
        "budget_seconds": settings.budget,
        "seconds_left": None
        if left is None
        else {name: round(value, 1) for name, value in asdict(left).items()},
        "objectives": list(settings.objectives),
        "constraints": list(settings.constraints),
        "trials": _counts(trials, events, running=state == "running"),
        "served": served(searched),
        "best": entries[0] if entries else None,
        "best_fidelity": None if fidelity is None else asdict(fidelity),
        "pareto": [entry for entry in entries if entry["number"] in front] or entries[:1],
        "latency": _latency(events, settings.round),
        "signals": _signals(trusts(searched, problem, events)),
        "supernet": _supernet(events, settings),
        "fidelities": [_ranking(one) for one in rungs],
        "winner": events.get(f"winner {settings.round}"),
        "test": events.get(f"test {settings.round}"),
        "export": str(best) if f"export {settings.round}" in events else None,
        "error": error,
    }


def _counts(trials: Sequence[Trial], events: Mapping[str, Any], *, running: bool) -> dict[str, int]:
    """Return how many trials of the search are in each state, and what is counted only where there is any."""
    searched = [trial for trial in trials if trial.replicate == 0]
    started = [trial for trial in searched if not trial.fork]
    asked = sum(trial.asked is not None for trial in trials)
    some = {"forks": len(searched) - len(started), "retried": retried(events)}
    return {
        "finished": sum(bool(trial.steps) and not trial.failed for trial in started),
        "failed": sum(trial.failed for trial in started),
        "running": asked if running else 0,
        "unfinished": 0 if running else asked,
        **{name: count for name, count in some.items() if count},
    }


def retried(events: Mapping[str, Any]) -> int:
    """Return how many times a worker died and what it had was placed again."""
    return sum(value["times"] for name, value in events.items() if name.startswith(f"{RETRIED} "))


def served(trials: Sequence[Trial]) -> dict[str, float]:
    """Return the share of ``trials`` that each strategy proposed; of those that one strategy asked another for."""
    counts = Counter(trial.server for trial in trials if trial.server)
    return {name: round(count / counts.total(), 4) for name, count in counts.most_common()}


def _entry(trial: Trial, metrics: Metrics) -> dict[str, Any]:
    descent = {"parent": trial.parent, "lineage": trial.lineage} if trial.fork else {}
    return {"number": trial.number, **descent, "config": dict(trial.config), "metrics": dict(metrics)}


def _signals(known: Sequence[Trust]) -> list[dict[str, Any]]:
    """Return how well each cheap signal ranks what was trained, and whether it is believed."""
    return [
        {
            "signal": one.signal,
            "tau": round(one.tau, 3),
            "low": round(one.low, 3),
            "high": round(one.high, 3),
            "trials": one.n,
            "trusted": has_say(known, one.signal),
        }
        for one in known
    ]


def _supernet(events: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    """Return how long a supernet was trained, how it was split or why that failed, what it scored, and who hears it.

    Also whether trainings begin with its weights. None without one.
    """
    called = events.get(CALLED)
    if SUPERNET not in events and called is None:
        return None
    plan = events.get(SUPERNET, {"reached": 0, "epochs": 0, "spent": 0.0})
    split, halves = events.get(SPLIT), events.get(SPLIT_DONE)
    sample = events.get(WARM_START, {})
    shared = sample.get("members") == [SUPERNET]
    return {
        "epochs": plan["reached"],
        "of": plan["epochs"],
        "seconds": plan["spent"],
        "split": split and {name: split[name] for name in ("path", "groups", "similarity") if name in split},
        "not_split": (halves or split or {}).get("failed"),
        "failed": (called or {}).get("failed"),
        "heard": events.get(HEARD) if SOURCE in events else None,
        "scored": sample["scored"] if shared else None,
        "scoring": sample["seconds"] if shared else None,
        "inherited": settings.inherits,
    }


def _ranking(one: Ranking) -> dict[str, Any]:
    """Return how well a low fidelity ranks what was trained at a dearer one, and whether it decides who goes on."""
    estimates = {"tau": one.tau, "whole": one.whole, "top": one.top, "regret": one.regret}
    plain = {
        name: found and {end: round(value, 4) for end, value in asdict(found).items()}
        for name, found in estimates.items()
    }
    pair = {"below": asdict(one.below), "above": asdict(one.above)}
    return {**pair, **plain, "trials": one.n, "of": one.of, "trusted": one.earned}


def _latency(events: Mapping[str, Any], number: int) -> dict[str, Any] | None:
    """Return the relative error of predicted latencies, and what was measured in round ``number``, in milliseconds."""
    table = events.get("latency table")
    if table is None:
        return None
    names = ("median", "ninetieth", "measured", "threads", "device")
    return {
        "predicted_error": {name: table[name] for name in names},
        "measured": events.get(f"latency measured {number}"),
    }
