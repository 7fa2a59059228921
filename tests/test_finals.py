"""Who is trained again, who wins and what is said of it, where the latency measured is not the one predicted."""

import itertools
import re
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

import nas
from estimators.estimator import Fidelity, Result
from nas.checkpoints import folder_of
from nas.final_training import FinalTraining
from nas.flights import Flights
from nas.history import reached
from nas.leaders import Decisions, Leaders
from nas.plan import Finals
from nas.session import Session
from nas.trial import Metrics, Trial


class Measured:
    """In place of ``Latencies``: milliseconds by the number of a trial, and who was measured."""

    def __init__(self, milliseconds: dict[int, float]) -> None:
        self.milliseconds, self.asked = milliseconds, list[int]()

    def alone(self, trials: list[Trial]) -> dict[str, float]:
        self.asked += [trial.number for trial in trials]
        return {str(trial.number): self.milliseconds[trial.number] for trial in trials}


def searched(tmp_path: Path, count: int, *, weights: bool = True) -> nas.Study:
    """Return a study after its search: trial n, the better the greater, is predicted to take 1.9 of at most 2 ms."""
    study = nas.Study(
        nas.Space(x=nas.Float(0, 1)),
        objectives=["accuracy"],
        constraints=["latency<=2"],
        strategy="random",
        measure=lambda config: {"latency": 1.9},
    )
    for number in range(count):
        trial = study.ask()
        metrics: Metrics = {"accuracy": number / 10}
        study.tell(trial, Result(metrics=metrics, seconds=1.0, checkpoint="a.safetensors"))
        if weights:
            (tmp_path / folder_of(trial)).mkdir()
            (tmp_path / folder_of(trial) / "a.safetensors").touch()
    return study


def leaders(
    tmp_path: Path, milliseconds: dict[int, float], *, weights: bool = True
) -> tuple[Leaders, Measured, Decisions]:
    """Return who leads after a search, who is measured, and what is decided in its first round."""
    study = searched(tmp_path, len(milliseconds), weights=weights)
    measured, decisions = Measured(milliseconds), Decisions(study, 1)
    return Leaders(study, decisions, measured, tmp_path), measured, decisions  # type: ignore[arg-type]


def test_designs_that_break_the_bound_when_measured_are_not_trained_again(tmp_path):
    one, measured, _ = leaders(tmp_path, {0: 1.0, 1: 1.5, 2: 1.8, 3: 1.9, 4: 2.5, 5: 3.0, 6: 2.1})
    one.measure()
    assert sorted(measured.asked) == [1, 2, 3, 4, 5, 6]  # until three hold
    assert [trial.number for trial in one.standing()] == [3, 2, 1, 0]


def test_where_nothing_holds_the_nearest_are_trained_and_the_failure_names_the_bound(tmp_path):
    one, _, _ = leaders(tmp_path, {0: 2.2, 1: 2.9, 2: 2.6})
    one.measure()
    assert [trial.number for trial in one.standing()] == [0, 2, 1]
    assert one.winner(1) is None
    said = r"none of 3 trained designs satisfies latency<=2; the nearest reached latency 2.2 \(trial 0\)"
    assert re.match(said, one.why_none(Path("runs/x")))


def test_the_best_of_the_search_is_measured_before_it_wins(tmp_path):
    one, measured, decisions = leaders(tmp_path, {0: 1.0, 1: 1.7, 2: 1.8, 3: 1.8, 4: 2.4})
    decisions.keep("latency measured", {"3": 1.8})  # the rest has only been predicted
    trial, step = one.winner(1)
    assert trial.number == 3 and measured.asked == [4]
    assert one.reached(trial, step)["latency"] == 1.8
    assert decisions.get("latency measured") == {"3": 1.8, "4": 2.4}


def test_scores_of_a_supernet_are_not_compared_with_final_trainings(tmp_path):
    study = searched(tmp_path, 2)
    decisions = Decisions(study, 1)
    scored, trained = (Leaders(study, decisions, None, tmp_path, trained=one) for one in (False, True))
    assert scored.winner(1)[0].number == trained.winner(1)[0].number == 1
    final = study.repeat(0, 1, Fidelity())
    metrics = {"accuracy": 0.05, "latency": 1.0}
    study.tell(final, Result(metrics=metrics, seconds=1.0, checkpoint="a.safetensors"))
    (tmp_path / folder_of(final)).mkdir()
    (tmp_path / folder_of(final) / "a.safetensors").touch()
    assert scored.winner(1)[0].number == final.number
    assert trained.winner(1)[0].number == 1


