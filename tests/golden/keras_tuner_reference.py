"""The brackets of Keras Tuner's Hyperband, as JSON: designs and epochs of each round. It has its own environment.

    python -m venv tuner && tuner/bin/pip install --no-deps keras-tuner==1.4.8
    tuner/bin/python tests/golden/keras_tuner_reference.py > tests/golden/keras_tuner.json

Only the oracle's arithmetic is run, from its own file; for all that the file imports there are empty modules.
"""

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

EMPTY = ("backend", "utils", "api_export", "engine", "engine.oracle", "engine.tuner")


def oracle():
    package = Path(importlib.util.find_spec("keras_tuner").origin).parent
    for name in ("keras_tuner", "keras_tuner.src", *(f"keras_tuner.src.{name}" for name in EMPTY)):
        module = sys.modules[name] = ModuleType(name)
        module.__path__ = []
        module.Oracle = module.Tuner = object
        module.keras_tuner_export = lambda path: lambda exported: exported
    spec = importlib.util.spec_from_file_location("hyperband", package / "src" / "tuners" / "hyperband.py")
    hyperband = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hyperband)
    return hyperband.HyperbandOracle.__new__(hyperband.HyperbandOracle)


def brackets(known, epochs, factor):
    known.max_epochs, known.factor, known.min_epochs = epochs, factor, 1
    return [
        [
            [known._get_size(number, at), known._get_epochs(number, at)]
            for at in range(known._get_num_rounds(number))
        ]
        for number in reversed(range(known._get_num_brackets()))
    ]


if __name__ == "__main__":
    reference = oracle()
    every = {
        f"{epochs} {factor}": brackets(reference, epochs, factor)
        for factor in (2, 3, 4)
        for epochs in (*range(1, 31), 50, 81, 100, 243)
    }
    print(json.dumps({"keras-tuner": importlib.metadata.version("keras-tuner"), "brackets": every}))
