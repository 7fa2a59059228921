"""Spaces: every sample of every family builds, counts, prints as source and trains a step."""

import pickle

import numpy as np
import pytest
import torch
from test_ops import macs_of

from nas.operators import mutate, uniform_crossover
from search_spaces import backbone
from search_spaces.architecture import Architecture, Design, Opaque, SearchSpace, spaces
from search_spaces.architecture import family as named
from search_spaces.block import Block, expanded, walk
from search_spaces.network import Network, shapes_of
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.source import source
from search_spaces.space import Configuration, Space
from search_spaces.spaces.chain import Chain
from search_spaces.vision import torchvision

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48))


GRAPHS = [name for name in spaces.names() if not issubclass(spaces.get(name), Opaque)]


def check_sample(family: Architecture, config: Configuration) -> None:
    graph = family.decode(config, family.shape).simplified()
    design = Design(config, Configuration({}), family.shape, family.classes, graph)
    network = Network(graph, family.shape, seed=3)
    shapes = shapes_of(graph, family.shape)
    assert shapes[graph.output] == (family.classes,)
    x = torch.randn(2, *family.shape)
    assert sum(p.numel() for p in network.parameters()) == design.parameters
    assert macs_of(network, x[:1]) == design.macs
    text: dict = {}
    exec(source(graph, family.shape), text)
    plain = text["Model"]()
    plain.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), network.eval()(x))
    check_step(network, x)


def check_step(network: torch.nn.Module, x: torch.Tensor) -> None:
    loss = torch.nn.functional.cross_entropy(network.train()(x), torch.tensor([0, 1]))
    loss.backward()
    trained = [p for p in network.parameters() if p.requires_grad]
    assert torch.isfinite(loss) and all(p.grad is not None for p in trained)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_build_count_print_and_train_a_step(name, shape):
    rng = np.random.default_rng(sum(shape))
    family = spaces.get(name)(shape, 10)
    check_sample(family, family.space.default())
    for _ in range(8):
        check_sample(family, family.space.sample(rng))


