"""Ops: arithmetic equals the module, source equals the network, blocks equal their references."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.block import Block, expanded
from search_spaces.graph import Graph, Node
from search_spaces.network import Network
from search_spaces.op import op_of, ops
from search_spaces.source import source
from search_spaces.vision import torchvision

# one node of every op, with attributes and input shapes
NODES = {
    "activation": ({"kind": "silu"}, [(4, 6, 6)]),
    "adaptive-pool": ({"grid": 2}, [(4, 6, 6)]),
    "attend": ({"heads": 2}, [(9, 24)]),
    "attention": ({"heads": 2, "drop": 0.1}, [(9, 8)]),
    "average-pool": ({}, [(4, 6, 6)]),
    "bottleneck": ({"filters": 16, "stride": 2, "groups": 2}, [(8, 6, 6)]),
    "concat": ({}, [(4, 6, 6), (3, 6, 6)]),
    "conv": (
        {"filters": 8, "kernel": 5, "stride": 2, "groups": 2, "dilation": 2, "norm": "group"},
        [(4, 9, 8)],
    ),
    "convnext": ({"kernel": 5, "drop": 0.2}, [(4, 6, 5)]),
    "downsample": ({"filters": 6}, [(4, 6, 5)]),
    "dropout": ({"rate": 0.5}, [(12,)]),
    "flatten": ({}, [(4, 3, 2)]),
    "global-pool": ({"grid": 2}, [(4, 6, 6)]),
    "inverted-residual": ({"filters": 8, "kernel": 5, "squeeze": True, "drop": 0.1}, [(8, 6, 6)]),
    "linear": ({"units": 7, "activation": "relu"}, [(12,)]),
    "max-pool": ({}, [(4, 7, 7)]),
    "mean-tokens": ({}, [(9, 8)]),
    "mlp": ({"ratio": 2.0}, [(9, 8)]),
    "multiply": ({}, [(4, 6, 6), (4, 1, 1)]),
    "none": ({}, [(4, 6, 6)]),
    "norm": ({"kind": "layer"}, [(9, 8)]),
    "patch": ({"filters": 5, "size": 3}, [(4, 7, 6)]),
    "position": ({}, [(9, 8)]),
    "projection": ({"filters": 6}, [(4, 6, 6)]),
    "residual": ({"filters": 6, "stride": 2}, [(4, 6, 6)]),
    "separable": ({"filters": 8, "kernel": 3, "stride": 2}, [(4, 6, 6)]),
    "skip": ({}, [(4, 6, 6)]),
    "squeeze-excite": ({"reduced": 3}, [(6, 4, 4)]),
    "stochastic-depth": ({"rate": 0.3}, [(4, 6, 6)]),
    "sum": ({}, [(4, 6, 6), (4, 6, 6)]),
    "to-image": ({"height": 3, "width": 4}, [(12, 5)]),
    "to-tokens": ({}, [(4, 3, 5)]),
}


def macs_of(module: torch.nn.Module, *inputs: torch.Tensor) -> int:
    """Count by torch's own flop counter: two operations are one multiply-accumulate."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):  # the one whose products are counted
        module.eval()(*inputs)
    return counter.get_total_flops() // 2


def graph_of(name: str) -> tuple[Graph, tuple[int, ...]]:
    """Return a graph of the op ``name`` alone; further inputs are made from the first one."""
    attrs, shapes = NODES[name]
    nodes = [Node.make("image", "input")]
    for place, shape in enumerate(shapes[1:]):
        kind = {"op": "adaptive-pool"} if shape[1] == 1 else {"op": "conv", "filters": shape[0], "kernel": 1}
        nodes.append(Node.make(f"other{place}", kind.pop("op"), ["image"], **kind))
    nodes.append(Node.make("n", name, [node.name for node in nodes], **attrs))
    return Graph(tuple(nodes), "n"), shapes[0]


@pytest.mark.parametrize("name", [name for name in ops.names() if name != "input"])
def test_arithmetic_source_and_module_agree(name):
    attrs, shapes = NODES[name]
    op = op_of(Node.make("n", name, [f"i{place}" for place in range(len(shapes))], **attrs))
    graph, shape = graph_of(name)
    torch.manual_seed(0)
    x = torch.randn(3, *shape)
    network = Network(graph, shape)
    own = {key: value for key, value in network.named_parameters() if key.startswith("n")}
    buffers = [b for key, b in network.named_buffers() if key.startswith("n") and b.is_floating_point()]
    with torch.no_grad():
        network.train()(x)  # statistics away from their initial values
        y = network.eval()(x)
    assert tuple(y.shape[1:]) == op.shape(*shapes)
    assert sum(p.numel() for p in own.values()) == op.parameters(*shapes)
    assert sum(b.numel() for b in buffers) == op.buffers(*shapes)
    others = [op_of(node).macs(shape) for node in graph.nodes[1:-1]]
    assert macs_of(network, x[:1]) == op.macs(*shapes) + sum(others)
    space: dict = {}
    exec(source(graph, shape), space)
    plain = space["Model"]()
    plain.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), y)
        torch.manual_seed(1)
        trained = network.train()(x)
        torch.manual_seed(1)
        assert torch.equal(plain.train()(x), trained)


