"""Designs: a network together with the recipe that trains it, decoded from one configuration.

An ``Architecture`` is a family of networks for images of one shape; ``SearchSpace`` joins it with the recipes.
Decoding is pure. Nothing here imports torch before a network is built.
"""

import hashlib
import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from search_spaces.block import walk
from search_spaces.describe import Description, describe
from search_spaces.graph import Graph
from search_spaces.op import Shape
from search_spaces.recipe import image_shape
from search_spaces.registry import Registry
from search_spaces.space import Configuration, Space

if TYPE_CHECKING:
    from torch import Tensor, nn

spaces: "Registry[type[Architecture]]" = Registry("space", "search_spaces.spaces")


def family(
    name: str, shape: tuple[int, int, int], classes: int, *, weights: str | None = None
) -> "Architecture":
    """Return the registered family ``name``; ``weights`` is a path, for a family that begins from trained ones."""
    kind: Any = spaces.get(name)
    if weights is None:
        one: Architecture = kind(shape, classes)
    elif "weights" not in inspect.signature(kind).parameters:
        raise ValueError(
            f"space {name!r} takes no weights; leave {weights!r} out, or choose the space 'backbone'"
        )
    else:
        one = kind(shape, classes, weights=weights)
    return one


Build = Callable[[Configuration], "nn.Module"]


