"""The doctor: what is damaged or missing is said, what can be trusted is kept, what was asked for is asked again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.estimator import Fidelity, Result
from nas.cli import main
from nas.doctor import examine, replay, rows_of
from nas.layout import WIDTH
from nas.rescue import mend
from nas.salvage import consistent, salvaged
from nas.study import Study
from search_spaces.space import Choice, Float, Int, Space

SPACE = Space(x=Float(0, 1), k=Int(1, 3), c=Choice({"a": None, "b": Space(z=Float(0, 1))}))
LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
PAGE = 4096


def opened(storage, strategy="evolution", scheduler="halving", **options):
    return Study(
        SPACE, strategy=strategy, scheduler=scheduler, seed=3, storage=storage, ladder=LADDER, **options
    )


def loss(trial):
    return (trial.config["x"] - 0.3) ** 2 + trial.config["k"] + 1 / trial.asked.fidelity.epochs


def played(study, results, workers=1, seed=0, checkpoint=None):
    """Have ``workers`` at once, which end in any order; a tenth of the evaluations fails."""
    rng, flights = np.random.default_rng(seed), []
    for _ in range(results):
        while len(flights) < workers:
            try:
                flights.append(study.ask())
            except ValueError:  # wait
                break
        trial = flights.pop(int(rng.integers(len(flights))))
        if rng.random() < 0.1:
            study.tell(trial, error="exception: told to")
        else:
            study.tell(trial, Result({"loss": loss(trial)}, seconds=1.0, checkpoint=checkpoint))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "study.log"
    with opened(path) as study:
        study.enqueue({"x": 0.25})
        played(study, 40, workers=3)
        study.enqueue({"k": 3})
        study.enqueue({"x": 0.75})
    return path.read_bytes(), rows_of(path)


def truncated(content, at):
    return content[:at]


def flipped(content, places):
    broken = bytearray(content)
    for place, bit in places:
        broken[place] ^= 1 << bit
    return bytes(broken)


def zeroed(content, page):
    return content[: page * PAGE] + bytes(len(content[page * PAGE :][:PAGE])) + content[(page + 1) * PAGE :]


def check(content, broken, rows):
    """No row is wrong, and none is missing that is not said to be."""
    found = salvaged(broken)
    assert all(row == rows[number] for number, row in found.rows.items())
    missing = {number for first, last in found.missing for number in range(first, last + 1)}
    lost = set(range(len(rows))) - set(found.rows)
    assert missing == lost if found.total is not None else missing <= lost
    assert found.total in (None, len(rows))
    assert found.whole == (broken[WIDTH:] == content[WIDTH:] and found.total is not None)
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_truncated_store(whole, data):
    content, rows = whole
    at = data.draw(st.integers(0, len(content) - 1))
    found = check(content, truncated(content, at), rows)
    assert sorted(found.rows) == list(range(len(found.rows)))
    assert len(found.rows) >= content[:at].count(b"\n") - 1


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipped_bits(whole, data):
    content, rows = whole
    bits = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 7))
    places = data.draw(st.lists(bits, min_size=1, max_size=4, unique_by=lambda one: one[0]))
    found = check(content, flipped(content, places), rows)
    assert len(found.rows) >= len(rows) - 2 * len(places)


def test_a_zeroed_page(whole):
    content, rows = whole
    for page in range(-(-len(content) // PAGE)):
        found = check(content, zeroed(content, page), rows)
        assert len(found.rows) >= len(rows) - 2 - content[page * PAGE :][:PAGE].count(b"\n")


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_middle_that_is_cut_out(whole, data):
    content, rows = whole
    begin, end = sorted(data.draw(st.tuples(*[st.integers(WIDTH, len(content))] * 2)))
    check(content, content[:begin] + content[end:], rows)


def test_a_header_that_lies(whole):
    content, rows = whole
    for count in (0, 7, 9999):
        lie = content.replace(b'"rows": %d' % len(rows), b'"rows": %d' % count, 1)
        lie = lie.split(b"\n", 1)[0].strip().ljust(WIDTH - 1)[: WIDTH - 1] + b"\n" + content[WIDTH:]
        found = salvaged(lie)
        assert found.total is None and not found.whole and list(found.rows.values()) == rows


def test_what_was_never_acknowledged_is_not_missing(whole):
    content, rows = whole
    found = salvaged(content + b'0123456789abcdef %d 0123456789abcdef {"kind":"re' % len(rows))
    assert found.whole and found.total == len(rows) and not found.missing


def test_the_rows_that_are_left_make_a_study(whole, tmp_path):
    content, rows = whole
    path = tmp_path / "study.log"
    starts = [number for number, row in enumerate(rows) if row["kind"] == "start"]
    for number in (0, 1, starts[0], starts[4], starts[4] + 1, starts[-1], len(rows) - 1):
        text = content.split(b"\n")[number + 1]
        path.write_bytes(content.replace(text, text[:40] + b"?" + text[41:]))
        report = examine(path)
        assert not report.well and f"missing: {number}" in report.findings[0].text
        with pytest.raises(ValueError, match=r"rows were acknowledged, .* see what is left by `nas doctor"):
            opened(path)
        assert mend(path).done and examine(path).well
        assert mend(path).lines() == ["nothing to salvage: all of it is whole"]
        with opened(path) as study:
            numbers, asked = list(study.history.trials), set(study.history.asked)
            value = study.history.events["salvaged"]
            assert value["missing"] == [[number, number]] and (tmp_path / value["kept"]).is_file()
            assert number or "study" in {row["kind"] for row in study._storage.rows}
            played(study, len(asked) + 12)
            fresh = [one for one in study.history.trials if one not in numbers]
            assert fresh and min(fresh) > max(numbers)
    assert (tmp_path / "study.log.damaged.7").is_file()


def test_nothing_is_drawn_twice_where_a_trial_is_lost(tmp_path):
    path, other = tmp_path / "study.log", tmp_path / "other.log"
    with opened(path, "random", "full") as study:
        played(study, 10)
    shutil.copy(path, other)
    lines = path.read_bytes().split(b"\n")
    at = next(at for at, line in enumerate(lines) if b'"start","trial":3' in line)
    path.write_bytes(b"\n".join([*lines[:at], *lines[at + 1 :]]))
    mend(path)
    with opened(path, "random", "full") as salvaged_one, opened(other, "random", "full") as unharmed:
        assert salvaged_one.history.lost == 1 and 3 not in salvaged_one.history.trials
        for _ in range(3):
            one, same = salvaged_one.ask(), unharmed.ask()
            assert (one.number, one.config) == (same.number, same.config)


def test_what_is_enqueued_keeps_its_place_where_another_is_lost(whole, tmp_path):
    content, rows = whole
    places = [number for number, row in enumerate(rows) if row["kind"] == "queue"]
    path = tmp_path / "study.log"
    text = content.split(b"\n")[places[1] + 1]
    path.write_bytes(content.replace(text, text.replace(b'"k":3', b'"k":1')))
    mend(path)
    with opened(path) as study:
        assert study.history.queue == [{"x": 0.25}, {}, {"x": 0.75}]


def test_decisions_about_what_is_lost_are_left_out():
    event = {"kind": "event"}
    rows = {
        0: {"kind": "start", "trial": 0, "parent": None},
        1: {"kind": "step", "trial": 0, "step": 0},
        2: {"kind": "result", "trial": 0, "step": 0},
        4: {"kind": "step", "trial": 1, "step": 1},
        5: {"kind": "result", "trial": 1, "step": 1},
        6: {"kind": "start", "trial": 2, "parent": 1},
        7: {"kind": "result", "trial": 0, "step": 2},
        8: {**event, "name": "finals 1", "value": {"trials": [0, 1]}},
        9: {**event, "name": "winner 1", "value": {"trial": 1, "step": 1}},
        10: {**event, "name": "export 1", "value": "best"},
        11: {**event, "name": "winner 2", "value": {"trial": 0, "step": 0}},
        12: {**event, "name": "test 2", "value": {}},
    }
    kept, left = consistent(rows)
    assert kept == [rows[number] for number in (0, 1, 2, 11, 12)]
    assert {one.number: one.why for one in left} == {
        4: "trial 1 is lost",
        5: "trial 1 is lost",
        6: "trial 2 descends from trial 1, which is lost",
        7: "step 2 of trial 0 is lost",
        8: "a trial that was to be trained again is lost",
        9: "trial 1, which won, or its result is lost",
        10: "which trial won is lost",
    }


def test_of_an_empty_store_nothing_is_left_and_that_is_said(tmp_path):
    path = tmp_path / "study.log"
    path.touch()
    assert [one.state for one in examine(path).findings] == ["damaged", "whole"]
    mend(path)
    assert examine(path).well
    (tmp_path / "other.txt").write_text("a letter")
    for look in (examine, mend):
        with pytest.raises(ValueError, match="is not a store of this project, or nothing of it is left"):
            look(tmp_path / "other.txt")
        with pytest.raises(ValueError, match="no run and no study in"):
            look(tmp_path / "none")


def test_a_store_of_schema_one_keeps_what_lies_before_the_damage(tmp_path):
    content = (Path(__file__).parent / "stores" / "schema-1.log").read_bytes()
    path = tmp_path / "study.log"
    lines = content.split(b"\n")
    lines[30] = lines[30].replace(b":", b";", 1)
    path.write_bytes(b"\n".join(lines))
    assert "missing: 29 to 70" in examine(path).findings[0].text
    mend(path)
    with opened(path) as study:
        assert study.history.events["salvaged"]["rows"] <= 29 and study.ask()


def test_a_store_that_is_written_is_looked_at_and_not_salvaged(tmp_path, capsys):
    path = tmp_path / "study.log"
    with opened(path) as study:
        played(study, 5)
        assert examine(path).well
        with pytest.raises(SystemExit) as left:
            main(["doctor", str(path), "--salvage"])
        assert left.value.code == 2 and "is being written by process" in capsys.readouterr().err


# weights


def saving(config, context):
    from safetensors.numpy import save_file

    for epoch in range(context.start, context.epochs):
        save_file({"w": np.zeros(3)}, context.scratch / f"epoch-{epoch + 1}.safetensors")
        context.report(epoch + 1, {"loss": config["x"] + 1 / (epoch + 1)})


def test_weights_that_are_gone_on_with_are_missed(tmp_path):
    path = tmp_path / "study.log"
    with opened(path, "random") as study:
        study.optimize(saving, trials=12)
        best = study.best
        final = study.repeat(best.number, 1, Fidelity(2))
        study.tell(final, Result(metrics={"loss": 0.1}, checkpoint="epoch-2.safetensors", seconds=1.0))
        study.repeat(best.number, 1, Fidelity(5))
    assert not examine(path).well
    text = next(one.text for one in examine(path).findings if one.bad)
    assert text == f"weights of trials {final.number}; what goes on from them begins again from step 0"
    assert mend(path).done and examine(path).well
    with opened(path, "random") as study:
        assert study.history.events["salvaged"]["without"] == [[final.number, final.asked.index]]


def test_weights_that_cannot_be_read_or_belong_to_nobody_are_set_aside(tmp_path):
    path = tmp_path / "study.log"
    with opened(path, "random") as study:
        study.optimize(saving, trials=4)
    broken = next((tmp_path / "study-checkpoints").glob("trial-*/*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:-5])
    stranger = tmp_path / "study-checkpoints" / "trial-0099"
    stranger.mkdir()
    (stranger / "epoch-1.safetensors").touch()
    report = examine(path)
    assert [one.state for one in report.findings] == ["whole", "damaged", "left over"]
    mend(path)
    assert not broken.exists() and broken.with_name(f"{broken.name}.damaged").exists()
    assert (tmp_path / "study-checkpoints" / "lost-trial-0099").is_dir() and examine(path).well


# asking again


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("strategy", "scheduler"),
    [
        ("evolution", "asha"),
        ("random", "hyperband"),
        ("evolution", "pbt"),
        ("tpe", "full"),
        ("evolution", "halving"),
    ],
)
def test_what_was_asked_for_is_asked_for_again(tmp_path, strategy, scheduler, workers):
    path = tmp_path / "study.log"
    with opened(path, strategy, scheduler) as study:
        study.enqueue({"x": 0.25})
        played(study, 30, workers, checkpoint="w.safetensors")
        study.enqueue({"k": 2})
    with opened(path, strategy, scheduler) as study:  # resumed: what was in flight is handed out again
        played(study, 10, workers, checkpoint="w.safetensors")
        study.repeat(0, 1, Fidelity(9))
        played(study, 5, workers)
    found = replay(opened(None, strategy, scheduler), rows_of(path))
    assert found.divergence is None and found.asked >= 40 and not found.ended


def test_a_budget_of_starts_is_no_divergence(tmp_path):
    path = tmp_path / "study.log"
    with opened(path) as study:
        study.optimize(lambda config: config["x"], trials=11)
    assert replay(opened(None), rows_of(path)).divergence is None


def test_the_first_divergence_is_told(tmp_path):
    path = tmp_path / "study.log"
    with opened(path) as study:
        played(study, 20)
    rows = json.loads(json.dumps(rows_of(path)))
    at = [number for number, row in enumerate(rows) if row["kind"] == "start"][6]
    rows[at]["config"]["k"] = 1 + rows[at]["config"]["k"] % 3
    found = replay(opened(None), rows)
    assert found.divergence.row == at + 1 and found.divergence.what == "config" and found.asked > 5
    assert (
        found.divergence.stored == rows[at]["config"]
        and found.divergence.asked["x"] == rows[at]["config"]["x"]
    )
    assert str(found.divergence).startswith(f"row {at + 1}: config was {{")
    with pytest.raises(ValueError, match="holds another study: its strategy is 'evolution', not 'random'"):
        replay(opened(None, "random"), rows)


def test_a_salvaged_store_is_replayed_up_to_the_hole(whole, tmp_path):
    content, rows = whole
    path = tmp_path / "study.log"
    number = [at for at, row in enumerate(rows) if row["kind"] == "result"][15]
    path.write_bytes(content.replace(content.split(b"\n")[number + 1], b""))
    mend(path)
    found = replay(opened(None), rows_of(path))
    assert found.divergence is None and found.ended == f"row {number} was lost to damage" and found.asked > 10


# runs


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def asked(capsys, *arguments):
    try:
        main(["doctor", *map(str, arguments)])
        code = 0
    except SystemExit as left:
        code = left.code
    return code, capsys.readouterr().out


def test_a_run_that_is_well(finished, capsys):
    code, said = asked(capsys, finished, "--replay")
    assert code == 0 and "evaluations are asked for again" in said and "damaged" not in said
    code, said = asked(capsys, finished, "--json")
    assert code == 0 and json.loads(said)["well"] is True


@pytest.mark.parametrize(
    ("part", "spoil", "state"),
    [
        (
            "config.yaml",
            lambda path: path.unlink(),
            "missing   config.yaml: without it the run cannot be gone on with",
        ),
        (
            "config.yaml",
            lambda path: path.write_text("budget: ["),
            "damaged   config.yaml: cannot read the settings",
        ),
        ("data", shutil.rmtree, "missing   data: the decoded images are gone"),
        ("data/train_x.npy", lambda path: path.write_bytes(path.read_bytes()[:-99]), "damaged   data: "),
        ("best", shutil.rmtree, "missing   best: the exported model of round 1 is gone"),
        ("best/model.py", lambda path: path.write_text("def ("), "damaged   best: model.py cannot be read"),
        ("status.json", lambda path: path.write_text("{"), "damaged   status.json: it cannot be read"),
    ],
)
def test_what_is_wrong_with_a_run_is_said(copied, capsys, part, spoil, state):
    path = copied / part
    content = path.read_bytes() if path.is_file() else b""
    if content:
        path.unlink()  # it may be a link to the cache
        path.write_bytes(content)
    spoil(path)
    code, said = asked(capsys, copied)
    assert code == 5 and state in said and f"next: `nas doctor {copied} --salvage`" in said


def test_a_damaged_run_is_salvaged_and_gone_on_with(copied, capsys):
    import nas

    store = copied / "study.log"
    content = store.read_bytes()
    lines = content.split(b"\n")
    number = next(at for at, line in enumerate(lines) if b'"kind":"result"' in line)
    store.write_bytes(content.replace(lines[number], lines[number].replace(b'"seconds":', b'"seconds";')))
    (copied / ".config.yaml.1").touch()
    shutil.rmtree(copied / "best")
    code, said = asked(capsys, copied, "--salvage")
    assert code == 0 and "the old file is study.log.damaged" in said
    assert not (copied / ".config.yaml.1").exists()
    again = nas.resume(copied, trials=1)
    assert again.test is not None and (copied / "best" / "model.py").is_file()
    assert asked(capsys, copied)[0] == 0
