"""Whether a run, or a study in a file, is whole: what is damaged, what is missing, and what can be done about it.

``examine`` looks and changes nothing, also while the run is written. ``replay`` asks again for all that was asked for.
What to do about damage is in ``nas.rescue``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.folder import OWN, Folder, Settings
from nas.layout import SCHEMA, WIDTH, parse_header
from nas.remains import (
    Patient,
    Told,
    gone,
    readable,
    strangers,
    there,
    unexported,
    unreadable,
    winner_of,
    wrong_in,
)
from nas.replay import Replay, replay
from nas.storage import Row, storages

__all__ = ["Finding", "Replay", "Report", "examine", "look", "replay", "replay_run", "rows_of"]

LOOKS = 5  # at a store that seems damaged: it may just be written
SHOWN = 8  # gaps, trials and files that are named, of many


@dataclass(frozen=True)
class Finding:
    """What ``part`` is: "whole", "damaged", "missing", "left over" (of a killed process) or "noted"."""

    part: str
    state: str
    text: str

    @property
    def bad(self) -> bool:
        """Whether it should not be so."""
        return self.state in ("damaged", "missing")


@dataclass(frozen=True)
class Report:
    """What was found at ``path``, part by part."""

    path: str
    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is damaged or missing."""
        return not any(one.bad for one in self.findings)

    def lines(self) -> list[str]:
        """Return the findings for a person to read."""
        return [f"{one.state:9} {one.part}: {one.text}" for one in self.findings]


def rows_of(path: str | Path) -> list[Row]:
    """Return the rows of the run or study at ``path``; a ``ValueError`` if its store is damaged."""
    with storages.get("log")(Patient.at(path).store, write=False) as store:
        return list(store.rows)


def examine(path: str | Path) -> Report:
    """Look at all parts of the run or study at ``path``; nothing is changed."""
    patient = Patient.at(path)
    told, store = look(patient)
    findings = [store, *_of_checkpoints(patient, told)]
    if patient.folder is not None:
        folder = patient.folder
        findings[1:1] = [_of_config(folder), _of_data(folder)]
        findings += [_of_best(folder, told), _of_status(folder)]
        if not patient.working and (left := folder.leftovers()):
            findings.append(
                Finding(
                    "leftovers", "left over", f"{some([one.name for one in left])}; a resume removes them"
                )
            )
    return Report(str(path), tuple(findings))


def replay_run(path: str | Path) -> Replay:
    """Ask again for all that the run at ``path`` asked for.

    A ``ValueError`` says why that cannot be done from its folder alone.
    """
    from nas.front import _search_space
    from nas.session import measure_of, open_study

    folder = Folder.existing(path)
    settings, rows = Settings.read(folder.config), rows_of(path)
    if settings.space == OWN:
        raise ValueError(
            f"run {str(path)!r} searches a space of your own, which is not in its folder; replay it in Python: "
            "nas.doctor.replay(nas.Study(space, ...), nas.doctor.rows_of(path)), the study with the same settings"
        )
    search_space = _search_space(settings, folder, None)
    tables = [row["value"] for row in rows if row["kind"] == "event" and row["name"] == "latency table"]
    measure = measure_of(settings, search_space, tables[-1] if tables else None)
    return replay(open_study(settings, search_space, measure, None), rows)


def look(patient: Patient) -> tuple[Told, Finding]:
    """Return what the store still tells, and how it is."""
    name = patient.store.name
    content = patient.store.read_bytes() if patient.store.exists() else b""
    header = parse_header(content[:WIDTH])
    if header is not None and header.schema > SCHEMA:
        storages.get("log")(patient.store, write=False)  # says so
    told = Told.of(content)
    if patient.folder is None and not (told.found.rows or patient.plausible(content)):
        raise ValueError(
            f"{str(patient.store)!r} is not a store of this project, or nothing of it is left; give another file, or "
            "restore a backup of it"
        )
    for _ in range(LOOKS):
        if not content or told.whole or content == (content := patient.store.read_bytes()):
            break
        told = Told.of(content)
    if not content.strip(b"\0"):
        if not patient.begun and patient.folder is not None:
            return told, Finding(name, "whole", "nothing was begun yet")
        state = "damaged" if patient.store.exists() else "missing"
        return told, Finding(
            name, state, "it is gone or empty; restore a backup of it, or begin anew with what else is there"
        )
    if told.whole:
        text = (
            f"{len(told.rows):,} rows, {len(told.history.trials):,} trials, {told.history.results:,} results"
        )
        return told, Finding(name, "whole", text)
    return told, Finding(name, "damaged", loss(told))