class Architecture(ABC):
    """A family of networks for images of ``shape`` (C, H, W) in ``classes`` classes; adapts its ranges to both."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        self.shape, self.classes = shape, classes

    @property
    @abstractmethod
    def space(self) -> Space:
        """The searched parameters, with a sensible default design."""

    @abstractmethod
    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        """Return the network of ``config`` for images of ``shape``; a ``ValueError`` if there is none.

        ``shape`` is ``self.shape``, unless the recipe makes the images smaller or grey.
        """


@dataclass(frozen=True)
class Design:
    """A network and its recipe. ``graph`` describes the network, or ``build`` makes it (an opaque design)."""

    config: Configuration
    recipe: Configuration
    shape: tuple[int, int, int]
    classes: int
    graph: Graph | None = None
    build: Build | None = None

    @cached_property
    def key(self) -> str:
        """Equal for designs that train alike: canonical graph and active recipe; opaque ones by configuration."""
        if self.graph is None:
            return self.config.id
        return hashlib.sha256((self.graph.key() + self.recipe.id).encode()).hexdigest()[:16]

    def network(self, seed: int = 0) -> "nn.Module":
        """Return the module with weights drawn from ``seed``; torch's global state stays as it was."""
        if self.graph is not None:
            from search_spaces.network import Network

            return Network(self.graph.simplified(), self.shape, seed=seed)
        import torch

        assert self.build is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(self.config.part("architecture"))

    @cached_property
    def _measured(self) -> tuple[int, int, int, int]:
        assert self.build is not None
        return _measured(self.build, self.config.part("architecture"), self.shape)

    @cached_property
    def outputs(self) -> int:
        """Number of values that all layers put out for one image: about what training keeps for the way back."""
        if self.graph is None:
            return self._measured[3]
        return sum(op.outputs(*i) for _, op, i, _ in walk(self.graph.simplified(), self.shape))

    @cached_property
    def _cost(self) -> tuple[int, int, int]:
        """Parameters, multiply-accumulates for one image, float32 values of weights and buffers."""
        if self.graph is None:
            return self._measured[:3]
        parameters = macs = buffers = 0
        for _, op, inputs, _ in walk(self.graph.simplified(), self.shape):
            parameters += op.parameters(*inputs)
            macs += op.macs(*inputs)
            buffers += op.buffers(*inputs)
        return parameters, macs, parameters + buffers

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return self._cost[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear maps for one image."""
        return self._cost[1]

    def measure(self) -> dict[str, float]:
        """Return the free metrics: params, macs, and size in bytes of float32 weights and buffers."""
        parameters, macs, values = self._cost
        return {"params": float(parameters), "macs": float(macs), "size": 4.0 * values}

    def describe(self) -> Description:
        """Return features for surrogates; of an opaque design only parameters and MACs are known."""
        if self.graph is None:
            return Description(math.log1p(self.parameters), math.log1p(self.macs), 0, 0.0, {})
        return describe(self.graph, self.parameters, self.macs)


def _measured(build: Build, config: Configuration, shape: Shape) -> tuple[int, int, int, int]:
    """Count an opaque network by running it once on zeros: without memory or arithmetic, where it allows that."""
    import torch

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # loading weights there does nothing, and says so
            return _counted(build(config), torch.zeros(1, *shape))
    except Exception:  # whatever it was: on real tensors it is either fine, or raised again
        return _built(build, config, shape)


def _built(build: Build, config: Configuration, shape: Shape) -> tuple[int, int, int, int]:
    """Count an opaque network on real tensors; a ``ValueError`` says that ``build`` has none for ``config``."""
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            return _counted(build(config), torch.zeros(1, *shape))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"build({dict(config)!r}) failed: {type(error).__name__}: {error}; return a module for every "
            "configuration, or exclude it by a constraint"
        ) from error


def _counted(network: "nn.Module", x: "Tensor") -> tuple[int, int, int, int]:
    """Return parameters, multiply-accumulates, values of weights and buffers, values that the leaves put out."""
    import torch
    from torch import nn

    total = outputs = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total, outputs
        if not any(True for _ in module.children()):
            outputs += output[0].numel()
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output[0].numel() * module.in_features

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(x)
    parameters = sum(p.numel() for p in network.parameters())
    buffers = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    return parameters, total, parameters + buffers, outputs


class Opaque(Architecture):
    """A user's own ``build(config) -> nn.Module`` over a space of one's own."""

    def __init__(self, shape: tuple[int, int, int], classes: int, space: Space, build: Build) -> None:
        super().__init__(shape, classes)
        self._space, self.build = space, build

    @property
    def space(self) -> Space:
        return self._space

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        raise ValueError("a network built by a function of one's own has no graph; use SearchSpace.decode")


class SearchSpace:
    """The joint encoding: paths under ``architecture`` and under ``recipe``. Pickles; keeps the last designs."""

    KEPT = 4096

    def __init__(self, architecture: Architecture, recipe: Space) -> None:
        self.architecture = architecture
        self.space = Space(architecture=architecture.space, recipe=recipe)
        self._designs: OrderedDict[str, Design] = OrderedDict()
        self._features: OrderedDict[tuple[str, Shape], Mapping[str, float]] = OrderedDict()

    def decode(self, config: Configuration) -> Design:
        """Return the design of ``config``; a ``ValueError`` if it describes none."""
        if config.id in self._designs:
            self._designs.move_to_end(config.id)
            return self._designs[config.id]
        family, own = self.architecture, config.part("architecture")
        opaque = isinstance(family, Opaque)
        recipe = config.part("recipe")
        shape = image_shape(recipe, family.shape)
        design = Design(
            config,
            recipe,
            shape,
            family.classes,
            graph=None if opaque else family.decode(own, shape),
            build=family.build if isinstance(family, Opaque) else None,
        )
        self._designs[config.id] = design
        if len(self._designs) > self.KEPT:
            self._designs.popitem(last=False)
        return design

    def key(self, config: Configuration) -> str:
        """Return what is equal for configurations that are one design."""
        return self.decode(config).key

    def measure(self, config: Configuration) -> Mapping[str, float]:
        """Return the free metrics of the design of ``config``."""
        return self.decode(config).measure()

    def describe(self, config: Configuration) -> Description:
        """Return the features of the network of ``config``; its recipe is no part of them."""
        return self.decode(config).describe()

    def features(self, config: Configuration) -> Mapping[str, float]:
        """Return ``describe`` as a map; it is worked out once for networks that differ in their recipes alone."""
        own = config.part("architecture").id, image_shape(config.part("recipe"), self.architecture.shape)
        if own not in self._features:
            self._features[own] = self.describe(config).features
            if len(self._features) > self.KEPT:
                self._features.popitem(last=False)
        return self._features[own]
