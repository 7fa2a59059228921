"""The moving average of a network's weights, which is what is scored where a recipe asks for one."""

import copy

import torch
from torch import nn


class Average:
    """Moving average of parameters and buffers; its decay rises as ``min(decay, (1 + t) / (10 + t))``."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = copy.deepcopy(network).requires_grad_(False), decay
        self._pair(network)

    def _pair(self, network: nn.Module) -> None:
        # state_dict also names what is shared twice: once is enough, and twice would average twice
        pairs = [
            *zip(self.network.parameters(), network.parameters(), strict=True),
            *zip(self.network.buffers(), network.buffers(), strict=True),
        ]
        floats = [(mean, value.detach()) for mean, value in pairs if value.is_floating_point()]
        self._means, self._values = [mean for mean, _ in floats], [value for _, value in floats]
        self._counters = [(mean, value) for mean, value in pairs if not value.is_floating_point()]

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Move towards the network's tensors after step ``t``."""
        torch._foreach_lerp_(self._means, self._values, 1 - min(self.decay, (1 + t) / (10 + t)))
        for mean, value in self._counters:
            mean.copy_(value)
