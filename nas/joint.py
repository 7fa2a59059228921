"""The joint space of a data set: a family of networks that fits its images, and the recipes that train them."""

from estimators.dataset import Dataset
from search_spaces.architecture import Architecture, Build, Opaque, SearchSpace, family
from search_spaces.recipe import recipe_space
from search_spaces.space import Space


def joint_space(dataset: Dataset, name: str, *, weights: str | None = None) -> SearchSpace:
    """Return the space that a search of ``dataset`` in the registered family ``name`` has."""
    return _with_recipes(dataset, family(name, dataset.shape, len(dataset.classes), weights=weights))


def own_space(dataset: Dataset, space: Space, build: Build) -> SearchSpace:
    """Return the space of networks that ``build`` makes of the configurations of ``space``."""
    return _with_recipes(dataset, Opaque(dataset.shape, len(dataset.classes), space, build))


def _with_recipes(dataset: Dataset, architecture: Architecture) -> SearchSpace:
    """Join ``architecture`` with its recipes. One that is opaque does not follow images of another side or colour."""
    recipe = recipe_space(
        dataset.shape,
        len(dataset.classes),
        len(dataset.train),
        imbalance=dataset.imbalance,
        fixed_shape=isinstance(architecture, Opaque),
    )
    return SearchSpace(architecture, recipe)
