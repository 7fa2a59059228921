"""Ops and the chain space: arithmetic equals the module, source equals the network, every sample trains a step."""

import numpy as np
import pytest
import torch

from search_spaces.architecture import SearchSpace
from search_spaces.graph import Node
from search_spaces.network import Network, shapes_of
from search_spaces.op import op_of, ops
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.source import source
from search_spaces.spaces.chain import Chain

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48))
# one node of every op, with attributes and input shapes
NODES = {
    "activation": ({"kind": "silu"}, [(4, 6, 6)]),
    "average-pool": ({}, [(4, 6, 6)]),
    "concat": ({}, [(4, 6, 6), (3, 6, 6)]),
    "conv": ({"filters": 8, "kernel": 5, "stride": 2, "groups": 2}, [(4, 7, 6)]),
    "dropout": ({"rate": 0.5}, [(12,)]),
    "flatten": ({}, [(4, 3, 2)]),
    "global-pool": ({"grid": 2}, [(4, 6, 6)]),
    "linear": ({"units": 7, "activation": "relu"}, [(12,)]),
    "max-pool": ({}, [(4, 7, 7)]),
    "none": ({}, [(4, 6, 6)]),
    "separable": ({"filters": 8, "kernel": 3, "stride": 2}, [(4, 6, 6)]),
    "skip": ({}, [(4, 6, 6)]),
    "sum": ({}, [(4, 6, 6), (4, 6, 6)]),
}


def macs_of(module: torch.nn.Module, *inputs: torch.Tensor) -> int:
    total = 0

    def count(layer, _, output):
        nonlocal total
        weights = layer.weight[0].numel()
        total += output[0].numel() * weights

    handles = [
        m.register_forward_hook(count)
        for m in module.modules()
        if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)
    ]
    with torch.inference_mode():
        module.eval()(*inputs)
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize("name", [name for name in ops.names() if name != "input"])
def test_arithmetic_equals_the_module(name):
    attrs, shapes = NODES[name]
    node = Node.make("n", name, [f"i{place}" for place in range(len(shapes))], **attrs)
    op, inputs = op_of(node), [torch.randn(3, *shape) for shape in shapes]
    if not op.layers(*shapes):
        assert tuple(op.join(*inputs).shape[1:]) == op.shape(*shapes)
        assert op.parameters(*shapes) == op.macs(*shapes) == 0
        return
    module = op.build(*shapes).eval()
    assert tuple(module(*inputs).shape[1:]) == op.shape(*shapes)
    assert sum(p.numel() for p in module.parameters()) == op.parameters(*shapes)
    assert sum(b.numel() for b in module.buffers() if b.is_floating_point()) == op.buffers(*shapes)
    assert macs_of(module, *inputs) == op.macs(*shapes)
    rebuilt = eval(op.expression(*shapes), {"nn": torch.nn}).eval()
    rebuilt.load_state_dict(module.state_dict())
    assert torch.equal(rebuilt(*inputs), module(*inputs))


def test_op_messages():
    with pytest.raises(ValueError, match="did you mean 'conv'"):
        op_of(Node.make("c", "convv", ["x"], filters=3))
    with pytest.raises(ValueError, match="has no attribute 'filter'"):
        op_of(Node.make("c", "conv", ["x"], filter=3))
    with pytest.raises(ValueError, match="takes 1 to 1 inputs, not 2"):
        op_of(Node.make("c", "conv", ["x", "y"], filters=3))
    with pytest.raises(ValueError, match="multiples of groups"):
        op_of(Node.make("c", "conv", ["x"], filters=3, groups=2)).shape((4, 8, 8))
    with pytest.raises(ValueError, match="must be equal"):
        op_of(Node.make("s", "sum", ["a", "b"])).shape((4, 8, 8), (3, 8, 8))
    with pytest.raises(ValueError, match="use fewer stages"):
        op_of(Node.make("p", "max-pool", ["a"])).shape((4, 1, 1))


def check_sample(chain: Chain, rng: np.random.Generator) -> None:
    graph = chain.decode(chain.space.sample(rng), chain.shape).simplified()
    network = Network(graph, chain.shape, seed=int(rng.integers(1 << 30)))
    shapes = shapes_of(graph, chain.shape)
    assert shapes[graph.output] == (chain.classes,)
    counted = [
        (op_of(n).parameters(*i), op_of(n).macs(*i))
        for n in graph.nodes[1:]
        for i in [[shapes[s] for s in n.inputs]]
    ]
    x = torch.randn(2, *chain.shape)
    assert sum(p.numel() for p in network.parameters()) == sum(c[0] for c in counted)
    assert macs_of(network, x[:1]) == sum(c[1] for c in counted)
    space: dict = {}
    exec(source(graph, chain.shape), space)
    plain = space["Model"]()
    plain.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), network.eval()(x))
    loss = torch.nn.functional.cross_entropy(network.train()(x), torch.tensor([0, 1]))
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_build_count_print_and_train_a_step(shape):
    rng = np.random.default_rng(sum(shape))
    for _ in range(25):
        check_sample(Chain(shape, 10), rng)


@pytest.mark.slow
def test_five_hundred_samples():
    rng = np.random.default_rng(7)
    for number in range(500):
        check_sample(Chain(SHAPES[number % len(SHAPES)], 10), rng)


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
