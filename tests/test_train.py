"""Continued training is the uninterrupted one, bit for bit; errors, stops and early ends are results."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from estimators import cache, train
from estimators import checkpoint as checkpoints
from estimators.dataset import Dataset, open_saved, save
from estimators.estimator import Context, Fidelity, Result
from estimators.preprocess import Standardise, to_shape
from estimators.resident import place, resident
from estimators.split import Split
from estimators.train import TrainEstimator, evaluate_split, stalled, standardisation, trained_weights
from nas.checkpoints import folder_of
from nas.executors.serial import Serial
from nas.study import Study
from nas.trial import Budget
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.space import Configuration, Float, Space
from search_spaces.spaces.chain import Chain

RATES = {"sgd": 0.05, "adam": 0.01, "adamw": 0.01, "rmsprop": 0.003}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def design(**changes: Any) -> Any:
    """A network of fixed shape with a recipe given by its fields."""
    recipe = {
        "optimizer": "sgd",
        "lr": 0.05,
        "weight_decay": 1e-3,
        "momentum": 0.9,
        "batch_size": 32,
        "schedule": "cosine",
        "label_smoothing": 0.1,
        "augment": "crop",
        **changes,
    }
    config = Configuration(recipe)
    return SimpleNamespace(config=config, recipe=config, shape=(1, 8, 8), classes=10, network=network)


EVERYTHING = {"augment": "trivial", "erase": 0.5, "clip": 0.5, "balance": True, "normalize": "image"}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of 500 digits."""
    x, y = load_digits(return_X_y=True)
    x, y = (x * 15.9).astype(np.uint8).reshape(-1, 1, 8, 8), y.astype(np.int64)
    parts = Split(x[:300], y[:300]), Split(x[300:500], y[300:500]), Split(x[500:600], y[500:600])
    return save(Dataset("digits", *parts, tuple("0123456789")), tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(autouse=True)
def nothing_warm() -> None:
    train._warm.clear()


@pytest.fixture
def evaluate(tmp_path: Path, saved: Path) -> Callable[..., tuple[Result, Path]]:
    """Return a call that trains in a folder of its own and gives the result with the checkpoint's path.

    What goes on from a checkpoint does so beside it, as a trial does, unless it ``forks``.
    """

    def call(
        what: Any,
        epochs: int,
        *,
        data: float = 1.0,
        precision: str = "float32",
        forks: bool = False,
        **context: Any,
    ) -> Any:
        scratch = tmp_path / str(len(list(tmp_path.iterdir())))
        if (checkpoint := context.get("checkpoint")) is not None and not forks:
            scratch = checkpoint.parent
        scratch.mkdir(exist_ok=True)
        context = {"seed": 7, "horizon": 4, **context}
        estimator = TrainEstimator(saved, precision=precision)
        result = estimator.evaluate(what, Fidelity(epochs, data), Context(scratch=scratch, **context))
        return result, scratch / (result.checkpoint or "none")

    return call


def content(path: Path) -> tuple[dict[str, dict[str, bytes]], Any]:
    checkpoint = checkpoints.load(path)
    groups = {
        group: {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        for group, tensors in checkpoint.groups.items()
    }
    return groups, checkpoint.values


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("ema", [None, 0.99])
@pytest.mark.parametrize("optimizer", RATES)
def test_continued_training_is_the_uninterrupted_one(
    evaluate: Any, optimizer: str, ema: float | None, precision: str
) -> None:
    what = design(optimizer=optimizer, lr=RATES[optimizer], ema=ema)
    whole, whole_path = evaluate(what, 3, precision=precision)
    want = content(whole_path)
    assert whole.error is None and len(whole.curve) == 3 and len(want[0]["optimizer"]) > 0

    _, half = evaluate(what, 2, precision=precision)
    assert train._stamp(half) in train._warm
    warm, warm_path = evaluate(what, 3, precision=precision, start=2, checkpoint=half)
    assert content(warm_path) == want and warm.metrics == whole.metrics and warm.curve == whole.curve[2:]

    train._warm.clear()
    cold, cold_path = evaluate(what, 3, precision=precision, start=2, checkpoint=half)
    assert content(cold_path) == want and cold.metrics == whole.metrics

    looks = iter(range(100))
    stopped, stopped_path = evaluate(what, 3, precision=precision, stopping=lambda: next(looks) > 4)
    assert stopped.stopped and 1 <= len(stopped.curve) < 3
    train._warm.clear()
    resumed, resumed_path = evaluate(what, 3, precision=precision, checkpoint=stopped_path)
    assert content(resumed_path) == want and resumed.curve == whole.curve


@pytest.mark.parametrize(("mix", "precision"), [("mixup", "float32"), ("cutmix", "float16")])
def test_training_continues_with_every_augmentation(evaluate: Any, mix: str, precision: str) -> None:
    what = design(**EVERYTHING, **{"mix": mix, f"mix.{mix}.alpha": 0.7})
    whole, whole_path = evaluate(what, 3, precision=precision)
    _, half = evaluate(what, 1, precision=precision)
    train._warm.clear()
    cold, cold_path = evaluate(what, 3, precision=precision, start=1, checkpoint=half)
    assert whole.error is None and content(cold_path) == content(whole_path) and cold.metrics == whole.metrics
    assert standardisation(cold_path).per_image


def test_a_warm_training_serves_once_and_the_file_serves_again(evaluate: Any) -> None:
    what = design()
    _, half = evaluate(what, 1)
    first, again = (evaluate(what, 2, start=1, checkpoint=half) for _ in range(2))
    assert content(first[1]) == content(again[1])


def test_a_stop_before_the_first_epoch_keeps_what_there_was(evaluate: Any) -> None:
    what = design()
    nothing, _ = evaluate(what, 2, stopping=lambda: True)
    assert nothing.stopped and nothing.checkpoint is None and nothing.curve == ()
    _, half = evaluate(what, 1)
    stopped, path = evaluate(what, 2, start=1, checkpoint=half, stopping=lambda: True)
    assert stopped.stopped and content(path) == content(half)


def test_training_learns_and_its_weights_score_what_was_said(evaluate: Any, saved: Path) -> None:
    seen: list[tuple[int, Any]] = []
    what = design(ema=0.9, augment="none")
    result, path = evaluate(what, 10, horizon=10, report=lambda epoch, metrics: seen.append((epoch, metrics)))
    assert result.metrics["accuracy"] > 0.75
    assert [epoch for epoch, _ in seen] == list(range(1, 11)) and tuple(m for _, m in seen) == result.curve
    weights = trained_weights(path)
    assert weights.keys() == network(0).state_dict().keys()
    metrics, logits = evaluate_split(what, weights, open_saved(saved).val, standardisation(path))
    assert logits.shape == (200, 10) and metrics == {name: result.metrics[name] for name in metrics}


def test_randomness_is_that_of_the_context_alone(evaluate: Any) -> None:
    what = design()
    first = content(evaluate(what, 1)[1])
    torch.manual_seed(99)
    np.random.rand(3)
    before = torch.random.get_rng_state()
    assert content(evaluate(what, 1)[1]) == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert content(evaluate(what, 1, replicate=1)[1]) != first


def test_a_share_of_the_data_is_the_same_for_every_lineage(
    evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    members: list[set[int]] = []
    original = train._members

    def spy(*arguments: Any) -> Any:
        members.append(set(original(*arguments).tolist()))
        return original(*arguments)

    monkeypatch.setattr(train, "_members", spy)
    for lineage, share in ((0, 0.2), (5, 0.2), (0, 0.5)):
        evaluate(design(), 1, data=share, lineage=lineage)
    assert len(members[0]) == 60 and members[0] == members[1] < members[2]


def test_the_least_share_of_the_data_is_two_images(saved: Path, tmp_path: Path) -> None:
    data = resident(str(saved), "cpu", (1, 8, 8))
    assert len(train._members(data, 1e-6, Context(seed=0, scratch=tmp_path))) == 2


def test_early_stopping_counts_epochs_and_waits_for_half_the_horizon() -> None:
    curve = [{"loss": loss} for loss in (1.0, 0.5, 0.6, 0.7, 0.4, 0.41, 0.42)]
    assert [stalled(curve[:k], 2, 4) for k in range(1, 8)] == [False, False, False, True, False, False, True]
    assert not stalled(curve[:4], 2, 9) and not stalled(curve, None, 4)


def test_an_early_end_is_the_same_in_one_go_and_in_two(evaluate: Any) -> None:
    what = design(patience=1, lr=0.9, schedule="constant", label_smoothing=0.0)
    whole, whole_path = evaluate(what, 30, horizon=8)
    ended = len(whole.curve)
    assert 4 <= ended < 30
    _, half = evaluate(what, 2, horizon=8)
    rest, rest_path = evaluate(what, 30, horizon=8, start=2, checkpoint=half)
    assert content(rest_path) == content(whole_path) and rest.metrics == whole.metrics
    after, after_path = evaluate(what, 40, horizon=8, start=30, checkpoint=rest_path)
    assert content(after_path) == content(whole_path) and after.metrics == whole.metrics and after.curve == ()


def test_a_fork_keeps_weights_and_takes_another_optimizer(evaluate: Any) -> None:
    _, parent = evaluate(design(), 1)
    child, path = evaluate(
        design(optimizer="adamw", lr=1e-9, weight_decay=0.0, ema=0.9), 2, start=1, checkpoint=parent
    )
    before, after = trained_weights(parent), checkpoints.load(path).groups["network"]
    assert child.error is None
    np.testing.assert_allclose(after["6.weight"].numpy(), before["6.weight"], atol=1e-6)


def test_a_promoted_trial_has_the_curve_of_one_trained_in_one_go(saved: Path, tmp_path: Path) -> None:
    def decode(config: Configuration) -> Any:
        return design(lr=config["lr"], momentum=config["momentum"])

    space = Space(lr=Float(0.01, 0.2, log=True), momentum=Float(0.5, 0.95))
    ladder = (Fidelity(1), Fidelity(3), Fidelity(4))
    study = Study(
        space, objectives=["accuracy"], strategy="random", scheduler="halving", ladder=ladder, seed=5
    )
    estimator = TrainEstimator(saved, precision="float32")
    study.run(estimator, decode, Serial(isolate=False), Budget(9), folder=tmp_path)
    promoted = [trial for trial in study.trials if len(trial.steps) > 1]
    assert [len(trial.steps) for trial in promoted].count(3) == 1 and len(promoted) == 3
    for trial in promoted:
        assert trial.last is not None
        train._warm.clear()
        scratch = tmp_path / f"whole-{trial.number}"
        scratch.mkdir()
        context = Context(seed=5, scratch=scratch, lineage=trial.number, horizon=4)
        whole = estimator.evaluate(decode(trial.config), trial.last.fidelity, context)
        assert whole.curve == tuple(point for step in trial.steps for point in step.curve)
        assert [step.start for step in trial.steps] == [0, 1, 3][: len(trial.steps)]
        path = tmp_path / folder_of(trial) / str(trial.last.checkpoint)
        assert content(scratch / str(whole.checkpoint)) == content(path)


def test_a_fork_begins_as_its_parent_was_under_its_own_recipe(
    saved: Path, tmp_path: Path, evaluate: Any
) -> None:
    _, parent = evaluate(design(ema=0.9), 2)
    changed = {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1, "batch_size": 16, "schedule": "constant"}
    for warm in (True, False):
        if not warm:
            train._warm.clear()
        context = Context(seed=7, scratch=tmp_path, start=2, epochs=3, horizon=4, checkpoint=parent)
        begun = TrainEstimator(saved, precision="float32")._begin(design(ema=0.9, **changed), context)
        want = checkpoints.load(parent).groups
        found = begun.training.state().groups
        assert found.keys() == want.keys() == {"network", "optimizer", "average"}
        for group in want:
            assert found[group].keys() == want[group].keys()
            assert all(torch.equal(found[group][name], want[group][name]) for name in want[group])
        weights, others = begun.training.optimizer.param_groups
        assert (weights["momentum"], weights["weight_decay"], others["weight_decay"]) == (0.5, 0.1, 0.0)
        assert begun.training.recipe.lr == 0.01 and len(begun.curve) == 2
    child, path = evaluate(design(ema=0.9, **changed), 3, start=2, checkpoint=parent)
    assert child.error is None and len(child.curve) == 1 and len(content(path)[1]["curve"]) == 3


@pytest.mark.parametrize("warm", [True, False])
def test_a_fork_has_a_patience_of_its_own(evaluate: Any, warm: bool) -> None:
    """The parent diverges slowly and is ended; its fork learns, and counts from its own first epoch, warm or not."""
    stuck = design(patience=2, lr=1e-9, schedule="constant", momentum=0.0, weight_decay=0.0, augment="none")
    parent, path = evaluate(stuck, 8, horizon=8)
    ended = len(parent.curve)
    assert ended < 8
    evaluate(stuck, 8, horizon=8, start=ended, checkpoint=path)  # warm again
    child = path
    for epochs in (ended + 1, ended + 2):
        if not warm:
            train._warm.clear()
        options = {"horizon": 8, "start": epochs - 1, "checkpoint": child, "forks": child == path}
        result, child = evaluate(stuck, epochs, **options)
        assert len(result.curve) == 1
    assert content(child)[1]["begun"] == ended and len(content(child)[1]["curve"]) == ended + 2


def test_a_fork_leaves_its_parent_warm(evaluate: Any) -> None:
    _, parent = evaluate(design(), 1)
    evaluate(design(lr=0.01), 2, start=1, checkpoint=parent)
    assert train._stamp(parent) in train._warm


def test_a_fork_with_a_larger_batch_is_cut_anew(evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        train, "pieces_within", lambda design, limit, dtype: design.recipe["batch_size"] // 32
    )
    _, parent = evaluate(design(), 1, memory=1e9)
    _, child = evaluate(design(batch_size=128), 2, start=1, checkpoint=parent, memory=1e9)
    assert content(parent)[1]["pieces"] == 1 and content(child)[1]["pieces"] == 4


def test_a_partial_evaluation_counts_at_its_deadline(evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = evaluate(design(), 2)
    ticks = iter(range(10_000))  # one second passes from one look at the clock to the next
    monkeypatch.setattr(train.time, "monotonic", lambda: float(next(ticks)))
    partial, path = evaluate(design(), 400, horizon=4, deadline=9.0, partial=True)
    reached = len(partial.curve)
    assert partial.stopped and partial.error is None and 1 <= reached < 400
    assert partial.metrics == partial.curve[-1] and partial.curve[:2] == whole.curve[:reached]
    assert len(content(path)[1]["curve"]) == reached


def test_errors_are_results(evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nan, _ = evaluate(design(lr=1e30), 1)
    assert nan.error is not None and nan.error.startswith("nan: loss ") and nan.checkpoint is None
    late, _ = evaluate(design(), 1, deadline=0.0)
    assert late.error is not None and late.error.startswith("timeout: ")
    for cause in (MemoryError("no"), torch.OutOfMemoryError("CUDA out of memory.\nTried")):

        def fail(*arguments: Any, cause: Exception = cause, **more: Any) -> Any:
            raise cause

        monkeypatch.setattr(train, "predict", fail)
        full, _ = evaluate(design(), 1)
        assert full.error is not None and full.error.startswith("memory: ") and "\n" not in full.error


def test_wrong_requests_are_refused(evaluate: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        TrainEstimator("digits", metrics=("acuracy",))
    with pytest.raises(ValueError, match="precision 'bf16' is not known"):
        TrainEstimator("digits", precision="bf16")
    with pytest.raises(ValueError, match="no axis side"):
        TrainEstimator("digits").evaluate(design(), Fidelity(1, 1.0, 0.5), Context(seed=0, scratch=tmp_path))
    with pytest.raises(ValueError, match="does not exist"):
        evaluate(design(), 2, start=1, checkpoint=tmp_path / "gone")
    with pytest.raises(ValueError, match="device 'cuda:99'"):
        evaluate(design(), 1, device="cuda:99")
    _, two = evaluate(design(), 2)
    with pytest.raises(ValueError, match="has 2 epochs, more than"):
        evaluate(design(), 1, checkpoint=two)


def test_latency_and_memory_are_measured_when_asked_for(tmp_path: Path, saved: Path) -> None:
    estimator = TrainEstimator(saved, metrics=("accuracy", "latency", "memory"), precision="float32")
    result = estimator.evaluate(design(), Fidelity(1), Context(seed=0, scratch=tmp_path))
    assert result.metrics["latency"] > 0 and result.metrics["memory"] > 1e6


def test_every_sampled_recipe_trains_a_step(evaluate: Any) -> None:
    space = recipe_space((1, 8, 8), 10, 300, imbalance=2.0)
    rng = np.random.default_rng(0)
    for _ in range(24):
        recipe = space.sample(rng)
        what = SimpleNamespace(config=recipe, recipe=recipe, shape=(1, 8, 8), classes=10, network=network)
        result, path = evaluate(what, 1, data=0.5)
        assert result.error is None, recipe
        used = standardisation(path)
        assert (used.mean == (0.0,)) == (recipe["normalize"] in ("image", "none"))
        assert used.per_image == (recipe["normalize"] == "image")


def test_images_are_brought_to_the_shape_of_the_design(saved: Path) -> None:
    data = resident(str(saved), "cpu", (1, 12, 12))
    assert data.train.x.shape == (300, 1, 12, 12) and data.train.x.dtype == torch.uint8
    flat = Split(np.full((2, 3, 8, 8), 77, np.uint8), np.zeros(2, np.int64))
    for shape in ((3, 5, 5), (1, 8, 8), (1, 5, 5)):
        constant = place(flat, "cpu", shape)
        assert (constant.x == 77).all() and constant.x.shape == (2, *shape)


def test_images_that_do_not_fit_a_gpu_stay_where_they_are(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("estimators.resident.fits", lambda device, size: bool(asked.append(size)))
    resident.cache_clear()
    data = resident(str(saved), "cuda", (1, 8, 8))
    assert data is not resident(str(saved), "cpu", (1, 8, 8)) and asked == [500 * 64]
    assert data.train.x.device.type == data.val.y.device.type == "cpu" and len(data.train) == 300


@pytest.mark.parametrize("shape", [(3, 24, 28), (1, 40, 36), (1, 17, 16)])
def test_reshaped_images_are_mapped_from_the_cache_or_kept(
    shape: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    parts = [Split(rng.integers(0, 256, (n, 3, 40, 36), dtype=np.uint8), np.arange(n)) for n in (1100, 9, 9)]
    folder = str(save(Dataset("noise", *parts, tuple("ab")), tmp_path / "data"))
    whole = [to_shape(torch.from_numpy(part.x), shape) for part in parts[:2]]

    def same() -> bool:
        resident.cache_clear()
        found = resident(folder, "cpu", shape)
        assert found.standardise == Standardise.fit(whole[0]) and found.train.y.tolist() == [*range(1100)]
        return torch.equal(found.train.x, whole[0]) and torch.equal(found.val.x, whole[1])

    assert same()
    (entry,) = cache.place().glob("shaped-*/")
    if (maps := Path("/proc/self/maps")).exists():  # not on every system
        assert str(entry / "train.npy") in maps.read_text()
    made = {path: path.stat().st_mtime_ns for path in entry.iterdir()}
    assert same() and made == {path: path.stat().st_mtime_ns for path in entry.iterdir()}
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file"))
    assert same()


def test_a_smaller_grey_recipe_is_trained_and_scored_on_such_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [
        Split(rng.integers(0, 256, (n, 3, 32, 40), dtype=np.uint8), np.arange(n) % 3) for n in (60, 30, 9)
    ]
    folder = save(Dataset("noise", *parts, tuple("abc")), tmp_path / "data")
    joint = SearchSpace(Chain((3, 32, 40), 3), recipe_space((3, 32, 40), 3, 60))
    config = joint.space.default()
    small = joint.decode(Configuration({**config, "recipe.side": 16, "recipe.colour": "grey"}))
    assert small.shape == (1, 16, 20) and small.macs < joint.decode(config).macs / 3
    result = TrainEstimator(folder).evaluate(small, Fidelity(1), Context(seed=0, scratch=tmp_path))
    path = tmp_path / str(result.checkpoint)
    metrics, logits = evaluate_split(small, trained_weights(path), parts[1], standardisation(path))
    assert logits.shape == (30, 3) and metrics == {name: result.metrics[name] for name in metrics}