@pytest.mark.parametrize("name", [name for name in ops.names() if issubclass(ops.get(name), Block)])
def test_a_block_is_its_body(name):
    graph, shape = graph_of(name)
    whole = expanded(graph, shape)
    assert not any(isinstance(op_of(node), Block) for node in whole.nodes)
    assert whole.output == "n"
    network = Network(graph, shape)
    assert {key.split(".")[0] for key in network.state_dict()} <= {node.name for node in whole.nodes}


def same_numbers(ours: torch.nn.Module, theirs: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """Give both the same weights, in order of appearance by shape, and compare what they compute."""
    state = theirs.state_dict()
    names = list(state)
    loaded = {}
    for key, value in ours.state_dict().items():
        match = next(name for name in names if state[name].numel() == value.numel())
        names.remove(match)
        loaded[key] = state[match].view_as(value)
    assert not names, names
    ours.load_state_dict(loaded)
    x = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)


def block(name: str, shape: tuple[int, ...], **attrs: object) -> Network:
    nodes = (Node.make("image", "input"), Node.make("n", name, ["image"], **attrs))
    return Network(Graph(nodes, "n"), shape)


def fresh(module: torch.nn.Module) -> torch.nn.Module:
    """Draw statistics that differ from layer to layer."""
    torch.manual_seed(3)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.5 + 0.1)
    return module


def test_blocks_equal_torchvision():
    models = torchvision("models")
    same_numbers(block("residual", (6, 8, 8), filters=6), fresh(models.resnet.BasicBlock(6, 6)), (6, 8, 8))
    same_numbers(
        block("bottleneck", (16, 8, 8), filters=16), fresh(models.resnet.Bottleneck(16, 4)), (16, 8, 8)
    )
    mobile = models.mobilenetv2.InvertedResidual(8, 8, 1, 6)
    same_numbers(
        block("inverted-residual", (8, 8, 8), filters=8, activation="relu6"), fresh(mobile), (8, 8, 8)
    )
    squeeze = torchvision("ops").SqueezeExcitation(8, 4, scale_activation=torch.nn.Hardsigmoid)
    same_numbers(block("squeeze-excite", (8, 6, 6), reduced=4), fresh(squeeze), (8, 6, 6))


def test_convnext_equals_torchvision_without_layer_scale():
    theirs = torchvision("models").convnext.CNBlock(8, layer_scale=1.0, stochastic_depth_prob=0.0)
    ours = block("convnext", (8, 9, 9))
    ours.load_state_dict(
        dict(
            zip(
                ours.state_dict(),
                [v for k, v in theirs.state_dict().items() if k != "layer_scale"],
                strict=True,
            )
        )
    )
    x = torch.randn(2, 8, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)


def test_transformer_layer_equals_torch():
    theirs = torch.nn.TransformerEncoderLayer(12, 3, 24, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    nodes = (
        Node.make("image", "input"),
        Node.make("a", "attention", ["image"], heads=3),
        Node.make("b", "mlp", ["a"], ratio=2.0),
    )
    ours = Network(Graph(nodes, "b"), (5, 12))
    state = theirs.state_dict()
    order = ["norm1.weight", "norm1.bias", "self_attn.in_proj_weight", "self_attn.in_proj_bias"]
    order += ["self_attn.out_proj.weight", "self_attn.out_proj.bias", "norm2.weight", "norm2.bias"]
    order += ["linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"]
    ours.load_state_dict(dict(zip(ours.state_dict(), [state[key] for key in order], strict=True)))
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours.eval()(x), theirs.train()(x), rtol=1e-5, atol=1e-5)


def test_stochastic_depth_drops_whole_images():
    network = block("stochastic-depth", (4, 3, 3), rate=0.25).train()
    torch.manual_seed(0)
    y = network(torch.ones(4000, 4, 3, 3)).flatten(1)
    assert torch.equal(y.min(1).values, y.max(1).values)
    values = set(y[:, 0].tolist())
    assert values == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert abs((y[:, 0] == 0).float().mean().item() - 0.25) < 0.03


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("conv", {"filters": 8, "groups": 0}, r"groups=0 of op 'conv' must be above 0"),
        ("conv", {"filters": -8}, "filters=-8"),
        ("conv", {"filters": 8, "stride": 0}, "stride=0"),
        ("conv", {"filters": 8, "kernel": 4}, "kernel=4 is even"),
        ("attend", {"heads": 0}, "heads=0"),
        ("dropout", {"rate": 1.5}, r"rate=1.5 of op 'dropout' must lie in \[0, 1\)"),
        ("mlp", {"ratio": 0.0}, "ratio=0.0"),
        ("max-pool", {"padding": -1}, "padding=-1 of op 'max-pool' must be 0 or more"),
    ],
)
def test_values_no_op_can_have(op, attrs, message):
    with pytest.raises(ValueError, match=message):
        op_of(Node.make("n", op, ["x"], **attrs)).shape((12, 8, 8))


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
