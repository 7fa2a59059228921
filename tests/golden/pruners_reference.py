"""What Optuna's pruners decide on random streams of results, as JSON. Runs in an environment of its own.

    python -m venv optuna && optuna/bin/pip install optuna==5.0.0
    optuna/bin/python tests/golden/pruners_reference.py > tests/golden/pruners.json

A stream is played by one function, here with Optuna's decisions and in the tests with ours: random numbers that do not
depend on the decisions until these differ. Decisions are the bits of one number per stream, the first of them the
highest behind a leading one.

median    trials of up to four rungs, one to three at a time; some fail; values are rounded in every third stream
halving   results of trials on three rungs, in any order that visits a trial's rungs from below; the decision is whether
          the result is among those that go on at once
"""

import importlib.metadata
import json

import numpy as np

STREAMS = 1000
RUNGS = 4
ETA = 3


def options(seed):
    """Return number of startup trials, of warm-up rungs, of workers, and whether more is better."""
    return (0, 1, 5)[seed % 3], seed % 2, 1 + seed % 3, seed % 5 == 0


def play_median(seed, start, report, complete, fail):
    """Play a stream of 12 trials; ``report(trial, rung, value)`` returns whether the trial goes on."""
    rng = np.random.default_rng(seed)
    started, running, decisions = 0, {}, 1
    while started < 12 or running:
        while started < 12 and len(running) < options(seed)[2]:
            running[started] = 0
            start(started)
            started += 1
        trial = sorted(running)[int(rng.integers(len(running)))]
        rung, value = running[trial], float(rng.normal())
        value = round(value, 0) if seed % 3 == 0 else value
        if rng.random() < 0.05:
            fail(trial, rung)
            del running[trial]
        elif rung == RUNGS - 1:
            complete(trial, rung, value)
            del running[trial]
        else:
            goes_on = report(trial, rung, value)
            decisions = 2 * decisions + goes_on
            if goes_on:
                running[trial] += 1
            else:
                del running[trial]
    return decisions


def play_halving(seed, report):
    """Play 30 results; ``report(trial, rung, value, size)`` returns whether the newest of ``size`` goes on at once."""
    rng = np.random.default_rng(seed)
    reached, sizes, decisions = [], [0, 0, 0], 1
    for _ in range(30):
        open_ = [trial for trial, rung in enumerate(reached) if rung < 2]
        if open_ and rng.random() < 0.5:
            trial = open_[int(rng.integers(len(open_)))]
            reached[trial] += 1
        else:
            trial = len(reached)
            reached.append(0)
        rung = reached[trial]
        sizes[rung] += 1
        decisions = 2 * decisions + report(trial, rung, float(rng.random()), sizes[rung])
    return decisions


def median(seed):
    import optuna

    startup, warmup, _, more = options(seed)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    study = optuna.create_study(direction="maximize" if more else "minimize", pruner=pruner)
    trials = {}

    def start(number):
        trials[number] = study.ask()

    def report(number, rung, value):
        trials[number].report(value, rung)
        pruned = trials[number].should_prune()
        if pruned:
            study.tell(trials[number], state=optuna.trial.TrialState.PRUNED)
        return not pruned

    def complete(number, rung, value):
        trials[number].report(value, rung)
        study.tell(trials[number], value)

    def fail(number, rung):
        study.tell(trials[number], state=optuna.trial.TrialState.FAIL)

    return play_median(seed, start, report, complete, fail)


def halving(seed):
    import optuna

    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
    study = optuna.create_study(pruner=pruner)
    trials = {}

    def report(number, rung, value, size):
        trial = trials.setdefault(number, None) or study.ask()
        trials[number] = trial
        trial.report(value, ETA**rung)
        kept = not trial.should_prune()
        return kept if size >= ETA else False  # below eta results Optuna keeps the best one, the paper nobody

    return play_halving(seed, report)


if __name__ == "__main__":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        json.dumps(
            {
                "optuna": importlib.metadata.version("optuna"),
                "median": [median(seed) for seed in range(STREAMS)],
                "halving": [halving(seed) for seed in range(STREAMS)],
            }
        )
    )
