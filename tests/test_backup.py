"""The backup: a copy of a run is whole and can be gone on with, whatever the run does meanwhile."""

import errno
import json
import shutil

import pytest

import nas
from nas import backup as module
from nas.backup import backup
from nas.cli import main
from nas.doctor import examine, rows_of
from nas.front import Run
from nas.storages.log import Log


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_copy_is_the_run(finished, tmp_path, capsys):
    run, to = finished, tmp_path / "copies" / "run"
    (run / ".config.yaml.1").touch()
    main(["backup", str(run), str(to)])
    assert capsys.readouterr().out == f"copied: {to}\n"
    (run / ".config.yaml.1").unlink()
    assert names(to) == names(run) and examine(to).well
    rows = rows_of(to)
    assert rows[:-1] == rows_of(run) and rows[-1]["name"] == "backup"
    assert rows[-1]["value"] == {"of": str(run.resolve()), "rows": len(rows) - 1, "without": []}
    assert Run(to).status() == {**Run(run).status(), "export": str(to / "best")}


@pytest.mark.slow
def test_a_copy_goes_on(finished, tmp_path):
    again = nas.resume(backup(finished, tmp_path / "run"), trials=1)
    assert sum(trial.replicate == 0 for trial in again.trials) == 3 and examine(tmp_path / "run").well
    assert sum(trial.replicate == 0 for trial in Run(finished).trials) == 2


def test_what_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match="exists; choose a folder that does not"):
        backup(finished, tmp_path)
    with pytest.raises(ValueError, match="no run in"):
        backup(tmp_path, tmp_path / "to")
    with pytest.raises(ValueError, match="lies in the run itself; choose a folder outside of it"):
        backup(finished, finished / "copy")
    shutil.copytree(finished, tmp_path / "run")
    store = tmp_path / "run" / "study.log"
    store.write_bytes(store.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"is damaged: .* see what is left by `nas doctor"):
        backup(tmp_path / "run", tmp_path / "to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_full_disk_leaves_nothing(finished, tmp_path, monkeypatch):
    copies = []

    def full(source, target):
        copies.append(source)
        if len(copies) == 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return target.write_bytes(source.read_bytes())

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        backup(finished, tmp_path / "to")
    assert not list(tmp_path.iterdir())


def test_a_run_at_work_is_copied_while_its_weights_go(finished, tmp_path, monkeypatch):
    live = tmp_path / "live"
    shutil.copytree(finished, live)
    with Log(live / "study.log") as log:
        last = [row for row in log.rows if row["kind"] == "result" and row["checkpoint"]][-1]
        number, step = last["trial"], max(row["step"] for row in log.rows if row["kind"] == "step") + 1
        gone = live / "checkpoints" / f"trial-{number:04d}" / last["checkpoint"]
        log.append(
            {"kind": "step", "step": step, "trial": number, "from": 3, "fidelity": [900, 1.0, 1.0], "t": 0.0}
        )
        real = shutil.copyfile

        def dropping(source, target):
            gone.unlink(missing_ok=True)
            if source.name == "config.yaml":
                log.append({"kind": "event", "name": "later", "value": 1})
            return real(source, target)

        monkeypatch.setattr(module.shutil, "copyfile", dropping)
        status = json.loads((live / "status.json").read_text())
        (live / "status.json").write_text(json.dumps({**status, "state": "running"}))
        backup(live, tmp_path / "to")
    rows = rows_of(tmp_path / "to")
    assert rows[-1]["value"]["without"] == [[number, last["step"]]] and "later" not in [
        row.get("name") for row in rows
    ]
    assert examine(tmp_path / "to").well and not (tmp_path / "to" / gone.relative_to(live)).exists()
    assert Run(tmp_path / "to").status()["state"] == "interrupted"
    assert not examine(live).well
