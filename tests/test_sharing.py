"""Shared weights: a candidate is its own network, and what it does not use does not move."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from estimators.dataset import load, save
from estimators.loop import Training, overwrite_norms
from estimators.mix import Labels
from estimators.preprocess import Standardise
from estimators.sharing.candidate import Candidate
from estimators.sharing.paths import Paths
from estimators.sharing.splitting import (
    Split,
    always_told,
    cosine,
    gradients_of,
    similarities,
    splits,
)
from estimators.sharing.supernet import Plan, Supernet
from estimators.sharing.training import SharedTraining
from estimators.sharing.weights import KERNELS, SharedWeights, inside
from nas.joint import joint_space
from search_spaces.architecture import Architecture, Design, SearchSpace, family
from search_spaces.configuration import Configuration
from search_spaces.decks import Decks, end
from search_spaces.graph import Graph, Node
from search_spaces.linear import Linear
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.space import Choice, Space

SHAPE = (1, 12, 12)
OWN = Standardise((0.0,), (1.0,))


class Tower(Architecture):
    """A user's own space: wide or narrow convolutions of three kernels, in parallel or not."""

    @property
    def space(self) -> Space:
        return Space(
            kernel=Choice((1, 3, 5), ordered=True),
            filters=Choice((4, 8), ordered=True),
            join=Choice(("sum", "concat", "one")),
        )

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        own = {"filters": config["filters"]}
        nodes = [
            Node.make("image", "input"),
            Node.make("left", "conv", ["image"], kernel=config["kernel"], **own),
            Node.make("right", "conv", ["image"], **own),
            Node.make("join", str(config["join"]), ["left", "right"])
            if config["join"] != "one"
            else Node.make("join", "skip", ["left"]),
            Node.make("pool", "global-pool", ["join"]),
            Node.make("out", "linear", ["pool"], units=self.classes),
        ]
        return Graph(tuple(nodes), "out")


def space_of(name: str, shape: tuple[int, int, int] = SHAPE) -> SearchSpace:
    one = Tower(shape, 4) if name == "tower" else family(name, shape, 4)
    return SearchSpace(one, recipe_space(shape, 4, 1000))


def designs_of(space: SearchSpace, count: int, seed: int = 0) -> list[Design]:
    return [space.decode(space.space.sample(np.random.default_rng((seed, i)))) for i in range(count)]


NAMES = ["tower", "chain", "cell", "mobile", "residual", "vit"]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_with_views_a_candidate_puts_out_what_its_cut_out_network_does(name, kernels):
    space, shared = space_of(name), SharedWeights(kernels=kernels)
    designs = designs_of(space, 12)
    for design in designs:
        Candidate(design, shared)
    for design in designs:
        same_as_cut_out(design, shared)


def same_as_cut_out(design: Design, shared: SharedWeights) -> None:
    """What the candidate puts out with views is what its own network does with the weights that are cut out."""
    x, candidate = torch.randn(4, *SHAPE), Candidate(design, shared)
    parameters = candidate.parameters()
    candidate.recalibrate([x], parameters)
    own = design.network(0)
    own.load_state_dict(candidate.cut_out())
    with torch.no_grad():
        torch.testing.assert_close(candidate.forward(x, parameters), own.eval()(x), rtol=1e-5, atol=1e-5)
    assert all(tensor.is_contiguous() for tensor in candidate.cut_out().values())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_views_of_the_shared_tensors(name):
    space, shared = space_of(name), SharedWeights()
    for design in designs_of(space, 8):
        candidate = Candidate(design, shared)
        stored = {tensor.untyped_storage().data_ptr() for tensor in shared.tensors.values()}
        parts = {cut.parameter for cut in candidate.cuts if cut.parts > 1}
        for parameter, tensor in candidate.parameters().items():
            assert parameter in parts or tensor.untyped_storage().data_ptr() in stored


def used_by(designs: list[Design], shared: SharedWeights) -> dict[str, torch.Tensor]:
    used: dict[str, torch.Tensor] = {}
    for design in designs:
        for cut in Candidate(design, shared).cuts:
            for name in cut.transforms:
                used[name] = torch.ones_like(shared.tensors[name], dtype=torch.bool)
            own = used.setdefault(cut.name, torch.zeros_like(shared.tensors[cut.name], dtype=torch.bool))
            inside(own, shared.box(cut)).fill_(True)
    return used


