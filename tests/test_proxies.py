"""Proxies against hand-computed networks and independent references; every registered one on every space."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from estimators.dataset import save
from estimators.estimator import Context, Fidelity
from estimators.proxy import Unscored, proxies, vote
from estimators.zero_cost import ZeroCost, score
from search_spaces.architecture import Design, family, spaces
from search_spaces.configuration import Configuration
from search_spaces.network import Network

SPACES = [name for name in spaces.names() if name != "backbone"]


def small(seed: int = 0, *, norm: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        *middle,
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def batch(n: int = 6, shape: tuple[int, int, int] = (2, 5, 5)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *shape, generator=generator), torch.arange(n) % 3


def value(name: str, network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return proxies.get(name)(network, images, labels, torch.Generator().manual_seed(2))


@torch.no_grad()
def slopes_by_differences(network: nn.Module, x, y, step: float = 1e-5) -> list[np.ndarray]:
    """Return dL/dW of convolutions and linear maps by central differences, in float64, batch norm in training."""
    network = copy.deepcopy(network).double().train()
    found = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight.data.view(-1)
            slope = np.empty(len(weight))
            for i in range(len(weight)):
                ends = []
                for sign in (1, -1):
                    weight[i] += sign * step
                    ends.append(float(cross_entropy(network(x.double()), y)))
                    weight[i] -= sign * step
                slope[i] = (ends[0] - ends[1]) / (2 * step)
            found.append(slope)
    return found


def weights_of(network: nn.Module) -> list[np.ndarray]:
    kinds = nn.Conv2d | nn.Linear
    layers = [layer for layer in network.modules() if isinstance(layer, kinds)]
    return [layer.weight.detach().double().flatten().numpy() for layer in layers]


def test_grad_norm_and_snip_by_finite_differences():
    network, (x, y) = small(), batch()
    slopes = slopes_by_differences(network, x, y)
    norms = sum(np.linalg.norm(slope) for slope in slopes)
    assert value("grad-norm", network, x, y) == pytest.approx(norms, rel=1e-4)
    saliency = sum(abs(w * g).sum() for w, g in zip(weights_of(network), slopes, strict=True))
    assert value("snip", network, x, y) == pytest.approx(saliency, rel=1e-4)


def test_grasp_by_differences_of_gradients():
    """H g is the change of the gradient along g."""
    network, (x, y) = small(), batch()
    slopes = slopes_by_differences(network, x, y)
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(network).double()
        layers = [layer for layer in moved.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        for layer, slope in zip(layers, slopes, strict=True):
            layer.weight.data += sign * 1e-3 * torch.from_numpy(slope).view_as(layer.weight)
        ends.append(slopes_by_differences(moved, x, y))
    products = [(one - other) / 2e-3 for one, other in zip(*ends, strict=True)]
    expected = -sum((w * p).sum() for w, p in zip(weights_of(network), products, strict=True))
    assert value("grasp", network, x, y) == pytest.approx(expected, rel=1e-3)


def test_grasp_goes_through_hard_sigmoids_and_says_where_it_cannot():
    """Gates of squeeze-and-excitation: torch lacks their second derivative."""
    network, (x, y) = small(), batch()
    gated = nn.Sequential(*network[:1], nn.Hardsigmoid(), *network[1:])
    equal = nn.Sequential(*network[:1], nn.Hardtanh(-3, 3), Affine(1 / 6, 0.5), *network[1:])
    assert value("grasp", gated, x, y) == pytest.approx(value("grasp", equal, x, y), rel=1e-4)
    assert isinstance(gated[1], nn.Hardsigmoid)
    once = nn.Sequential(*network[:1], Once(), *network[1:])
    with pytest.raises(Unscored, match="grasp needs second derivatives, and torch has none here"):
        value("grasp", once, x, y)


class Affine(nn.Module):
    def __init__(self, slope, shift):
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(self, x):
        return x * self.slope + self.shift


class Once(nn.Module):
    def forward(self, x):
        return nn.functional.hardsigmoid(x)


def test_synflow_of_a_chain_is_its_product():
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 3)
    )
    for layer in chain.modules():
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    flow = np.ones(8)
    for layer in chain.modules():
        if isinstance(layer, nn.Linear):
            flow = abs(layer.weight.detach().double().numpy()) @ flow
    x, y = batch(2, (2, 2, 2))
    assert value("synflow", chain, x, y) == pytest.approx(3 * flow.sum(), rel=1e-12)
    assert value("synflow", chain, 7 * x + 1, y) == value("synflow", chain, x, y)


def test_synflow_survives_what_leaves_float32():
    deep = nn.Sequential(nn.Flatten(), *(nn.Linear(8, 8, bias=False) for _ in range(60)))
    for layer in deep[1:]:
        nn.init.constant_(layer.weight, -1.0)
    x, y = batch(2, (2, 2, 2))
    assert value("synflow", deep, x, y) == pytest.approx(60 * 8.0**61, rel=1e-9)
    assert not math.isfinite(float(torch.tensor(8.0) ** 61))
    for layer in deep[1:]:
        nn.init.constant_(layer.weight, 1e8)
    with pytest.raises(Unscored, match="synflow of this network is inf; its activations or gradients leave"):
        value("synflow", deep, x, y)


def test_fisher_by_channel_loops():
    network, (x, y) = small(), batch()
    network.train()
    conv, head = network[0](x), None
    conv.retain_grad()
    head = network[-1](network[1:-1](conv))
    head.retain_grad()
    cross_entropy(head, y).backward()
    expected = 0.0
    for out in (conv, head):
        for c in range(out.shape[1]):
            products = [(out[i, c] * out.grad[i, c]).sum().item() for i in range(len(x))]
            expected += sum(product**2 for product in products) / (2 * len(x))
    assert value("fisher", network, x, y) == pytest.approx(expected, rel=1e-4)


def test_jacob_cov_by_loops_over_images_and_outputs():
    network, (x, y) = small(), batch()
    network.train()
    images = x.clone().requires_grad_(True)
    rows = np.zeros((len(x), images[0].numel()))
    out = network(images)
    for i in range(len(x)):
        for c in range(3):
            (slope,) = torch.autograd.grad(out[i, c], images, retain_graph=True)
            rows += slope.flatten(1).double().numpy()
    v = np.linalg.eigvalsh(np.corrcoef(rows))
    expected = -(np.log(v + 1e-5) + 1 / (v + 1e-5)).sum()
    assert value("jacob-cov", network, x, y) == pytest.approx(expected, rel=1e-2)


def test_a_network_that_ignores_its_images_has_the_lowest_jacob_cov():
    network, (x, y) = small(), batch()
    nn.init.zeros_(network[-1].weight)
    deaf = value("jacob-cov", network, x, y)
    assert math.isfinite(deaf) and deaf < value("jacob-cov", small(), x, y)


def test_naswot_counts_agreeing_units_pair_by_pair():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 9), nn.GELU(), nn.Linear(9, 3)
    )
    x, y = batch()
    before = network[1](x.flatten(1))
    codes = [(before > 0).numpy(), (network[3](before.relu()) > 0).numpy()]
    kernel = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            kernel[i, j] = sum(int(code[i, u] == code[j, u]) for code in codes for u in range(code.shape[1]))
    assert value("naswot", network, x, y) == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-6)
    twice = torch.cat([x, x[:1]])
    assert math.isfinite(value("naswot", network, twice, torch.cat([y, y[:1]])))


def test_zico_by_its_formula():
    network, (x, y) = small(norm=False), batch()
    halves = [slopes_by_differences(network, x[rows], y[rows]) for rows in (slice(0, 3), slice(3, 6))]
    expected = 0.0
    for one, other in zip(*halves, strict=True):
        g = np.stack([one, other])
        expected += math.log((abs(g).mean(0) / g.std(0)).sum())
    assert value("zico", network, x, y) == pytest.approx(expected, rel=1e-3)


def test_zen_score_of_a_linear_network():
    """f(x) - f(x') is linear in what was added, and a batch norm gives back what it took."""
    network, (x, y) = (
        nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        batch(),
    )
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(4, 2, 1, 1, generator=generator)
    torch.randn(x.shape, generator=generator)
    step = 0.01 * torch.randn(x.shape, generator=generator)
    moved = (weight[:, :, 0, 0] @ step.permute(1, 0, 2, 3).reshape(2, -1)).view(4, len(x), 25)
    expected = math.log(moved.abs().sum((0, 2)).mean().item())
    assert value("zen-score", network, x, y) == pytest.approx(expected, rel=1e-3)
    normed = nn.Sequential(network[0], nn.BatchNorm2d(4, eps=1e-12), *network[1:])
    assert value("zen-score", normed, x, y) == pytest.approx(expected, abs=0.7)


def test_scales_that_must_not_count():
    network, (x, y) = small(), batch()
    louder = copy.deepcopy(network)
    louder[0].weight.data *= 3.0  # in front of a batch norm
    louder[0].bias.data *= 3.0
    for name in ("snip", "jacob-cov"):
        assert value(name, louder, x, y) == pytest.approx(value(name, network, x, y), rel=1e-2)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for name in ("grad-norm", "snip", "grasp", "fisher", "jacob-cov", "naswot"):
        assert value(name, network, x[order], y[order]) == pytest.approx(value(name, network, x, y), rel=1e-3)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", proxies.names())
def test_every_proxy_on_every_space(name, space):
    one = family(space, (3, 16, 16), 10)
    network = Network(one.decode(one.space.default(), one.shape).simplified(), one.shape, seed=1)
    network.eval()
    kept = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    x, y = batch(8, (3, 16, 16))
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = value(name, network, x, y)
    assert math.isfinite(first) and first == value(name, network, x, y)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(tensor, kept[key]) for key, tensor in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_without_weights_says_so():
    x, y = batch()
    with pytest.raises(Unscored, match="has no convolution and no linear map"):
        value("snip", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), x, y)


