"""The command line says what is wrong in one line and guesses what was meant."""

import pytest

from nas.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "nas: no command 'serach'; did you mean 'search'?"),
        (["list", "strategys"], "nas: no kind 'strategys'; did you mean 'strategies'?"),
        (["search"], "nas: the following arguments are required: data (see `nas search --help`)"),
        (["search", "digits", "--trials", "x"], "nas: argument --trials: invalid int value: 'x'"),
    ],
)
def test_wrong_words_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    assert left.value.code == 2 and captured.out == ""
    assert captured.err.startswith(message) and captured.err.count("\n") == 1