def loss(told: Told) -> str:
    """Say what a damaged store has lost."""
    found, gaps = told.found, [f"{a}" if a == b else f"{a} to {b}" for a, b in told.found.missing]
    text = f"{len(found.rows):,} rows can be trusted"
    if found.total is not None:
        text += f" of {found.total:,}"
    if gaps:
        text += f"; missing: {some(gaps)}"
    if found.total is None:
        text += "; how many there were is not known, more may have followed"
    if told.left:
        text += f"; {len(told.left):,} of these mean nothing without what is lost: "
        text += some(list(dict.fromkeys(one.why for one in told.left)), "; ")
    return text


def some(names: Sequence[object], between: str = ", ") -> str:
    """Return ``names`` in words, the first ones of many."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return between.join(map(str, names[:SHOWN])) + more


def _of_config(folder: Folder) -> Finding:
    name = folder.config.name
    if not folder.config.exists():
        return Finding(name, "missing", "without it the run cannot be gone on with; restore a backup of it")
    try:
        settings = Settings.read(folder.config)
    except ValueError as error:
        return Finding(name, "damaged", f"{error}; restore a backup of it, or correct it")
    return Finding(
        name, "whole", f"{settings.space}, {settings.strategy}, {settings.scheduler}, seed {settings.seed}"
    )


def _of_data(folder: Folder) -> Finding:
    from estimators.saved import content_hash, fingerprint, open_saved

    remedy = "restore a backup of it, or copy it from another run on the same images"
    if not folder.data.is_dir():
        return Finding("data", "missing", f"the decoded images are gone; {remedy}")
    try:
        data = open_saved(folder.data)
        if fingerprint(data) != content_hash(folder.data):
            return Finding("data", "damaged", f"the images are not those that were saved; {remedy}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding("data", "damaged", f"{' '.join(str(error).split())}; {remedy}")
    return Finding("data", "whole", f"{len(data.train):,} training images of {len(data.classes)} classes")


def _of_checkpoints(patient: Patient, told: Told) -> list[Finding]:
    part, findings = patient.checkpoints.name, list[Finding]()
    lacking = gone(patient, told)
    if lacking and patient.working:  # they may have been dropped since the store was read
        lacking = [one for one in lacking if one in gone(patient, look(patient)[0])]
    if lacking:
        trials = some(sorted({number for number, _ in lacking}))
        findings.append(
            Finding(
                part,
                "missing",
                f"weights of trials {trials}; what goes on from them begins again from step 0",
            )
        )
    broken = unreadable(patient.checkpoints)
    supernet = patient.folder.supernet if patient.folder is not None else None
    if supernet is not None and supernet.exists() and not readable(supernet):
        broken.append(supernet)
    if broken:
        names = some([f"{path.parent.name}/{path.name}" for path in broken])
        findings.append(
            Finding(
                part, "damaged", f"{names} cannot be read; what goes on from them begins again from step 0"
            )
        )
    if left := strangers(patient, told):
        findings.append(
            Finding(
                part,
                "left over",
                f"weights of trials that are not in the store: {some([p.name for p in left])}",
            )
        )
    if not findings:
        count = sum(1 for _ in patient.checkpoints.glob("trial-*/*.safetensors"))
        findings.append(Finding(part, "whole", f"{count:,} files; all that is gone on with is there"))
    return findings


def _of_best(folder: Folder, told: Told) -> Finding:
    for winner in unexported(told.history.events).values():
        if not there(folder.checkpoints, told.history, winner):
            text = f"trial {winner['trial']} won and is not exported, and its weights are gone"
            return Finding("best", "missing", text)
    exported = winner_of(told.history.events)
    if exported is None:
        state = "whole" if not folder.best.exists() else "noted"
        return Finding(
            "best",
            state,
            "no model was exported yet" if state == "whole" else "it is of no export that is known",
        )
    if not folder.best.is_dir():
        return Finding("best", "missing", f"the exported model of round {exported[0]} is gone")
    if wrong := wrong_in(folder.best, exported[1]["trial"]):
        return Finding("best", "damaged", f"{some(wrong)}")
    return Finding("best", "whole", f"the model of trial {exported[1]['trial']}")


def _of_status(folder: Folder) -> Finding:
    name = folder.status_file.name
    if not folder.status_file.exists():
        return Finding(name, "noted", "there is none yet; a resume writes it")
    try:
        json.loads(folder.status_file.read_text())["state"]
    except (OSError, ValueError, KeyError, TypeError):
        return Finding(name, "damaged", "it cannot be read; a resume writes it anew")
    state = folder.status()["state"]
    return Finding(
        name, "whole", state + (f"; go on with `nas resume {folder.path}`" if state == "interrupted" else "")
    )