@pytest.mark.parametrize("name", GRAPHS)
def test_smaller_and_grey_images_decode_too(name):
    family = spaces.get(name)((3, 32, 32), 10)
    rng = np.random.default_rng(1)
    for shape in ((1, 32, 32), (3, 24, 24), (1, 16, 16)):
        graph = family.decode(family.space.default(), shape).simplified()
        check_step(Network(graph, shape), torch.randn(2, *shape))
    decoded = 0
    for _ in range(20):  # a deep sample may run out of pixels: then it says so
        try:
            graph = family.decode(family.space.sample(rng), (1, 24, 24)).simplified()
            check_step(Network(graph, (1, 24, 24)), torch.randn(2, 1, 24, 24))
            decoded += 1
        except ValueError as error:
            assert "leaves nothing" in str(error)
    assert decoded >= 10


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("side", [64, 96, 224])
def test_smaller_images_cost_less(name, side):
    family = spaces.get(name)((3, side, side), 10)
    config, costs = family.space.default(), []
    for own in (side // 2, 3 * side // 4, side):
        graph = family.decode(config, (3, own, own))
        costs.append(Design(config, Configuration({}), (3, own, own), 10, graph).macs)
    assert costs[0] < costs[1] < costs[2]


def test_transformers_on_wide_large_and_tiny_images():
    for shape in ((3, 600, 600), (3, 64, 1024), (1, 4, 4)):
        family = spaces.get("vit")(shape, 2)
        tokens = shapes_of(family.decode(family.space.default(), shape), shape)["tokens"]
        assert tokens[0] <= 400
    with pytest.raises(ValueError, match="give at least 4 on each side"):
        _ = spaces.get("vit")((3, 2, 2), 2).space


@pytest.mark.parametrize("name", spaces.names())
def test_mutants_and_crosses_stay_valid(name):
    family = spaces.get(name)((3, 32, 32), 10)
    rng = np.random.default_rng(2)
    parent = family.space.default()
    for _ in range(60):
        other = family.space.sample(rng)
        child = mutate(family.space, uniform_crossover(family.space, parent, other, rng), rng)
        assert family.space.check(child) == child
        if name in GRAPHS:
            assert family.decode(child, family.shape).key()
        parent = child


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_five_hundred_samples(name):
    rng = np.random.default_rng(7)
    shapes = [*SHAPES[:3], (3, 224, 224)]
    for number in range(500):
        family = spaces.get(name)(shapes[number % 4], 10)
        check_sample(family, family.space.sample(rng))


@pytest.mark.parametrize("name", ["mobile", "residual", "vit"])
def test_no_two_blocks_of_a_space_are_one_body(name):
    """A key takes a block for one node, so two names of one body would be two networks."""
    family, rng, bodies = spaces.get(name)((3, 32, 32), 10), np.random.default_rng(0), {}
    for _ in range(60):
        graph = family.decode(family.space.sample(rng), family.shape).simplified()
        for node, op, (shape, *_), _ in walk(graph, family.shape):
            if isinstance(op, Block):
                bodies[node.label, shape] = shape, expanded(op.body(shape), shape).key()
    assert len(set(bodies.values())) == len(bodies) > 50


def test_depths_share_their_blocks():
    family = spaces.get("mobile")((3, 32, 32), 10)
    config = family.space.default()
    deeper = family.space.complete({**config, "s1.depth": "d4"}, np.random.default_rng(0))
    assert config["s1.depth"] == "d2"
    assert {path for path in config if path not in deeper} == set()
    new = {path for path in deeper if path not in config}
    assert new == {f"s1.depth.b{n}.{what}" for n in (3, 4) for what in ("kernel", "expansion")}


def test_backbones_take_any_image_and_freeze():
    for shape in ((1, 28, 28), (3, 40, 32)):
        family = spaces.get("backbone")(shape, 5)
        config = {"backbone": "shufflenet_v2_x0_5", "side": 32, "head": "linear", "dropout": 0.0}
        design = SearchSpace(family, Space()).decode(
            Configuration({f"architecture.{path}": value for path, value in config.items()})
        )
        network = pickle.loads(pickle.dumps(design)).network(1)
        assert sum(p.numel() for p in network.parameters()) == design.parameters
        check_step(network, torch.randn(2, *shape))


def test_backbones_begin_from_given_weights(tmp_path):
    torch.manual_seed(0)
    model = torchvision("models").get_model("resnet18", weights=None)
    torch.save(model.state_dict(), tmp_path / "resnet18-0123.pth")
    family = spaces.get("backbone")((3, 32, 32), 5, weights=str(tmp_path))
    assert family.space.parameter("backbone").options == ("resnet18",)
    network = family.build(
        {"backbone": "resnet18", "side": 32, "head": "linear", "dropout": 0.0, "frozen": 0.5}
    )
    assert torch.equal(network.network.layer3[0].conv1.weight, model.layer3[0].conv1.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_step(network, torch.randn(2, 3, 32, 32))
    trained = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4", "fc"}
    after = network.state_dict()
    assert torch.equal(before["network.bn1.running_mean"], after["network.bn1.running_mean"])
    assert not torch.equal(
        before["network.layer4.0.bn1.running_mean"], after["network.layer4.0.bn1.running_mean"]
    )


def test_counting_reads_the_weights_of_a_backbone_once(tmp_path, monkeypatch):
    model = torchvision("models").get_model("shufflenet_v2_x0_5", weights=None)
    torch.save(model.state_dict(), tmp_path / "shufflenet_v2_x0_5.pth")
    family = spaces.get("backbone")((3, 32, 32), 5, weights=str(tmp_path))
    read, original = [], backbone._read
    monkeypatch.setattr(backbone, "_read", lambda path: read.append(path.name) or original(path))
    searched, counts = SearchSpace(family, Space()), set()
    for frozen in (0.0, 0.5, 1.0):
        config = Configuration({**searched.space.default(), "architecture.frozen": frozen})
        counts.add(searched.decode(config).parameters)
    assert read == ["shufflenet_v2_x0_5.pth"]
    plain = SearchSpace(spaces.get("backbone")((3, 32, 32), 5), Space())
    values = {**plain.space.default(), "architecture.backbone": "shufflenet_v2_x0_5"}
    assert counts == {plain.decode(Configuration(values)).parameters}
    network = searched.decode(config).network()
    assert torch.equal(network.network.conv1[0].weight, model.conv1[0].weight) and len(read) == 2


def test_weights_that_do_not_fit_say_so(tmp_path):
    with pytest.raises(ValueError, match=r"name it like resnet18\.pth"):
        spaces.get("backbone")((3, 32, 32), 5, weights=str(tmp_path))
    torch.save({"a": torch.zeros(1)}, tmp_path / "resnet18.pth")
    family = spaces.get("backbone")((3, 32, 32), 5, weights=str(tmp_path / "resnet18.pth"))
    with pytest.raises(ValueError, match="do not fit their backbone"):
        family.build(family.space.default())
    searched = SearchSpace(family, Space())
    with pytest.raises(ValueError, match="do not fit their backbone"):
        searched.measure(searched.space.default())
    with pytest.raises(ValueError, match="takes no weights"):
        named("chain", (3, 32, 32), 5, weights=str(tmp_path))


def test_joint_space_decodes_purely():
    joint = SearchSpace(Chain((3, 32, 32), 10), recipe_space((3, 32, 32), 10, 10_000))
    rng = np.random.default_rng(0)
    configs = [joint.space.sample(rng) for _ in range(60)]
    keys = {joint.key(config) for config in configs}
    assert len(keys) == 60
    again = SearchSpace(Chain((3, 32, 32), 10), recipe_space((3, 32, 32), 10, 10_000))
    assert keys == {again.key(config) for config in configs}
    metrics = joint.measure(joint.space.default())
    assert set(metrics) == {"params", "macs", "size"} and metrics["size"] >= 4 * metrics["params"]


def test_networks_leave_the_global_generator_alone():
    graph = Chain((1, 8, 8), 10).decode(Chain((1, 8, 8), 10).space.default(), (1, 8, 8))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, c = (Network(graph, (1, 8, 8), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(a.parameters()), next(c.parameters()))


def test_every_recipe_parses():
    space = recipe_space((3, 32, 32), 10, 10_000)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        recipe = Recipe.parse(space.sample(rng))
        seen.add(recipe.optimizer)
        assert 1e-5 < recipe.lr < 1 and recipe.batch_size in (32, 64, 128, 256)
    assert seen == {"adamw", "adam", "sgd", "rmsprop"}
