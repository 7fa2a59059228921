"""What experiments record: a result is stale when the code that it measured has changed, and only then."""

import pytest

from experiments import record

BEFORE = '''"""A module."""

import os  # for paths

PATH = "a # b"  # no comment of Python's


def f(x):
    """What f does.

    At length.
    """
    # on its own
    return x + 1
'''


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("A module.", "Another text.", True),
        ("    At length.\n", "", True),
        ("  # for paths", "", True),
        ("    # on its own\n", "    # in other\n\n    # words\n", True),
        ("x + 1", "x + 2", False),
        ("a # b", "a # c", False),
        ("def f(x):", "def f(y):", False),
    ],
)
def test_comments_are_no_code(tmp_path, monkeypatch, before, after, same):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    file = tmp_path / "code" / "module.py"
    file.parent.mkdir()
    file.write_text(BEFORE)
    known = record.code_hash("code")
    assert record.code_hash("code/module.py") == known  # a file by its name, too
    file.write_text(changed := BEFORE.replace(before, after))
    assert changed != BEFORE and (record.code_hash("code") == known) is same


def test_a_file_that_is_no_code_counts_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("text # more")
    known = record.code_hash("README.md")
    (tmp_path / "README.md").write_text("text # less")
    assert record.code_hash("README.md") != known