def snapshot(training: SharedTraining) -> dict[str, torch.Tensor]:
    found = {name: tensor.clone() for name, tensor in training.shared.tensors.items()}
    for name, own in training.moments.items():
        found |= {f"{name}|{key}": value.clone() for key, value in own.items() if value.ndim}
    return found


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("each", [1, 3])
def test_elements_outside_the_sampled_views_stay_bit_by_bit(name, optimizer, each):
    space, shared = space_of(name), SharedWeights(kernels="transform" if each == 3 else "centre")
    recipe = Recipe.parse(space.space.default({"recipe.optimizer": optimizer}).part("recipe"))
    training = SharedTraining(shared, recipe, OWN)
    designs = designs_of(space, 9)
    for design in designs:
        Candidate(design, shared)
    generator = torch.Generator().manual_seed(0)
    moved = 0
    for turn in range(3):  # from the second on there are moments
        moved += moved_by(training, designs[turn * each : (turn + 1) * each], generator)
    assert moved > 1000 or name == "tower"


def moved_by(training: SharedTraining, step: list[Design], generator: torch.Generator) -> int:
    """Take a step of these candidates; return how many elements it moved, none of them outside of what they use."""
    moved, before, used = 0, snapshot(training), used_by(step, training.shared)
    z, y = torch.randn(6, *SHAPE, generator=generator), torch.randint(4, (6,), generator=generator)
    training.step(z, Labels(y), 1.0, step)
    for name, tensor in snapshot(training).items():
        if name in before:
            changed = tensor != before[name]
            outside = ~used.get(name.split("|")[0], torch.zeros_like(changed))
            assert not (changed & outside).any(), name
            moved += int(changed.sum())
        else:
            assert not tensor[~used[name.split("|")[0]]].any()
    return moved


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("name", ["chain", "vit"])
def test_one_candidate_alone_is_trained_as_its_own_network(name, optimizer):
    space, shared = space_of(name), SharedWeights()
    designs = designs_of(space, 20)
    for other in designs:
        Candidate(other, shared)
    recipe = Recipe.parse(space.space.default({"recipe.optimizer": optimizer}).part("recipe"))
    own = Training(designs[3].network(0), recipe, OWN, device=torch.device("cpu"), dtype=torch.float32)
    own.network.load_state_dict(Candidate(designs[3], shared).cut_out())
    own.network.train()
    training = SharedTraining(shared, recipe, OWN)
    generator = torch.Generator().manual_seed(1)
    for turn in range(4):
        z, y = torch.randn(8, *SHAPE, generator=generator), torch.randint(4, (8,), generator=generator)
        losses = []
        for step in (own.step, lambda *given: training.step(*given, [designs[3]])):
            torch.manual_seed(turn)
            losses.append(float(step(z, Labels(y), 0.3)))
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    ours, theirs = Candidate(designs[3], shared).cut_out(), own.network.state_dict()
    for name, tensor in theirs.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(ours[name], tensor, rtol=2e-2, atol=5e-4)


def test_the_fused_optimizers_would_write_beside_a_view():
    """Why strided tensors have another kernel: if this fails, torch has mended it, and ``strided`` may go."""
    whole = torch.zeros(4, 4)
    view = whole[:2, :2].detach().requires_grad_()
    view.grad = torch.ones(2, 2)
    torch.optim.AdamW([view], 0.1, fused=True).step()
    assert bool(whole[0, 2] != 0) or bool(whole[1, :2].eq(0).any())


def test_equal_designs_have_equal_scores(tmp_path: Path):
    from search_spaces.spaces.cell import Cell

    space = SearchSpace(Cell.nas_bench_201((1, 8, 8), 4), recipe_space((1, 8, 8), 4, 1000))
    shared, met, equal = SharedWeights(), {}, 0
    x = torch.randn(3, 1, 8, 8)
    for design in designs_of(space, 150):
        if not design.graph.reached:
            continue
        candidate = Candidate(design, shared)
        candidate.recalibrate([x], candidate.parameters())
        with torch.no_grad():
            logits = candidate.forward(x, candidate.parameters())
        key = design.graph.key()
        if key in met:
            equal += 1
            assert torch.equal(met[key], logits)
        met[key] = logits
    assert equal >= 5