def test_unknown_proxies_are_guessed():
    with pytest.raises(ValueError, match="no proxy 'synflo'; did you mean 'synflow'"):
        proxies.get("synflo")


def test_the_vote_is_the_mean_share_of_those_beaten():
    scores = {"a": [1.0, 2.0, 3.0, 3.0], "b": [1e9, 0.0, math.nan, 5.0]}
    place_a = [0, 1 / 3, 2.5 / 3, 2.5 / 3]
    place_b = [1, 1 / 3, 0, 2 / 3]
    assert vote(scores) == pytest.approx([(a + b) / 2 for a, b in zip(place_a, place_b, strict=True)])
    squeezed = {name: np.tanh(np.array(column) / 7) for name, column in {"a": scores["a"]}.items()}
    assert vote(squeezed) == pytest.approx(vote({"a": scores["a"]}))
    assert vote({"a": [4.0]}) == pytest.approx([0.5])
    with pytest.raises(ValueError, match="the vote got no member; name at least one"):
        vote({})
    with pytest.raises(ValueError, match=r"member 'b' has scores of shape \(1,\), others \(2,\)"):
        vote({"a": [1.0, 2.0], "b": [1.0]})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from estimators.dataset import load

    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("images") / "data"
    x, y = rng.integers(0, 256, (120, 1, 12, 12), dtype=np.uint8), np.arange(120) % 4
    save(load((x, y)), path)
    return path


