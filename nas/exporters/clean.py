"""Runs an exported model in a process of its own, where nothing of this project can be imported."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# The fresh process: block this project, import each folder's model.py by its path, write its logits.
_SCRIPT = """
import importlib.abc, importlib.util, json, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nas", "search_spaces", "estimators"):
            raise ModuleNotFoundError(f"{name} is not there for an exported model")
sys.meta_path.insert(0, Block())
import numpy, torch
torch.set_num_threads(int(sys.argv[2]))
for job in json.loads(sys.argv[1]):
    spec = importlib.util.spec_from_file_location(job["name"], job["folder"] + "/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load()
    images = torch.from_numpy(numpy.load(job["images"]))
    with torch.inference_mode():
        logits = [model(module.preprocess(part)) for part in torch.split(images, job["batch"])]
    numpy.save(job["logits"], torch.cat(logits).float().numpy())
"""


def logits_of(jobs: Sequence[tuple[Path, np.ndarray]], *, batch_size: int = 256) -> list[np.ndarray]:
    """Return the float32 logits (n, classes) of each (folder, images (n, C, H, W) uint8), all from one fresh process.

    A ``ValueError`` carries the last line of what went wrong there.
    """
    with tempfile.TemporaryDirectory(prefix="nas-export-") as scratch:
        described: list[dict[str, Any]] = []
        for number, (folder, images) in enumerate(jobs):
            source = Path(scratch) / f"images-{number}.npy"
            np.save(source, np.ascontiguousarray(images))
            described.append(
                {
                    "name": f"exported_{number}",
                    "folder": str(Path(folder).resolve()),
                    "images": str(source),
                    "logits": str(Path(scratch) / f"logits-{number}.npy"),
                    "batch": batch_size,
                }
            )
        command = [sys.executable, "-I", "-B", "-c", _SCRIPT, json.dumps(described), str(os.cpu_count() or 1)]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            names = ", ".join(str(folder) for folder, _ in jobs[:3])
            raise ValueError(
                f"the exported model in {names} does not run by itself: {lines[-1]}; export it again"
            )
        return [np.load(job["logits"]) for job in described]