def test_the_largest_design_is_its_own_module():
    """Of the largest kernels and widths the tensors are used whole, transforms or not."""
    space = space_of("tower")
    for kernels in KERNELS:
        shared = SharedWeights(kernels=kernels)
        for design in designs_of(space, 30):
            Candidate(design, shared)
        largest = space.decode(Configuration({**space.space.default(), **LARGEST}))
        candidate = Candidate(largest, shared)
        for cut in candidate.cuts:
            assert not cut.transforms and cut.stored == tuple(shared.tensors[cut.name].shape)
            assert candidate.parameters()[cut.parameter] is shared.tensors[cut.name]


LARGEST = {"architecture.kernel": 5, "architecture.filters": 8, "architecture.join": "one"}


def test_a_transform_begins_as_the_centre_and_learns():
    space = space_of("tower")
    centre, transform = SharedWeights(kernels="centre"), SharedWeights(kernels="transform")
    large, small = (
        space.decode(Configuration({**space.space.default(), **LARGEST, "architecture.kernel": kernel}))
        for kernel in (5, 1)
    )
    for shared in (centre, transform):
        Candidate(large, shared)
    x = torch.randn(5, *SHAPE)
    outputs = []
    for shared in (centre, transform):
        candidate = Candidate(small, shared)
        candidate.train()
        outputs.append(candidate.forward(x, candidate.parameters()))
    assert torch.equal(*outputs)
    training = SharedTraining(transform, Recipe.parse(space.space.default().part("recipe")), OWN)
    training.step(x, Labels(torch.arange(5) % 4), 1.0, [small])
    matrices = [name for name in transform.tensors if ".to" in name]
    assert matrices and all(
        not torch.equal(transform.tensors[m], torch.eye(len(transform.tensors[m]))) for m in matrices
    )


def test_tensors_that_grow_keep_what_they_held():
    space, shared = space_of("tower"), SharedWeights()
    small, large = (
        space.decode(
            Configuration(
                {**space.space.default(), **LARGEST, "architecture.kernel": k, "architecture.filters": f}
            )
        )
        for k, f in ((3, 4), (5, 8))
    )
    training = SharedTraining(shared, Recipe.parse(space.space.default().part("recipe")), OWN)
    z, labels = torch.randn(6, *SHAPE), Labels(torch.arange(6) % 4)
    training.step(z, labels, 1.0, [small])
    early = Candidate(small, shared)
    before = {name: tensor.clone() for name, tensor in early.parameters().items()}
    Candidate(large, shared)
    after, later = Candidate(small, shared).parameters(), early.parameters()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(before[name], later[name]) for name in before)
    training.step(z, labels, 1.0, [large])
    moved = early.parameters()
    assert any(not torch.equal(before[name], moved[name]) for name in before)
    assert {name: m["exp_avg"].shape for name, m in training.moments.items()} == {
        name: shared.tensors[name].shape for name in training.moments
    }


