"""The engine: strategies, schedulers, storage, workers, and the front that ties them to estimators and spaces.

``search`` is the one-call front, ``Study`` the core with ask and tell. Names load on use: importing this is cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from estimators.estimator import Fidelity
    from nas.calibration import Failed
    from nas.executor import Limits
    from nas.front import Run, resume, search
    from nas.prior import Prior
    from nas.study import Finished, Study
    from nas.trial import Constraint, Objective
    from search_spaces.space import Choice, Configuration, Float, Int, Linear, Space

_HOMES = {
    "search": "nas.front",
    "resume": "nas.front",
    "Run": "nas.front",
    "Failed": "nas.calibration",
    "Study": "nas.study",
    "Fidelity": "estimators.estimator",
    "Finished": "nas.study",
    "Limits": "nas.executor",
    "Prior": "nas.prior",
    "Objective": "nas.trial",
    "Constraint": "nas.trial",
    "Space": "search_spaces.space",
    "Float": "search_spaces.space",
    "Int": "search_spaces.space",
    "Choice": "search_spaces.space",
    "Linear": "search_spaces.space",
    "Configuration": "search_spaces.space",
}

__all__ = [
    "Choice",
    "Configuration",
    "Constraint",
    "Failed",
    "Fidelity",
    "Finished",
    "Float",
    "Int",
    "Limits",
    "Linear",
    "Objective",
    "Prior",
    "Run",
    "Space",
    "Study",
    "resume",
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
