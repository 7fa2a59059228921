"""What ``nas doctor --salvage`` does: a damaged run is made one that can be gone on with, and nothing is thrown away.

Everything happens under the lease of the store. The store comes first, in one move, with an event that says what was
lost; what follows are renames, which a second call goes on with if the first was killed. The damaged store stays beside
the new one as ``study.log.damaged``, an unreadable file under its name and ``.damaged``, and the weights of trials that
are lost in ``lost-trial-0007``: numbers of lost trials may be given again.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from nas import lease
from nas.doctor import Replay, examine, look, loss, replay_run, some
from nas.layout import dumped, store_of
from nas.remains import Patient, Told, gone, strangers, there, unexported, unreadable, winner_of, wrong_in
from nas.salvage import report
from nas.storage import Row


@dataclass(frozen=True)
class Salvage:
    """What was done: in words, and whether there was anything to do."""

    done: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what was done for a person to read."""
        return list(self.done) or ["nothing to salvage: all of it is whole"]


def consult(run: str, *, salvage: bool, replay: bool, as_json: bool) -> tuple[str, bool]:
    """Return what ``nas doctor`` prints, and whether all is well."""
    done = mend(run) if salvage else None
    report = examine(run)
    asked = replay_run(run) if replay and report.well else None
    well = report.well and (asked is None or asked.divergence is None)
    if as_json:
        plain = {
            "well": well,
            **asdict(report),
            "salvaged": done and list(done.done),
            "replay": asked and asdict(asked),
        }
        return json.dumps(plain, indent=1), well
    lines = [] if done is None else done.lines()
    lines += report.lines()
    if asked is not None:
        lines.append(said_of(asked))
    if not report.well:
        lines.append(
            "salvage is of no use for that"
            if salvage
            else f"next: `nas doctor {run} --salvage` keeps what can be trusted"
        )
    return "\n".join(lines), well


def said_of(asked: Replay) -> str:
    """Say what a replay has found."""
    if asked.divergence is not None:
        return f"differs   replay: {asked.divergence}; the {asked.asked:,} evaluations before are asked for again"
    return f"whole     replay: {asked.asked:,} evaluations are asked for again" + f"; {asked.ended}" * bool(
        asked.ended
    )


def mend(path: str | Path) -> Salvage:
    """Make the run or study at ``path`` one that can be gone on with; a ``ValueError`` if a process is writing it."""
    patient = Patient.at(path)
    if not patient.store.exists() and not patient.begun:
        return Salvage(())
    held = lease.leased(patient.store)
    done = list[str]()
    try:
        told, store = look(patient)
        without, rows = gone(patient, told), list(told.rows)
        undone = _undone(patient, told)
        if store.bad or without or undone:
            rows = [row for row in rows if row.get("name") not in undone]
            kept = free_name(patient.store.with_name(f"{patient.store.name}.damaged"))
            rows.append(_event(told, kept.name, without, undone))
            held = lease.replaced(patient.store, held, store_of(dumped(rows)), kept=kept.name)
            said = "whole" if told.whole else loss(told)
            done.append(f"{patient.store.name}: {said}; the old file is {kept.name}")
        done += [f"trial {number}: begins again from step 0, its weights are gone" for number, _ in without]
        done += [f"{key}: decided anew by a resume" for key in undone]
        done += _set_aside(patient, told)
    finally:
        lease.released(held)
    return Salvage(tuple(done))


def _event(told: Told, kept: str, without: list[tuple[int, int]], undone: list[str]) -> Row:
    """Return the row that says what was lost."""
    about = {
        **report(told.found, told.left),
        "kept": kept,
        "without": [list(one) for one in sorted({*without, *told.forgiven()})],
        "undone": undone,
    }
    return {"kind": "event", "name": "salvaged", "value": about, "t": told.history.seconds}


def _undone(patient: Patient, told: Told) -> list[str]:
    """Return the decisions to take again, since the winner's weights or the exported model are not there."""
    folder, events = patient.folder, told.history.events
    if folder is None:
        return []
    names = [
        f"winner {number}"
        for number, winner in unexported(events).items()
        if not there(patient.checkpoints, told.history, winner)
    ]
    if (exported := winner_of(events)) is not None:
        newest, winner = exported
        spoilt = not folder.best.is_dir() or wrong_in(folder.best, winner["trial"])
        if spoilt and there(patient.checkpoints, told.history, winner):
            names += [key for key in (f"export {newest}", f"test {newest}") if key in events]
    return names


def _set_aside(patient: Patient, told: Told) -> list[str]:
    """Rename what cannot be used, and remove what was half-written; return what was done."""
    done = list[str]()
    for path in strangers(patient, told):
        done.append(f"{path.name}: its trial is lost; it is {_renamed(path, 'lost-' + path.name)} now")
    broken = unreadable(patient.checkpoints)
    if (folder := patient.folder) is not None:
        if folder.supernet.exists():
            broken += [path for path in unreadable(folder.path) if path == folder.supernet]
        if folder.status_file.exists() and folder.status() == {"state": "interrupted"}:
            broken.append(folder.status_file)
        left = folder.leftovers()
        folder.sweep()
        done += [f"removed what was half-written: {some([path.name for path in left])}"] * bool(left)
    for path in broken:
        done.append(f"{path.name}: cannot be read; it is {_renamed(path, path.name + '.damaged')} now")
    return done


def _renamed(path: Path, name: str) -> str:
    target = free_name(path.with_name(name))
    path.rename(target)
    return target.name


def free_name(path: Path) -> Path:
    """Return ``path``, or where that exists the first of it with .2, .3, ... that does not."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found
