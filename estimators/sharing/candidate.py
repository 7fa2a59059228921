"""A candidate of a supernet: its ordinary network, whose parameters are cuts of the shared tensors.

The network is put together of modules on torch's meta device: it holds no weights. Its batch statistics are its own:
those of the batch in training, recalibrated for a score.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from estimators.loop import overwrite_norms
from estimators.sharing.weights import Cut, SharedWeights
from search_spaces.network import Network
from search_spaces.op import Op, Shape
from search_spaces.placement import placed, places

if TYPE_CHECKING:
    from search_spaces.architecture import Design


class Candidate:
    """The network of ``design`` on ``shared``, which grows if it is too small for it.

    Designs with equal keys are the same candidate, bit for bit. A design without a graph is a ``ValueError``.
    """

    def __init__(self, design: "Design", shared: SharedWeights) -> None:
        if design.graph is None:
            raise ValueError(
                f"design {design.key}: networks built by a function share no weights; describe the space as graphs"
            )
        self._placed = placed(design.graph, design.shape, apart=shared.kernels == "apart")
        self.network = Network(self._placed.graph, design.shape, modules=_module)
        self._shared, self._places = shared, tuple(places(self._placed))
        self._cuts, self._version = self._cut(), shared.version

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """How its parameters come from the shared tensors, as large as these are now."""
        if self._version != self._shared.version:
            self._cuts, self._version = self._cut(), self._shared.version
        return self._cuts

    def _cut(self) -> tuple[Cut, ...]:
        return tuple(cut for place in self._places for cut in self._shared.cuts(place))

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name: views of the shared tensors wherever they can be."""
        return {cut.parameter: self._shared.take(cut) for cut in self.cuts}

    def forward(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the logits (n, classes) of ``x`` (n, C, H, W) under ``parameters``."""
        logits: Tensor = functional_call(self.network, dict(parameters), (x,), tie_weights=False)
        return logits

    def train(self) -> None:
        """Let norms use the statistics of each batch, and keep none."""
        self.network.train()
        for norm in self._norms():
            norm.track_running_stats = False

    def judge_by_batches(self, *, noise: bool = False) -> None:
        """Go to evaluation mode, but let norms use the statistics of each batch; ``noise`` as in ``recalibrate``."""
        self.train()
        self.network.train(noise)
        for norm in self._norms():
            norm.train()

    @torch.no_grad()
    def recalibrate(
        self, batches: "list[Tensor]", parameters: Mapping[str, Tensor], *, noise: bool = False
    ) -> None:
        """Take the statistics of norms anew, their mean over ``batches``, and go to evaluation mode.

        With ``noise`` features and branches are dropped at random as in training, here and from then on.
        """
        self.network.train(noise)
        for norm in self._norms():
            norm.train()
            norm.track_running_stats, norm.momentum = True, None  # None: the mean over all batches
            for name, buffer in norm.named_buffers():
                norm.register_buffer(name, torch.empty_like(buffer, device=batches[0].device))
            norm.reset_running_stats()
        for batch in batches:
            self.forward(batch, parameters)
        for norm in self._norms():
            norm.eval()

    def cut_out(self) -> dict[str, Tensor]:
        """Return parameters and norms' statistics under the names of the design's own network, as copies.

        Without a recalibration before, the statistics are those of a fresh network.
        """
        state = self.parameters()
        for path, module in self.network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                fresh = {"running_mean": torch.zeros, "running_var": torch.ones}
                for name, make in fresh.items():
                    own = getattr(module, name)
                    state[f"{path}.{name}"] = make(own.shape) if own.is_meta else own
                count = module.num_batches_tracked
                assert count is not None
                state[f"{path}.num_batches_tracked"] = (
                    torch.zeros_like(count, device="cpu") if count.is_meta else count
                )
        return {
            self._before(name): tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }

    def _before(self, name: str) -> str:
        node, _, rest = name.partition(".")
        return f"{self._placed.before[node]}.{rest}"

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d)]


def _module(op: Op, shapes: tuple[Shape, ...]) -> nn.Module:
    """Return a module of ``op`` without weights, which nobody else has."""
    return _copy(_template(op, shapes))


@lru_cache(maxsize=1 << 12)
def _template(op: Op, shapes: tuple[Shape, ...]) -> nn.Module:
    with torch.device("meta"):
        module = op.build(*shapes)
    overwrite_norms(module)
    return module


def _copy(module: nn.Module) -> nn.Module:
    """Return a copy with the same parameters and buffers: to build a module would take much longer."""
    twin = object.__new__(type(module))
    children = {name: _copy(child) for name, child in module._modules.items() if child is not None}
    own = {"_modules": children, "_parameters": dict(module._parameters), "_buffers": dict(module._buffers)}
    twin.__dict__.update({**module.__dict__, **own})
    return twin