def design() -> Design:
    one = family("chain", (1, 12, 12), 4)
    config = one.space.default()
    return Design(config, Configuration({}), one.shape, 4, one.decode(config, one.shape))


def test_score_is_a_function_of_design_data_and_seed(saved):
    names = ["synflow", "snip", "zen-score"]
    first, again = score(design(), names, saved, seed=3), score(design(), names, saved, seed=3)
    assert list(first) == names and all(one.seconds > 0 for one in first.values())
    assert [one.value for one in first.values()] == [one.value for one in again.values()]
    other = score(design(), names, saved, seed=4)
    assert all(first[name].value != other[name].value for name in names)
    with pytest.raises(ValueError, match="batch_size=1: proxies compare images; give at least 2"):
        score(design(), names, saved, batch_size=1)


def test_the_estimator_keeps_what_is_finite(saved, tmp_path):
    context = Context(seed=3, scratch=tmp_path, threads=1)
    result = ZeroCost(saved, ["synflow", "naswot"]).evaluate(design(), Fidelity(), context)
    expected = score(design(), ["synflow", "naswot"], saved, seed=3)
    assert result.error is None and result.seconds > 0
    assert result.metrics == {name: one.value for name, one in expected.items()}
    opaque = Design(
        Configuration({}), Configuration({}), (1, 12, 12), 4, build=lambda _: nn.Sequential(nn.Flatten())
    )
    result = ZeroCost(saved, ["snip"]).evaluate(opaque, Fidelity(), context)
    assert result.error is not None and result.error.startswith("nan: the network has no convolution")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", proxies.names())
def test_cuda_says_what_the_cpu_says(name, saved):
    there, here = (score(design(), [name], saved, device=device)[name].value for device in ("cuda", "cpu"))
    assert there == pytest.approx(here, rel=2e-2)


def test_naswot_wants_rectifiers():
    x, y = batch()
    with pytest.raises(Unscored, match=r"no rectifier among the modules; write nn.ReLU\(\)"):
        value("naswot", nn.Sequential(nn.Flatten(), nn.Linear(50, 3)), x, y)


def test_zico_wants_two_images_in_each_half():
    with pytest.raises(Unscored, match="give 4, not 3"):
        value("zico", small(), *batch(3))


def test_zen_score_looks_behind_the_pool_of_a_gate():
    """A pool before a convolution is a gate's: what follows counts."""

    class Gated(nn.Module):
        def __init__(self, filters):
            super().__init__()
            self.stem, self.pool, self.gate = nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1)
            self.last, self.head = nn.Conv2d(4, filters, 3, padding=1), nn.Linear(filters, 3)

        def forward(self, x):
            x = self.stem(x)
            x = self.last(x * self.gate(self.pool(x)))
            return self.head(x.mean((2, 3)))

    few, many = (value("zen-score", Gated(filters), *batch()) for filters in (4, 64))
    assert many > few + 1
