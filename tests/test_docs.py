"""The documentation runs: its Python works, its commands exist, its files are there."""

import re
from pathlib import Path

import pytest

from nas.cli import _parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_of_the_core_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (core,) = [block for block in blocks("python") if "Study(" in block]
    names: dict = {}
    exec(core, names)
    assert len(names["study"].trials) == 51 and (tmp_path / "study.log").exists()


def test_every_command_parses():
    commands = re.findall(
        r"nas ((?:search|space|show|resume|export|verify|list|doctor|backup)\b[^#\n]*?)(?=\s{2,}|#|\n|$)",
        "\n".join(blocks("console")),
    )
    assert len(commands) >= 10
    parser = _parser()
    for command in commands:
        parser.parse_args([part.strip('"') for part in command.split()])


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/design.md", "docs/executors.md"])
def test_named_files_exist(name):
    text = (ROOT / name).read_text()
    for path in re.findall(r"`((?:nas|search_spaces|estimators|experiments|docs|tests)/[\w/.]*)`", text):
        assert (ROOT / path).exists() or "NAME" in path, path
    for path in re.findall(r"\]\(([\w/.]+)\)", text):
        assert (ROOT / path).exists(), path
