"""A cheaper source of what designs are worth, which models hear beside the results: scores of a sample of designs.

What it says of any design is the mean of a process that is fitted to the sample, as in recursive co-kriging (Le Gratiet
and Garnier 2014, section 2.2). That is taken of designs in the sample too, whose own scores are noisy: surrogates were
better with the mean (``experiments/supernet_source``). How much is made of it follows from the results
(``nas.hpo.kernel``), not from the source. Where all designs of the sample that have a parameter have one value of it,
as those with one recipe do, the source knows no other.

Notation
    S    slots of the space
    t    (n,) what the source says of n designs, in units of the deviation of its scores; less is better
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.encoder import Graphs, View, Vocabulary
from nas.hpo.gp import GaussianProcess, fit, squash
from nas.rows import Rows
from nas.trial import Problem
from search_spaces.space import Configuration, Space

MOST = 256  # designs of a sample that a process is fitted to


class Source:
    """What ``values`` (s,), more is better, of ``configs`` (s) say of any design of ``problem``.

    ``objectives`` are the names of those that it speaks of. Of more than ``MOST`` designs so many are heard, evenly.
    """

    def __init__(
        self,
        problem: Problem,
        configs: Sequence[Configuration],
        values: Sequence[float],
        objectives: Sequence[str],
    ) -> None:
        self.objectives = frozenset(objectives)
        self._rows = Rows(problem.space)
        kept = np.unique(np.linspace(0, len(configs) - 1, MOST).astype(int))
        self._designs = np.array([self._rows.row(configs[at]) for at in kept])
        self._losses = squash(-np.array(values, float)[kept])
        self._only, self._certain, self._alike = _constants(self._designs)
        self._graph = None
        if (features := problem.features) is not None:
            # with the only value of a parameter, a design may lack others that this one opens
            self._graph = Graphs(lambda config: features(_whole(problem.space, config)), self._rows)
        self._models: dict[bool, tuple[View, GaussianProcess]] = {}  # by whether they look at graphs

    def at(self, rows: np.ndarray, graphs: bool) -> np.ndarray:
        """Return t (n,) of the designs ``rows`` (n, S), by a process that looks at graphs or one that does not."""
        view, process = self._model(graphs)
        given = self._certain | (self._alike & ~np.isnan(rows))
        return process.predict(view.inputs(np.where(given, self._only, rows)))[0]

    def _model(self, graphs: bool) -> tuple[View, GaussianProcess]:
        if graphs not in self._models:
            view = View(self._rows, (0.0, 0.0))
            if graphs and self._graph is not None:
                vocabulary = Vocabulary.of([self._graph(row) for row in self._designs])
                view = replace(view, vocabulary=vocabulary, graph=self._graph)
            self._models[graphs] = view, fit(view.inputs(self._designs), self._losses)
        return self._models[graphs]


def _constants(designs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by slot (S,) the first value, NaN where there is none; whether all agree; whether no two differ."""
    active = ~np.isnan(designs)
    only = designs[active.argmax(axis=0), np.arange(designs.shape[1])]
    alike = (~active | (designs == only)).all(axis=0)
    return only, alike & (active.all(axis=0) | ~active.any(axis=0)), alike


def _whole(space: Space, config: Configuration) -> Configuration:
    """Return ``config`` with defaults for what it lacks."""
    return Configuration(space.filled(config))