def test_unknown_kernels_and_sampling_are_refused():
    with pytest.raises(ValueError, match="kernels='center' is not known; did you mean 'centre'"):
        SharedWeights(kernels="center")
    with pytest.raises(ValueError, match="sampling='fare' is not known; did you mean 'fair'"):
        Paths(sampling="fare")
    with pytest.raises(ValueError, match="each must be 1 or more"):
        Paths(each=0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return save(load("digits", seed=0), tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize(
    "paths",
    [Paths(macs=3e5), Paths(each=2, sampling="random", macs=3e5), Paths(sandwich=True, shrink=0.5, macs=3e5)],
    ids=["fair", "random", "sandwich"],
)
def test_interrupted_training_ends_with_the_weights_of_the_uninterrupted(digits, tmp_path, paths):
    space = SearchSpace(Tower((1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1000))
    whole = Supernet(space, digits, Plan(3, paths), tmp_path / "whole.safetensors")
    whole.train()

    class Killed(Exception):
        pass

    def supernet() -> Supernet:
        return Supernet(space, digits, Plan(3, paths), tmp_path / "parts.safetensors")

    for kill_at in (2, 5, 1):
        looks = 0

        def watch(at: int = kill_at) -> None:
            nonlocal looks
            looks += 1
            if looks == at:
                raise Killed

        try:
            supernet().train(watch=watch)
        except Killed:
            continue
    last = supernet()
    last.train()
    assert last.curve == whole.curve
    assert all(torch.equal(last.shared.tensors[n], t) for n, t in whole.shared.tensors.items())
    design = space.decode(space.space.default())
    assert last.scorer().score(design) == whole.scorer().score(design)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_by_the_same_lines(digits, tmp_path, precision):
    space = joint_space(load("digits", seed=0), "chain")
    one = Supernet(space, digits, Plan(1, Paths(macs=3e5)), tmp_path / "s.safetensors", precision=precision)
    one.train()
    assert np.isfinite(one.curve[0])


def test_a_supernet_learns_and_refuses_a_file_of_another_plan(digits, tmp_path):
    space = joint_space(load("digits", seed=0), "mobile")
    bound = Paths(macs=1.5 * space.measure(space.space.default())["macs"])
    one = Supernet(space, digits, Plan(4, bound), tmp_path / "s.safetensors")
    one.train()
    assert one.curve[-1] < one.curve[0] - 0.3
    within = [design for design in designs_of(space, 60) if design.macs <= bound.macs]
    assert one.scorer().score(within[0])["accuracy"] > 0.4
    with pytest.raises(ValueError, match="give another file, or the same plan"):
        Supernet(space, digits, Plan(5, bound), tmp_path / "s.safetensors")


def test_in_place_norms_do_not_change_what_a_candidate_puts_out():
    design = designs_of(space_of("chain"), 1)[0]
    network = design.network(0)
    x = torch.randn(3, *SHAPE)
    expected = network.eval()(x)
    overwrite_norms(network)
    assert torch.equal(network(x), expected)


def test_a_split_parts_the_options_that_pull_apart():
    alike = {("a", "b"): 0.9, ("c", "d"): 0.8}
    pairs = {(x, y): alike.get((x, y), -0.5) for x, y in itertools.combinations("abcd", 2)}
    space = Space(calm=Choice(("x", "y", "z")), torn=Choice(tuple("abcd")))
    split, calm = splits({"calm": {("x", "y"): 0.7}, "torn": pairs}, space)
    assert split == Split("torn", (("c", "d"), ("a", "b")), pytest.approx(-0.5)) or split == Split(
        "torn", (("a", "b"), ("c", "d")), pytest.approx(-0.5)
    )
    assert {split.group({"torn": option}) for option in "ab"} != {
        split.group({"torn": option}) for option in "cd"
    }
    assert split.group({}) == 0
    assert splits({}, space) == []
    # an option that was in no pair is trained by the half that scores it
    assert calm.groups[calm.group({"calm": "z"})].count("z") == 1


def test_a_choice_that_may_make_no_difference_parts_no_halves():
    rng = np.random.default_rng(0)
    space = space_of("cell")
    assert not always_told(space, "architecture.edge0_1", rng)
    assert always_told(space, "architecture.width", rng)
    assert always_told(space_of("tower"), "architecture.kernel", rng)


class Bound(Tower):
    """The tower with a constraint that no largest kernel holds."""

    @property
    def space(self) -> Space:
        parts = super().space.parts
        return Space(constraints=[Linear({"kernel": 1}, 3)], **parts)


@pytest.mark.parametrize("only", [None, ("architecture.kernel", (5, 3)), ("architecture.kernel", (5,))])
def test_what_constraints_forbid_is_not_drawn_within_a_bound_either(only):
    space = SearchSpace(Bound(SHAPE, 4), recipe_space(SHAPE, 4, 1000))
    draws = Paths(macs=1e9, only=only).draws(space, 0, epoch=1, horizon=1)
    if only == ("architecture.kernel", (5,)):
        with pytest.raises(ValueError, match="designs is valid"):
            next(draws)
        return
    kernels = {next(draws)[0].config["architecture.kernel"] for _ in range(30)}
    assert kernels == ({3} if only else {1, 3})


def test_ranges_that_open_within_a_bound_begin_with_its_largest_designs():
    space = space_of("chain")
    sizes = []
    for epoch in (1, 10):
        draws = Paths(macs=2e5, shrink=1.0).draws(space, 0, epoch=epoch, horizon=10)
        sizes.append(np.median([next(draws)[0].macs for _ in range(30)]))
    assert sizes[1] < sizes[0] <= 2e5


def test_gradients_of_a_candidate_are_those_of_its_network():
    space, shared = space_of("tower"), SharedWeights()
    designs = designs_of(space, 12)
    for design in designs:
        Candidate(design, shared)
    z, labels = torch.randn(6, *SHAPE), Labels(torch.arange(6) % 4)
    design = designs[0]
    gradients = gradients_of(Candidate(design, shared), shared, z, labels)
    own = design.network(0)
    own.load_state_dict(Candidate(design, shared).cut_out())
    labels.loss(own.train()(z)).backward()
    theirs = sum(float(p.grad.square().sum()) for p in own.parameters() if p.grad is not None)
    assert sum(float(g.square().sum()) for g in gradients.values()) == pytest.approx(theirs, rel=1e-4)
    assert cosine(gradients, gradients) == pytest.approx(1.0)
    assert cosine(gradients, {}) is None


def test_similarities_are_of_pairs_of_options():
    space, shared = space_of("tower"), SharedWeights()
    z, labels = torch.randn(6, *SHAPE), Labels(torch.arange(6) % 4)
    found = similarities(space, shared, [(z, labels)], rng=np.random.default_rng(0))
    kernels = found["architecture.kernel"]
    assert set(kernels) == {(1, 3), (1, 5), (3, 5)} and all(-1 <= value <= 1 for value in kernels.values())
    assert set(found["architecture.filters"]) == {(4, 8)}


@pytest.mark.slow
def test_half_of_a_split_begins_with_the_weights_of_the_whole(digits, tmp_path):
    space = joint_space(load("digits", seed=0), "mobile")
    macs = 1.5 * space.measure(space.space.default())["macs"]
    whole = Supernet(space, digits, Plan(1, Paths(macs=macs)), tmp_path / "whole.safetensors")
    whole.train()
    only = ("architecture.activation", ("relu",))
    half = Supernet(
        space, digits, Plan(1, Paths(only=only, macs=macs)), tmp_path / "half.safetensors", parent=whole.file
    )
    assert all(
        torch.equal(half.shared.tensors[name], tensor) for name, tensor in whole.shared.tensors.items()
    )
    drawn = next(half.plan.paths.draws(space, 0, epoch=1, horizon=1))
    assert drawn[0].config["architecture.activation"] == "relu"
    half.train()
    assert len(half.curve) == 1


def test_what_may_not_be_proposed_is_not_drawn():
    space = space_of("chain")
    draws = Paths(each=8, macs=2e5).draws(space, 0, epoch=1, horizon=1)
    assert all(design.macs <= 2e5 for design in next(draws))
    with pytest.raises(ValueError, match="at most 1 multiply-accumulates; loosen the bound"):
        next(Paths(macs=1).draws(space, 0, epoch=1, horizon=1))


def test_options_that_seldom_fit_a_bound_are_drawn_as_often_as_they_can_be():
    space = space_of("mobile")
    macs = 2 * space.measure(space.space.default())["macs"]
    widths = {}
    for sampling in ("fair", "random"):
        draws = Paths(macs=macs, sampling=sampling).draws(space, 0, epoch=1, horizon=1)
        drawn = [next(draws)[0] for _ in range(60)]
        assert all(design.macs <= macs for design in drawn)
        widths[sampling] = [design.config["architecture.width"] for design in drawn]
    assert widths["fair"].count(0.5) >= 20 > 15 >= widths["random"].count(0.5)


def test_scores_do_not_depend_on_what_was_scored_before(digits, tmp_path):
    space = joint_space(load("digits", seed=0), "residual")
    net = Supernet(space, digits, Plan(1, Paths(macs=3e5)), tmp_path / "s.safetensors")
    designs = [design for design in designs_of(space, 40) if design.macs <= 2e6][:8]
    alone = [Supernet(space, digits, net.plan, net.file).scorer().score(design) for design in designs[-2:]]
    scorer = net.scorer()
    sizes = {name: tensor.shape for name, tensor in net.shared.tensors.items()}
    in_a_row = [scorer.score(design) for design in designs]
    assert in_a_row[-2:] == alone
    assert {name: tensor.shape for name, tensor in net.shared.tensors.items()} == sizes


def test_statistics_of_batches_score_without_dropout(digits, tmp_path):
    space = joint_space(load("digits", seed=0), "chain")
    net = Supernet(space, digits, Plan(1, Paths(macs=2e5), calibrate=0), tmp_path / "s.safetensors")
    design = space.decode(Configuration({**space.space.default(), "architecture.dropout": 0.5}))
    assert net.scorer().score(design) == net.scorer().score(design)


def test_a_stopped_supernet_is_what_it_was_after_its_last_whole_epoch(digits, tmp_path):
    space = joint_space(load("digits", seed=0), "chain")
    plan = Plan(2, Paths(macs=2e5))
    whole = Supernet(space, digits, plan, tmp_path / "whole.safetensors")
    whole.train()
    looks = iter(range(100))

    def watch() -> None:
        if next(looks) == 2:
            raise TimeoutError

    parts = Supernet(space, digits, plan, tmp_path / "parts.safetensors")
    with pytest.raises(TimeoutError):
        parts.train(watch=watch)
    parts.train()
    assert parts.curve == whole.curve


def test_what_a_search_prefers_is_every_second_draw():
    space = space_of("chain")
    liked = [space.space.default()]
    steps = Paths(each=4).draws(space, 0, epoch=1, horizon=1, preferred=liked)
    keys = [design.graph.key() for design in next(steps)]
    own = space.decode(liked[0]).graph.key()
    assert keys[0] == keys[2] == own and own not in (keys[1], keys[3])


def test_a_bound_that_few_designs_hold_is_held_by_the_smallest():
    space = space_of("mobile")
    least = min(
        space.decode(end(space.space, Decks(space.space, np.random.default_rng(i)), largest=False)).macs
        for i in range(20)
    )
    steps = Paths(each=3, macs=1.02 * least).draws(space, 0, epoch=1, horizon=1)
    assert all(design.macs <= 1.02 * least for design in next(steps))


def test_the_upper_end_of_a_sandwich_is_among_the_largest_within_the_bound():
    space = space_of("chain")
    bounded = Paths(sandwich=True, macs=2e5).draws(space, 0, epoch=1, horizon=1)
    steps = [next(bounded) for _ in range(20)]
    largest, drawn, smallest = (np.array([step[at].macs for step in steps]) for at in range(3))
    assert largest.max() <= 2e5
    assert largest.min() > np.median(drawn) > np.median(smallest)


def test_the_ends_of_a_sandwich_stay_in_the_group_of_a_split():
    space = space_of("tower")
    only = ("architecture.kernel", (1, 3))
    for _, design in zip(
        range(5), Paths(sandwich=True, only=only).draws(space, 0, epoch=1, horizon=1), strict=False
    ):
        assert {one.config["architecture.kernel"] for one in design} <= {1, 3}


def test_an_op_may_say_how_its_kernels_share(monkeypatch):
    from search_spaces.ops.conv import Conv

    monkeypatch.setattr(Conv, "kernels", "apart")
    shared = SharedWeights(kernels="centre")
    for kernel in (1, 3):
        config = Configuration(
            {**space_of("tower").space.default(), **LARGEST, "architecture.kernel": kernel}
        )
        Candidate(space_of("tower").decode(config), shared)
    assert sum(".0Conv2d(" in name and name.startswith("left") for name in shared.tensors) == 2


def test_clipping_and_an_overflow_of_half_precision_leave_the_rest_in_place():
    space, shared = space_of("cell"), SharedWeights()
    recipe = Recipe.parse(space.space.default({"recipe.clip": 1.0}).part("recipe"))
    training = SharedTraining(shared, recipe, OWN, dtype=torch.float16)
    training.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    designs = [design for design in designs_of(space, 8) if design.graph.reached]
    for design in designs:
        Candidate(design, shared)
    z, labels = torch.randn(6, *SHAPE), Labels(torch.arange(6) % 4)
    before = snapshot(training)
    training.step(z, labels, 1.0, designs[:2])
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in snapshot(training).items() if name in before
    )
    training.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    before, used = snapshot(training), used_by(designs[:2], shared)
    training.step(z, labels, 1.0, designs[:2])
    changed = 0
    for name, tensor in snapshot(training).items():
        if name in before:
            assert not (
                (tensor != before[name])
                & ~used.get(name.split("|")[0], torch.zeros_like(tensor, dtype=torch.bool))
            ).any()
            changed += int((tensor != before[name]).sum())
    assert changed > 100
