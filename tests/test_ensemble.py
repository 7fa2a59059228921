"""What BOHB and PriorBand draw beside their strategy, and in which shares."""

import math
from collections import Counter

import numpy as np
import pytest
from playing import LADDER, noise

from nas.ensemble import favour, mutant, shares
from nas.prior import Prior
from nas.study import Study
from search_spaces.space import Choice, Float, Space

SPACE = Space(x=Float(0, 1), y=Float(0, 1), kind=Choice(tuple("abc")))


def test_random_and_prior_are_alike_at_the_bottom_and_the_prior_leads_above():
    """Mallik et al. 2023, section 4.1: eta to the rung, and the incumbent has a part of the prior's share."""
    assert shares(0, 3, None) == (0.5, 0.5, 0.0)
    assert shares(2, 3, None) == pytest.approx((0.1, 0.9, 0.0))
    assert shares(1, 3, 0.25) == pytest.approx((0.25, 0.5625, 0.1875))


def test_who_explains_the_best_has_the_say():
    """Section 4.3 by hand: densities times 2 and 1, of the first and the second of two trials."""
    assert favour([math.log(2), math.log(1)], [math.log(1), math.log(3)]) == pytest.approx(5 / (5 + 5))
    assert favour([-2000.0], [-1000.0]) == pytest.approx(1.0)


def test_a_mutant_keeps_half_of_its_parameters():
    rng, parent = np.random.default_rng(0), SPACE.sample(np.random.default_rng(1))
    kept = [mutant(SPACE, parent, rng)[path] == parent[path] for _ in range(400) for path in parent]
    assert 0.45 < np.mean(kept) < 0.55


def served(scheduler, best, **options):
    study = Study(SPACE, strategy="random", scheduler=scheduler, ladder=LADDER, seed=1, **options)
    while len(study.searched) < 150:
        trial = study.ask()
        far = abs(trial.config["x"] - best) + abs(trial.config["y"] - best)
        study.tell(trial, far + 0.01 * noise(0, trial.number, trial.asked.fidelity.epochs))
    return study, Counter(trial.server for trial in study.trials)


def test_every_third_design_of_bohb_is_random():
    study, counts = served("bohb", 0.5)
    assert counts == {"random": 50, "": 100}
    assert all(bool(trial.server) == (trial.number % 3 == 2) for trial in study.trials)


def test_priorband_believes_a_prior_that_fares_well_and_the_incumbent_where_it_lies():
    priors = {"x": Prior(0.5, 0.8), "y": Prior(0.5, 0.8)}
    _, right = served("priorband", 0.5, priors=priors)
    study, wrong = served("priorband", 0.05, priors=priors)
    assert set(right) == {"", "random", "prior", "incumbent"}
    assert right["prior"] > wrong["prior"] and wrong["incumbent"] > right["incumbent"]
    assert abs(study.best.config["x"] - 0.05) < 0.1
    _, default = served("priorband", 0.5)
    assert default["prior"] > 10


def test_what_is_enqueued_comes_before_what_a_scheduler_draws():
    study = Study(SPACE, strategy="random", scheduler="priorband", ladder=LADDER)
    study.ask()
    study.enqueue({"x": 0.125, "y": 0.25, "kind": "b"})
    assert study.ask().config["x"] == 0.125
