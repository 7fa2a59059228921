"""A cheaper source of what designs are worth, which models hear beside the results: scores of a sample of designs.

What it says of any design is the mean of a process that is fitted to the sample, as in recursive co-kriging (Le Gratiet
and Garnier 2014, section 2.2). That is taken of designs in the sample too, whose own scores are noisy: surrogates were
better with the mean (``experiments/supernet_source``). How much is made of it follows from the results
(``nas.hpo.kernel``), not from the source. In what no two designs of the sample differ, such as a recipe that all have,
the source knows no differences either.

Notation
    S    slots of the space
    t    (n,) what the source says of n designs, standardised over the sample; less is better
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from nas.encoder import Graphs, View, Vocabulary
from nas.hpo.gp import GaussianProcess, fit, squash
from nas.rows import Rows
from nas.trial import Problem
from search_spaces.space import Configuration


class Source:
    """What ``values`` (s,), more is better, of ``configs`` (s) say of any design of ``problem``.

    ``objectives`` are the names of those that it speaks of.
    """

    def __init__(
        self,
        problem: Problem,
        configs: Sequence[Configuration],
        values: Sequence[float],
        objectives: Sequence[str],
    ) -> None:
        self.rows = Rows(problem.space)
        self.objectives = frozenset(objectives)
        self._designs = np.array([self.rows.row(config) for config in configs])
        self._y = squash(-np.array(values, float))
        nothing = np.isnan(self._designs)
        self._alike = ((self._designs == self._designs[0]) | (nothing & nothing[0])).all(axis=0)
        self._graphs = None
        if (features := problem.features) is not None:
            # with the sample's value where that has but one, a design may lack parameters that this opens
            self._graphs = Graphs(lambda config: features(problem.space.default(config)), self.rows)
        self._models: dict[bool, tuple[View, GaussianProcess]] = {}

    def at(self, rows: np.ndarray, graphs: bool) -> np.ndarray:
        """Return t (n,) of the designs ``rows`` (n, S), by a process that looks at graphs or one that does not."""
        with threadpool_limits(1):
            view, process = self._model(graphs)
            return process.predict(view.inputs(np.where(self._alike, self._designs[0], rows)))[0]

    def _model(self, graphs: bool) -> tuple[View, GaussianProcess]:
        if graphs not in self._models:
            view = View(self.rows, (0.0, 0.0))
            if graphs and self._graphs is not None:
                vocabulary = Vocabulary.of([self._graphs(row) for row in self._designs])
                view = replace(view, vocabulary=vocabulary, graph=self._graphs)
            self._models[graphs] = view, fit(view.inputs(self._designs), self._y)
        return self._models[graphs]
