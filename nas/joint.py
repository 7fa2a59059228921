"""The joint space of a data set: a family of networks that fits its images, and the recipes that train them."""

from estimators.dataset import Dataset
from search_spaces.architecture import Architecture, Build, Opaque, SearchSpace, family
from search_spaces.recipe import recipe_space
from search_spaces.space import Choice, Float, Parameter, Space

# of features and of branches, as families name them: they leave no trace in what is scored
RATES = ("dropout", "drop")


def joint_space(
    dataset: Dataset, name: str, *, weights: str | None = None, recipes: bool = True
) -> SearchSpace:
    """Return the space that a search of ``dataset`` in the registered family ``name`` has.

    Without ``recipes`` all designs have the default one, and the default ``RATES``: where none is trained, others could
    not be told from these.
    """
    one = family(name, dataset.shape, len(dataset.classes), weights=weights)
    return _with_recipes(dataset, one, recipes)


def own_space(dataset: Dataset, space: Space, build: Build, *, recipes: bool = True) -> SearchSpace:
    """Return the space of networks that ``build`` makes of the configurations of ``space``; ``recipes`` as above."""
    return _with_recipes(dataset, Opaque(dataset.shape, len(dataset.classes), space, build), recipes)


def default_alone(space: Space) -> Space:
    """Return the space that holds the default of ``space`` alone, under the same paths."""
    parts: dict[str, Parameter | Space] = {}
    for name, part in space.parts.items():
        if isinstance(part, Space):
            parts[name] = default_alone(part)
        elif isinstance(part, Choice) and (opened := part.spaces.get(part.default)) is not None:
            parts[name] = Choice({part.default: default_alone(opened)}, shared=part.shared)  # type: ignore[dict-item]
        else:
            parts[name] = Choice((part.default,))
    return Space(constraints=(), **parts)


def _with_recipes(dataset: Dataset, architecture: Architecture, recipes: bool) -> SearchSpace:
    """Join ``architecture`` with its recipes. One that is opaque does not follow images of another side or colour."""
    recipe = recipe_space(
        dataset.shape,
        len(dataset.classes),
        len(dataset.train),
        imbalance=dataset.imbalance,
        fixed_shape=isinstance(architecture, Opaque),
    )
    joint = SearchSpace(architecture, recipe if recipes else default_alone(recipe))
    if not recipes and not isinstance(architecture, Opaque):
        parts = dict(architecture.space.parts)
        for name in RATES:
            if isinstance(parts.get(name), Float):
                parts[name] = default_alone(Space(rate=parts[name])).parts["rate"]
        own = Space(constraints=architecture.space.constraints, **parts)
        joint.space = Space(architecture=own, recipe=default_alone(recipe))
    return joint
