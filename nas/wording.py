"""What a run, or a stage of it, is said to be: the lines of `nas show` and of the end of a search, from its status."""

from collections.abc import Mapping
from typing import Any


def description(run: Any, status: Mapping[str, Any]) -> str:
    """Return what `nas show` prints of ``run``, a ``nas.Run``, whose status is given."""
    lines = [
        f"{run.folder.path}: {status['state']} after {duration(status['seconds'])}"
        + (f" of {duration(status['budget_seconds'])}" if status["budget_seconds"] else "")
        + f", {counts(status['trials'])}"
    ]
    if status["seconds_left"]:
        left = {name: duration(value) for name, value in status["seconds_left"].items()}
        lines.append(f"about {left['median']} left ({left['low']} to {left['high']})")
    if status["latency"]:
        lines += latency_lines(status["latency"])
    if status["error"]:
        lines.append(f"no model: {status['error']}")
    if len(status["served"]) > 1:
        lines.append(
            "proposed by: " + ", ".join(f"{name} {share:.0%}" for name, share in status["served"].items())
        )
    if status["best"]:
        fidelity = status["best_fidelity"]
        lines.append(
            f"best of the search, compared at {fidelity['epochs']} epochs on {fidelity['data']:.0%} of the data:"
        )
        lines.append(
            f"  trial {status['best']['number']}  {numbers(status['best']['metrics'])}{descent(status['best'])}"
        )
        lines += [f"    {path} = {value}" for path, value in status["best"]["config"].items()]
        lines.append("best trials:")
        lines += [f"  {_row(trial, metrics)}" for trial, metrics in run.standing()[:5]]
    lines += [f"signal {signal_line(one)}" for one in status["signals"]]
    if status["supernet"]:
        lines.append(supernet_line(status["supernet"]))
    lines += [f"fidelity {ranking_line(one)}" for one in status["fidelities"]]
    failures = [t for t in run.trials if t.failed]
    lines += [f"failed: trial {t.number}: {t.last.error}" for t in failures[:5]]
    if len(failures) > 5:
        lines.append(f"  and {len(failures) - 5} more")
    if status["test"]:
        lines.append(f"test: {numbers(status['test'])}")
    if status["export"]:
        lines.append(f"model: {status['export']}")
    return "\n".join(lines)


def latency_lines(known: Mapping[str, Any]) -> list[str]:
    """Say how well latencies were predicted, and what was measured."""
    error = known["predicted_error"]
    lines = [
        f"latency of trials is predicted from a table of ops, {error['threads']} threads of {error['device']}: error "
        f"on {error['measured']} networks {error['median']:.0%} median, {error['ninetieth']:.0%} at most of nine in ten"
    ]
    if known["measured"]:
        found = ", ".join(f"trial {number} {value:.3g} ms" for number, value in known["measured"].items())
        lines.append(f"measured alone: {found}")
    return lines


def _row(trial: Any, metrics: Mapping[str, float]) -> str:
    shown = {
        name: metrics[name] for name in ("accuracy", "loss", "latency", "params", "macs") if name in metrics
    }
    return f"trial {trial.number:4}  {numbers(shown)}  {trial.seconds:.1f} s"


def signal_line(one: Mapping[str, Any]) -> str:
    """Say how well a cheap signal ranks what was trained, and whether it has a say for that."""
    said = "trusted" if one["trusted"] else "not trusted"
    return (
        f"{one['signal']}: Kendall's tau {one['tau']:.2f} ({one['low']:.2f} to {one['high']:.2f}) "
        f"with the results of {one['trials']} trials, {said}"
    )


def supernet_line(known: Mapping[str, Any]) -> str:
    """Say how long a supernet was trained, what it scored, who hears it, and how it was split, or why there is none.

    Also whether trainings begin with its weights.
    """
    if not known["of"]:
        return f"supernet: {known['failed'] or 'called for'}"
    said = f"supernet: {known['epochs']} of {known['of']} epochs in {duration(known['seconds'])}"
    if known.get("scored"):  # runs of before did not say, nor who hears it
        said += f", {known['scored']} designs scored in {known['scoring']:.3g} s"
    if (heard := known.get("heard")) is not None:
        said += ", heard by the surrogates" if heard else ", no longer heard by the surrogates"
    said += ", inherited by trainings" if known.get("inherited") else ""
    if known["failed"]:
        return f"{said}; {known['failed']}"
    if known["not_split"]:
        return f"{said}, not split: {known['not_split']}"
    if known["split"]:
        split = known["split"]
        first, second = (", ".join(map(str, group)) for group in split["groups"])
        said += (
            f", split by {split['path']}: {first} | {second} (cosine of gradients {split['similarity']:.2f})"
        )
    return said


def ranking_line(one: Mapping[str, Any]) -> str:
    """Say how a low fidelity ranks what a dearer one told of, and whether it decides who goes on."""
    from estimators.estimator import Fidelity
    from nas.fidelity_trust import said

    below, above = said(Fidelity(**one["below"])), said(Fidelity(**one["above"]))
    text = f"{below} against {above}: Kendall's tau {_estimate(one['tau'])} over {one['trials']} of {one['of']} trials"
    if one["trials"] < one["of"]:
        text += f", {one['whole']['value']:.2f} if none had been chosen"
    if one["top"]:
        text += f", in the top third {_estimate(one['top'])}"
    if one["regret"]:
        text += f", its pick loses {_estimate(one['regret'], '.3g')}"
    return text + (", trusted" if one["trusted"] else ", not trusted")


def _estimate(one: Mapping[str, float], form: str = ".2f") -> str:
    return f"{one['value']:{form}} ({one['low']:{form}} to {one['high']:{form}})"


def duration(seconds: float) -> str:
    """Return ``seconds`` in the two largest units that they have."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def counts(trials: Mapping[str, int]) -> str:
    """Return how many trials are in each state, as far as there are any."""
    return ", ".join(f"{count} {name}" for name, count in trials.items() if count or name == "finished")


def descent(entry: Mapping[str, Any]) -> str:
    """Return whose weights a fork began with, and where its line began; nothing for a start."""
    if "parent" not in entry:
        return ""
    return f"  (forked from trial {entry['parent']}, descends from trial {entry['lineage']})"


def numbers(metrics: Mapping[str, float]) -> str:
    """Return metrics by name, four digits each."""
    return ", ".join(
        f"{name} {value:,.0f}" if value >= 1000 else f"{name} {value:.4g}" for name, value in metrics.items()
    )
