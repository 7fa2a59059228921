"""What every experiment records: results one by one, claims beside their bars, and the code they were measured on.

``results.json`` holds ``runs`` (raw results by name, appended as they come, so that a full run resumes) and ``shows``
(claims with value, bar, whether it holds, seeds, hardware, versions, command, hash of the code they measured).
"""

import ast
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import tokenize
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURED = ("nas", "search_spaces", "estimators")
ON_A_GPU = ("estimators/capture.py",)
_MODULES = """
brackets call carry checkpoints cluster curves doctor encoder ending ensemble executor fidelity_trust flights function
growth hearing history layout lease maximise migration models observations outpost placed prior problem rates remains
replay rescue rounds rows rungs salvage saves scheduler shortage source storage strategy study supervise trial turns
waiting"""
# the search of a function: its loop, store, executors, strategies and schedulers, without what a run folder needs
LOOP = (
    *(f"nas/{name}" for name in ("executors", "hpo", "operators", "schedulers", "storages", "strategies")),
    *(f"nas/{name}.py" for name in _MODULES.split()),
    "search_spaces/space.py",
)


def code_hash(*measured: str) -> str:
    """Hash of the source in ``measured``, packages or files (all by default): a result is stale when it has changed.

    What is there no longer counts as nothing, and so do comments, docstrings and blank lines, and what only runs on a
    GPU unless it is named.
    """
    digest = hashlib.sha256()
    for name in measured or MEASURED:
        for path in sorted((ROOT / name).rglob("*.py")) or [ROOT / name] * (ROOT / name).is_file():
            if str(path.relative_to(ROOT)) in ON_A_GPU and name not in ON_A_GPU:
                continue
            text = path.read_text()
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update((code_of(text) if path.suffix == ".py" else text).encode())
    return digest.hexdigest()[:12]


@cache
def code_of(source: str) -> str:
    """Return the lines of ``source`` without comments, docstrings and blank lines: what a computer reads of it."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            said = node.body[0]
            assert said.end_lineno is not None
            lines[said.lineno - 1 : said.end_lineno] = [""] * (said.end_lineno - said.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def hardware() -> str:
    """Return the processor and how many cores of it this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def versions(*names: str) -> dict[str, str]:
    """Return the installed versions of Python and of the packages ``names``."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


class Record:
    """The ``results.json`` beside an experiment's ``run.py``; ``measured`` is the code that its results depend on."""

    def __init__(self, script: str, *measured: str) -> None:
        self.measured = measured or MEASURED
        self.path = Path(script).parent / "results.json"
        self.data: dict[str, Any] = {"runs": {}, "shows": []}
        if self.path.exists():
            self.data = json.loads(self.path.read_text())

    def run(self, name: str) -> Any:
        """Return the raw result ``name``, or None if it is missing or of other code."""
        found = self.data["runs"].get(name)
        return found if found and found["code"] == code_hash(*self.measured) else None

    def add(self, name: str, result: dict[str, Any]) -> None:
        """Keep a raw result at once."""
        self.data["runs"][name] = {**result, "code": code_hash(*self.measured)}
        self._write()

    def show(
        self, claim: str, value: float, bar: str, holds: bool, *, seeds: list[int], command: str
    ) -> None:
        """Keep a claim, in the place of an older one of the same words."""
        entry = {
            "claim": claim,
            "value": value,
            "bar": bar,
            "holds": bool(holds),
            "seeds": seeds,
            "hardware": hardware(),
            "versions": versions("torch", "numpy"),
            "command": command,
            "measured": list(self.measured),
            "code": code_hash(*self.measured),
        }
        others = [show for show in self.data["shows"] if show["claim"] != claim]
        self.data["shows"] = [*others, entry]
        self._write()

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.data, indent=1) + "\n")
        partial.replace(self.path)