@pytest.mark.parametrize("stored", [None, 1_000])
def test_the_watch_follows_what_is_free_and_the_pieces_do_not(stored, tmp_path):
    one = Session.__new__(Session)
    one.study = searched(tmp_path, 0)
    one.settings = SimpleNamespace(memory=stored)  # type: ignore[assignment]
    events = one.study.history.events
    for free, limits in (
        (1_000, (1_000, 1_000)),
        (400, (1_000, 400)),
        (300, (1_000, 300)),
        (5_000, (1_000, 1_000)),
    ):
        one.executor = SimpleNamespace(memory=lambda free=free: free)  # type: ignore[assignment]
        assert one._memory_limits() == limits
    assert events.get("memory limit") == (None if stored else 1_000)
    assert events["memory short"] == {"limit": 1_000, "now": 400}  # told once


def test_without_weights_it_is_the_weights_that_are_missed(tmp_path):
    one, _, _ = leaders(tmp_path, {0: 1.0, 1: 1.7}, weights=False)
    assert one.winner(1) is None
    assert one.why_none(Path("runs/x")).startswith(
        "the weights of all good trials are gone; train more by `nas"
    )


def test_what_is_reported_is_what_was_measured(tmp_path):
    trial = searched(tmp_path, 1).trials[0]
    step = trial.trained
    assert step is not None
    assert reached(trial, step, None) == {"latency": 1.9, "accuracy": 0.0}
    assert reached(trial, step, {"0": 1.0}) == {"latency": 1.0, "accuracy": 0.0}


class Workers:
    """An executor of two workers that end when they are waited for, with ``results`` in turn; counts them at work."""

    slots, threads = 2, 1

    def __init__(self, results: list[Result]) -> None:
        self.results, self.asked, self.most = results, list[tuple[str, int, int]](), 0
        self.flying = list[Future[Result]]()

    def threads_of(self, count: int) -> int:
        return 2 // count

    def submit(self, task: object) -> "Future[Result]":
        self.asked.append((task.context.scratch.name, task.fidelity.epochs, task.context.threads))  # type: ignore[attr-defined]
        future = Future[Result]()
        self.flying.append(future)
        self.most = max(self.most, sum(not one.done() for one in self.flying))
        return future

    def wait(self, flights: Flights) -> "set[Future[Result]]":
        for future in self.flying:
            if not future.done() and self.results:
                future.set_result(self.results.pop(0))
        return set(flights)


def test_final_trainings_run_side_by_side_and_what_a_worker_died_of_goes_on(tmp_path):
    study, told = searched(tmp_path, 3), list[bool]()
    died = Result(error="killed: the worker process ended with SIGKILL")
    good = Result(metrics={"accuracy": 0.9, "latency": 1.0}, curve=({"accuracy": 0.9},), seconds=1.0)
    executor = Workers([good, died, good, good, good, good, good, good])
    study.wait = executor.wait  # type: ignore[assignment,method-assign]
    FinalTraining(
        study,
        executor,  # type: ignore[arg-type]
        estimator=lambda: None,  # type: ignore[arg-type,return-value]
        decode=lambda config: config,
        checkpoints=tmp_path,
        settings={"device": "cpu"},
        memory=10**9,
        replicate=1,
        left=lambda: None,
        epoch_seconds=lambda trial: 1.0,
        told=lambda: told.append(True),
    ).run(Finals((2, 1), 4))
    finals = [trial for trial in study.trials if trial.replicate == 1]
    assert [trial.parent for trial in finals] == [2, 1] and executor.most == 2
    assert all([step.fidelity.epochs for step in trial.steps] == [2, 4] for trial in finals)
    assert not any(trial.failed for trial in finals) and {asked[2] for asked in executor.asked} == {1}
    retried = [value for name, value in study.history.events.items() if name.startswith("retried")]
    assert [value["trial"] for value in retried] == [finals[1].number] and len(executor.asked) == 5


def test_the_status_is_written_for_a_small_share_of_the_time(tmp_path, monkeypatch):
    one, now, written = Session.__new__(Session), [100.0], list[float]()

    def status(session: Session, state: str) -> None:
        written.append(now[0])
        now[0] += 0.1

    monkeypatch.setattr(Session, "status", status)
    monkeypatch.setattr(Session, "_keep_up", lambda session: None)
    monkeypatch.setattr("nas.session.time.monotonic", lambda: now[0])
    one._status_due = 0.0
    for _ in range(200):
        one._between()
        now[0] += 0.1
    assert written[0] == 100.0 and len(written) == 5
    assert min(b - a for a, b in itertools.pairwise(written)) > 4.99
