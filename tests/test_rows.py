"""Configurations as rows: the way there and back, and operators that leave no row the space would not take."""

import numpy as np
import pytest

from nas.encoder import Vocabulary, encoded
from nas.maximise import candidates, climbed
from nas.models import grid_point, spread_over
from nas.rows import Rows, unique
from search_spaces.space import Choice, Float, Int, Linear, Space

SGD = Space(momentum=Float(0.0, 0.99), nesterov=Choice((False, True)))
CONDITIONAL = Space(
    lr=Float(1e-5, 1.0, log=True),
    layers=Int(1, 12),
    width=Int(8, 4096, log=True),
    batch=Int(16, 256, step=16),
    optimizer=Choice({"sgd": SGD, "adam": None}),
    depth=Choice(
        {"1": Space(a=Choice(tuple("xyz"))), "2": Space(a=Choice(tuple("xyz")), b=Int(0, 3))},
        shared=True,
        ordered=True,
    ),
    act=Choice(("relu", "gelu", "silu"), weights=(1, 2, 5)),
    one=Int(3, 3),
)
LIMITED = Space(
    a=Float(0, 1),
    b=Float(0, 1),
    kind=Choice(
        {"p": Space(c=Float(0, 1), d=Int(0, 4), constraints=[Linear({"c": 4, "d": 1}, 3)]), "q": None}
    ),
    constraints=[Linear({"a": 1, "b": 1}, 0.8)],
)


@pytest.mark.parametrize("space", [CONDITIONAL, LIMITED])
def test_configurations_come_back_from_their_rows(space):
    rows, rng = Rows(space), np.random.default_rng(0)
    for _ in range(300):
        config = space.sample(rng)
        back = rows.config(rows.row(config))
        assert set(back) == set(config)
        for path, value in config.items():
            assert (
                back[path] == pytest.approx(value, rel=1e-9)
                if isinstance(value, float)
                else back[path] == value
            )


@pytest.mark.parametrize("space", [CONDITIONAL, LIMITED])
def test_every_operator_makes_configurations_of_the_space(space):
    rows, rng = Rows(space), np.random.default_rng(1)
    drawn = rows.sample(200, rng)
    assert len(drawn) == 200
    mutated = rows.mutate(drawn, 1 + rng.poisson(1.0, 200), rng)
    crossed = rows.crossed(drawn, drawn[::-1], rng)
    for some in (drawn, mutated[rows.hold(mutated)], crossed[rows.hold(crossed)]):
        assert len(some) > 50
        for row in some:
            space.check(rows.config(row))


def test_draws_are_those_of_the_space():
    """Frequencies of options, of an integer on a log scale, and the mean of a float."""
    rows, rng = Rows(CONDITIONAL), np.random.default_rng(2)
    ours = [rows.config(row) for row in rows.sample(4000, rng)]
    theirs = [CONDITIONAL.sample(rng) for _ in range(4000)]
    for path in ("act", "optimizer", "layers", "depth"):
        values = {config[path] for config in theirs}
        for value in values:
            one, other = (np.mean([config[path] == value for config in some]) for some in (ours, theirs))
            assert one == pytest.approx(other, abs=0.04)
    for path in ("width", "lr"):
        one, other = (np.mean([np.log(config[path]) for config in some]) for some in (ours, theirs))
        assert one == pytest.approx(other, abs=0.15)


def test_a_mutation_changes_what_it_should_and_as_much():
    space = Space(**{f"x{i}": Choice(tuple("abcde")) for i in range(6)}, y=Float(0, 1), z=Int(0, 9))
    rows, rng = Rows(space), np.random.default_rng(3)
    drawn = rows.sample(500, rng)
    for count in (1, 3, 8, 20):
        changed = (rows.mutate(drawn, np.full(500, count), rng) != drawn).sum(1)
        assert (changed == min(count, 8)).all()


def test_units_are_those_of_the_space():
    rows, rng = Rows(CONDITIONAL), np.random.default_rng(4)
    for row in rows.sample(50, rng):
        config, units = rows.config(row), rows.units(row[None])[0]
        for at, column in enumerate(rows.columns):
            if column.path not in config:
                assert units[at] == (-1 if column.categorical else 0.5)
            elif not column.categorical:
                assert units[at] == pytest.approx(column.parameter.unit(config[column.path]))


def test_equal_codes_are_equal_features():
    rows, rng = Rows(CONDITIONAL), np.random.default_rng(5)
    inputs = encoded(rows, rows.sample(200, rng), rng.random(200))
    for group in range(inputs.codes.shape[1]):
        codes, features = inputs.codes[:, group], inputs.columns(group)
        for code in set(codes.tolist()) - {-1}:
            assert (features[codes == code] == features[codes == code][0]).all()
    groups = inputs.codes.shape[1]
    assert groups == len(CONDITIONAL.slots) and set(inputs.groups) == set(
        range(groups)
    )  # ``one`` left out, cost added


def test_a_vocabulary_puts_graphs_one_apart():
    rng = np.random.default_rng(6)
    graphs = [
        {"depth": float(d), "op:a": 1, **{f"path:{p}": 1 for p in rng.integers(0, 9, 3)}} for d in range(40)
    ]
    vocabulary = Vocabulary.of(graphs)
    assert "op:a" not in vocabulary.labels  # what all have tells nothing
    base = encoded(Rows(Space(x=Float(0, 1))), rng.random((40, 1)))
    inputs = vocabulary.extended(base, graphs)
    paths = inputs.columns(2)
    squared = ((paths[:, None] - paths[None]) ** 2).sum(-1)
    assert squared[~np.eye(40, dtype=bool)].mean() == pytest.approx(40 / 39, rel=1e-6)
    strange = vocabulary.extended(base[:1], [{"depth": 99.0, "path:new": 1, "kind:other": 1}])
    assert np.isfinite(strange.x).all() and strange.columns(2)[0].any()


def test_local_search_finds_the_maximum_of_a_smooth_function():
    space = Space(x=Float(0, 1), y=Float(0, 1), k=Choice(tuple("abcdefgh")))
    rows = Rows(space)

    def score(some):
        return -((some[:, 0] - 0.3) ** 2) - (some[:, 1] - 0.8) ** 2 - 0.3 * (some[:, 2] != 5)

    rng = np.random.default_rng(7)
    best = climbed(rows, candidates(rows, rows.sample(3, rng), rng), score, rng)[0]
    assert score(best[None])[0] > -1e-3
    known = frozenset([best.tobytes()])
    other = climbed(rows, best[None], score, rng, known=known)
    assert not len(other)


def test_rows_without_repeats_keep_their_order():
    rows = np.array([[1.0, np.nan], [0.0, 2.0], [1.0, np.nan], [0.0, 3.0]])
    np.testing.assert_array_equal(unique(rows), rows[[0, 1, 3]])


def test_what_a_process_is_held_to_is_the_best_half_and_an_even_rest():
    y = np.random.default_rng(8).permutation(1000).astype(float)
    kept = spread_over(y, 100)
    assert len(set(kept.tolist())) == 100 and (np.diff(kept) > 0).all()
    assert set(np.argsort(y)[:50]) <= set(kept.tolist())
    assert len(spread_over(y[:80], 100)) == 80


def test_fits_are_due_at_counts_that_never_pass_what_is_known():
    due = [grid_point(m) for m in range(1, 12_000)]
    assert all(0 < count <= m for m, count in enumerate(due, 1)) and sorted(due) == due
    assert len(set(due[1000:])) < 120
