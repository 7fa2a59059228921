"""Searches with a supernet: it is trained first, its scores search, and final trainings inherit its weights."""

import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import nas
from estimators import checkpoint as checkpoints
from estimators.dataset import load, open_saved, save
from estimators.estimator import Context, Fidelity
from estimators.sharing.inherited import inherited, open_supernet
from estimators.sharing.paths import Paths
from estimators.sharing.splitting import Split
from estimators.sharing.supernet import Plan, Supernet
from estimators.supernet import SupernetEstimator, SupernetTraining
from estimators.train import TrainEstimator, evaluate_split, standardisation, trained_weights
from nas.calibration import Failed
from nas.folder import Folder
from nas.front import _search_space
from nas.joint import default_alone, joint_space
from nas.pretraining import Pretraining
from nas.session import Session
from nas.trial import Objective, Problem, Step, Trial
from nas.trust import Trust, has_say, outranked, trusts
from nas.warm_start import members_of
from nas.wording import description
from search_spaces.configuration import Configuration
from search_spaces.space import Choice, Float, Int, Space

BOUND = "macs<=2e5"


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    return save(load(small), tmp_path_factory.mktemp("saved") / "data")


@pytest.fixture(scope="module")
def trained(saved):
    """A supernet of two epochs beside the data, as a run folder has it."""
    space = joint_space(open_saved(saved), "chain")
    net = Supernet(space, saved, Plan(2, Paths(macs=2e5)), saved.parent / "supernet.safetensors")
    net.train()
    return space, net


@pytest.fixture
def short(monkeypatch):
    """Supernets of two epochs, finals of two."""
    from nas.plan import Finals

    monkeypatch.setattr("nas.pretraining.COUNTED", 2)
    monkeypatch.setattr("nas.session.counted_finals", lambda trials, images: Finals(tuple(trials[:1]), 2))


@pytest.fixture
def sampled(short, monkeypatch):
    """Samples of six designs."""
    for name, value in (("COUNTED", 6), ("LEAST", 4), ("PICKS", 3)):
        monkeypatch.setattr(f"nas.warm_start.{name}", value)


def search(small: Path, out: Path, **options) -> nas.Run:
    return nas.search(small, trials=4, constraints=[BOUND], trackers=[], out=out, **options)


def test_a_whole_search_by_its_scores(small, tmp_path, short):
    run = search(small, tmp_path / "run", estimator="supernet")
    events = run.history.events
    assert run.status()["state"] == "finished" and run.status()["trials"]["finished"] == 4
    assert events["supernet"]["seconds"] is None and events["supernet"]["epochs"] == 2
    assert events["supernet"]["reached"] == 2 and events["supernet trained"]["epochs"] == 2
    searched = [trial for trial in run.history.trials.values() if trial.replicate == 0]
    assert len({trial.key for trial in searched}) == 4
    recipes = {tuple(v for p, v in trial.config.items() if p.startswith("recipe.")) for trial in searched}
    assert len(recipes) == 1
    finals = [trial for trial in run.history.trials.values() if trial.replicate == 1]
    assert [trial.last.fidelity.epochs for trial in finals] == [2]
    assert run.status()["test"]["accuracy"] >= 0.4
    assert run.settings.ladder == ((1, 1.0, 1.0),)
    assert run.best.module()(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


@pytest.mark.slow
def test_killed_while_it_is_trained_it_goes_on_with_the_time_that_is_left(
    small, tmp_path, monkeypatch, short
):
    parts = []

    def killed_in_the_second(self, plan, *others):
        parts.append(plan)
        if len(parts) == 2:
            raise KeyboardInterrupt
        return part(self, plan, *others)

    part = Pretraining._part
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pretraining, "_part", killed_in_the_second)
        search(small, tmp_path / "run", estimator="supernet")
    assert parts[1]["reached"] == 1 and parts[1]["spent"] > 0
    run = nas.resume(tmp_path / "run")
    assert run.history.events["supernet"]["spent"] > parts[1]["spent"]
    assert run.history.events["supernet trained"]["epochs"] == 2
    whole = search(small, tmp_path / "whole", estimator="supernet")
    files = [
        checkpoints.load(tmp_path / name / "supernet.safetensors").groups["shared"]
        for name in ("run", "whole")
    ]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[1])
    assert not list((tmp_path / "run").glob("*.tmp"))
    scores = [
        [trial.steps[0].metrics["loss"] for trial in one.history.trials.values() if trial.replicate == 0]
        for one in (run, whole)
    ]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_begun_with_trials_it_goes_on_with_a_budget_and_has_finals(small, tmp_path, short, monkeypatch):
    search(small, tmp_path / "run", estimator="supernet")
    monkeypatch.undo()
    run = nas.resume(tmp_path / "run", budget="14s")
    assert run.history.events["finals 2"]["trials"]


def test_a_score_is_that_of_the_exported_weights(saved, trained, tmp_path):
    space, _ = trained
    design = space.decode(space.space.default())
    context = Context(seed=0, scratch=tmp_path)
    result = SupernetEstimator(saved).evaluate(design, Fidelity(), context)
    again = SupernetEstimator(saved).evaluate(design, Fidelity(), context)
    assert result.metrics == again.metrics and not result.curve
    weights = tmp_path / result.checkpoint
    val = open_saved(saved).val
    metrics, _ = evaluate_split(design, trained_weights(weights), val, standardisation(weights))
    assert metrics["loss"] == pytest.approx(result.metrics["loss"], abs=1e-4)
    signal = SupernetEstimator(saved, signal="supernet").evaluate(design, Fidelity(), context)
    assert (
        dict(signal.metrics) == {"supernet": trained[1].scorer().rank(design)} and signal.checkpoint is None
    )


def test_what_a_design_drops_in_training_is_seen_where_it_is_ranked(saved, trained):
    space, net = trained
    plain, much = (
        space.decode(Configuration({**space.space.default(), "architecture.dropout": rate}))
        for rate in (0.0, 0.5)
    )
    scorer = net.scorer()
    assert scorer.score(plain) == scorer.score(much)
    assert scorer.rank(plain) == -scorer.score(plain)["loss"]
    before = torch.random.get_rng_state()
    assert scorer.rank(plain) != scorer.rank(much) == scorer.rank(much)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_training_begins_with_the_inherited_weights(saved, trained, tmp_path):
    space, net = trained
    design = space.decode(space.space.default())
    state = inherited(net.file, saved, design)
    own = design.network(0)
    own.load_state_dict(state)
    assert set(state) == set(own.state_dict())
    results = []
    for file in (None, net.file):
        scratch = tmp_path / ("warm" if file else "plain")
        scratch.mkdir()
        context = Context(seed=0, scratch=scratch, threads=1)
        results.append(TrainEstimator(saved, inherit=file).evaluate(design, Fidelity(1), context))
    plain, warm = results
    assert plain.error is None and warm.error is None and plain.metrics != warm.metrics


def test_training_in_a_worker_goes_on_where_it_was_stopped(saved, tmp_path):
    space = joint_space(open_saved(saved), "chain")
    plan = Plan(3, Paths(macs=2e5))
    looks = iter([False, True])

    def training(file: Path) -> SupernetTraining:
        return SupernetTraining(saved, space, plan, file)

    context = Context(seed=0, scratch=tmp_path, epochs=3)
    stopped = training(tmp_path / "parts").evaluate(
        None, Fidelity(3), Context(seed=0, scratch=tmp_path, epochs=3, stopping=lambda: next(looks, True))
    )
    assert stopped.stopped and stopped.metrics["epochs"] == 1
    rest = training(tmp_path / "parts").evaluate(None, Fidelity(3), context)
    whole = training(tmp_path / "whole").evaluate(None, Fidelity(3), context)
    assert rest.metrics == whole.metrics and rest.metrics["epochs"] == 3
    files = [checkpoints.load(tmp_path / name).groups["shared"] for name in ("parts", "whole")]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[1])


@pytest.mark.slow
def test_as_a_signal_it_picks_and_has_to_rank_better_than_what_is_free(small, tmp_path, sampled):
    run = search(small, tmp_path / "run", warm_start="supernet")
    event = run.history.events["warm start"]
    assert event["members"] == ["supernet"] and event["scored"] == 6 and len(event["picks"]) == 3
    scores = [value for name, value in run.history.events.items() if name.startswith("signals ")]
    assert scores and all(set(score) == {"supernet", "zico"} for score in scores)
    assert "recipe.optimizer" in run.history.trials[1].config

    def known(tau: float, low: float, macs: float) -> list[Trust]:
        return [Trust("macs", macs, macs - 0.1, macs + 0.1, 20), Trust("supernet", tau, low, 1.0, 20)]

    assert {one["trials"] for one in run.status()["signals"]} <= {3, 4}
    assert has_say(known(0.5, 0.1, 0.4), "supernet")
    assert not has_say(known(0.5, 0.1, 0.6), "supernet")
    assert not has_say(known(0.5, -0.1, 0.4), "supernet")
    proxy = Trust("zico", 0.6, 0.2, 0.9, 20)  # named in advance: it has to be better than that, too
    assert not has_say([*known(0.5, 0.1, 0.4), proxy], "supernet")
    assert outranked([*known(0.5, 0.1, 0.4), proxy], "supernet")
    # what is not known to be worth something is not yet known to be worth nothing
    assert not outranked(known(0.5, -0.1, 0.4), "supernet")
    assert outranked(known(0.5, 0.1, 0.6), "supernet") and outranked(known(-0.1, -0.5, -0.2), "supernet")
    assert not outranked([Trust("supernet", -0.1, -0.5, 0.3, 9)], "supernet")
    assert members_of("supernet", "auto", timed=True) == ("supernet",)


INHERITING = {"warm_start": "supernet", "supernet_options": {"inherit": True}}


def test_trainings_of_a_search_that_it_warms_may_begin_with_its_weights(small, tmp_path, sampled):
    run = search(small, tmp_path / "run", **INHERITING)
    assert run.status()["supernet"]["inherited"]
    assert "inherited by trainings" in description(run, run.status())
    folder, space = run.folder, _search_space(run.settings, run.folder, None)
    for trial in (run.history.trials[0], next(one for one in run.history.trials.values() if one.replicate)):
        step = trial.steps[0]
        context = Context(
            seed=run.settings.seed,
            scratch=tmp_path / f"again-{trial.number}",
            lineage=trial.lineage,
            replicate=trial.replicate,
            epochs=step.fidelity.epochs,
            horizon=2 if trial.replicate else run.settings.fidelities[-1].epochs,
        )
        context.scratch.mkdir()
        again = TrainEstimator(folder.data, precision=run.settings.precision, inherit=folder.supernet)
        result = again.evaluate(space.decode(trial.config), step.fidelity, context)
        assert result.metrics["loss"] == pytest.approx(step.metrics["loss"], rel=1e-4)
    assert "began with: the weights of a supernet" in (folder.best / "README.md").read_text()
    plain = search(small, tmp_path / "plain", warm_start="supernet")
    assert plain.history.trials[0].config == run.history.trials[0].config
    first, second = (one.history.trials[0].steps[0].metrics["loss"] for one in (run, plain))
    assert first != pytest.approx(second, rel=1e-2)
    assert "inherited" not in description(plain, plain.status())
    assert "began with" not in (plain.folder.best / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"none")])
def test_weights_that_are_gone_end_the_search_and_are_trained_again(
    small, tmp_path, sampled, monkeypatch, damage
):
    between = Session._between
    with monkeypatch.context() as patch:
        looks = iter(range(9))

        def damaged(session):
            between(session)
            if next(looks) == 1:
                damage(session.folder.supernet)

        patch.setattr(Session, "_between", damaged)
        with pytest.raises(OSError, match="weights that a training begins with"):
            search(small, tmp_path / "run", **INHERITING)
    before = Folder(tmp_path / "run").status()
    assert before["state"] == "interrupted" and before["trials"]["failed"] == 0
    run = nas.resume(tmp_path / "run")
    whole = search(small, tmp_path / "whole", **INHERITING)
    losses = [
        {trial.number: trial.last.metrics["loss"] for trial in one.history.trials.values()}
        for one in (run, whole)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "of", [{"estimator": "supernet"}, {"warm_start": "vote", "budget": "1m"}, {"strategy": "random"}]
)
def test_what_cannot_begin_with_its_weights_is_refused(small, tmp_path, of):
    with pytest.raises(ValueError, match="supernet option inherit=True: it is about trainings of a search"):
        search(small, tmp_path / "run", supernet_options={"inherit": True}, **of)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def doubted(sampled, monkeypatch):
    """Signals that are never trusted, from the third trial on; supernets are split at once."""
    monkeypatch.setattr(
        "nas.pretraining.outranked",
        lambda known, signal: any(one.signal == signal and one.n >= 3 for one in known),
    )


def test_one_that_is_not_trusted_is_split_and_scores_anew(small, tmp_path, doubted):
    run = search(small, tmp_path / "run", warm_start="supernet")
    events, folder = run.history.events, run.folder
    split, halves = events["supernet split"], events["supernet halves trained"]
    assert split["path"].startswith("architecture.") and split["epochs"] == 1 and "failed" not in split
    assert halves["epochs"] == [1, 1] and halves["seconds"] > 0 and not list(tmp_path.rglob("half-*"))
    assert events["warm start"]["anew"] and len(events["warm start"]["picks"]) == 3
    stored = checkpoints.load(folder.supernet)
    assert set(stored.groups) == {"shared 0", "shared 1"} and stored.values["halves"]["path"] == split["path"]
    searched = [trial for trial in run.history.trials.values() if trial.replicate == 0]
    space = _search_space(run.settings, folder, None)
    designs = [space.decode(trial.config) for trial in searched]
    for trial, design in zip(searched, designs, strict=True):
        if signals := events.get(f"signals {trial.number}"):
            of = SupernetEstimator(folder.data, file=folder.supernet, signal="supernet")
            context = Context(seed=run.settings.seed, scratch=tmp_path)
            scored = of.evaluate(design, Fidelity(), context).metrics
            assert scored["supernet"] == signals["supernet"]  # by the halves
    state = inherited(folder.supernet, folder.data, designs[0])
    group = Split.of(stored.values["halves"]).group(designs[0].config)
    assert state.keys() == designs[0].network(0).state_dict().keys()
    values = {value.data_ptr(): value for value in stored.groups[f"shared {group}"].values()}
    own = [tensor for tensor in state.values() if tensor.ndim == 4]
    assert all(any(_inside(tensor, value) for value in values.values()) for tensor in own)
    text = description(run, run.status())
    assert f", split by {split['path']}: " in text and "supernet: 2 of 2 epochs in " in text


@pytest.fixture
def misled(monkeypatch):
    """Searches that soon find what untrained networks say to be worth nothing; supernets of a few epochs."""
    from nas.plan import Finals

    for name, value in {"SHORTEST": 1.0, "LEAST": 4, "MOST": 6, "PICKS": 3}.items():
        monkeypatch.setattr(f"nas.warm_start.{name}", value)
    for name, value in {"DOUBTFUL": 3, "POOR": 2.0, "ENOUGH": 1, "MOST": 5}.items():
        monkeypatch.setattr(f"nas.pretraining.{name}", value)
    monkeypatch.setattr("nas.pretraining.has_say", lambda known, signal: False)
    monkeypatch.setattr("nas.signals.LAST", 0)
    monkeypatch.setattr("nas.plan.timed_ladder", lambda *others: (Fidelity(1),))
    monkeypatch.setattr("nas.session.timed_finals", lambda numbers, *others: Finals(tuple(numbers[:1]), 2))


@pytest.mark.slow
def test_few_trials_that_are_left_are_no_reason_for_one(small, tmp_path, misled, monkeypatch):
    monkeypatch.setattr("nas.signals.LAST", 8)
    assert "supernet called for" not in long_search(small, tmp_path / "run").history.events


def long_search(small: Path, out: Path, **options) -> nas.Run:
    return nas.search(small, trials=8, budget="20m", constraints=[BOUND], trackers=[], out=out, **options)


def test_it_is_called_for_where_untrained_networks_say_nothing(small, tmp_path, misled, monkeypatch):
    monkeypatch.setattr("nas.warm_start.has_say", lambda known, signal: signal == "supernet")
    events = (run := long_search(small, tmp_path / "run")).history.events
    at = events["supernet called for"]["at"]
    assert 3 <= at < 8 and events["supernet trained"]["epochs"] == 5
    assert events["warm start"]["members"] == ["supernet"] and len(events["warm start"]["picks"]) == 3
    told = {name: one for name, one in events.items() if name.startswith("signals ")}
    assert {"signals 0", "signals 1"} <= told.keys()  # trials that were scored before, too
    assert all(one.keys() == {"supernet", "zico"} for one in told.values())
    picks = [dict(one) for one in events["warm start"]["picks"]]
    queued = run.history.queue[
        events["warm start"]["queued"] :
    ]  # its say begins with the next start, the best pick
    assert queued and all(
        queued[i] == {path: picks[i][path] for path in queued[i]} for i in range(len(queued))
    )
    signals = {one["signal"] for one in run.status()["signals"]}
    assert signals == {"supernet", "parameters", "macs"}  # the proxy counts from ten trials on
    assert events["cheaper source"]["objectives"] == ["accuracy"]
    heard = events["cheaper source"]["scores"]
    assert len(heard) == events["warm start"]["scored"] and all(len(one) == 2 for one in heard)
    assert all(path.startswith("architecture.") for config, _ in heard for path in config)
    text = description(run, run.status())
    assert "supernet: 5 of 5 epochs" in text and ", heard by the surrogates" in text
    assert re.search(rf", {len(heard)} designs scored in [\d.]+ s, heard", text)


@pytest.mark.slow
def test_one_that_ranks_no_better_than_what_is_free_is_no_longer_heard(small, tmp_path, misled, monkeypatch):
    monkeypatch.setattr("nas.warm_start.has_say", lambda known, signal: signal == "supernet")
    run = long_search(small, tmp_path / "run")
    monkeypatch.setattr("nas.warm_start.outranked", lambda known, signal: True)
    with monkeypatch.context() as more:
        more.setattr("nas.warm_start.due", lambda *of: False)
        run = nas.resume(tmp_path / "run", trials=len(run.history.trials) + 1)
    assert run.history.events["cheaper source heard"] is False
    assert ", no longer heard by the surrogates" in description(run, run.status())


@pytest.mark.slow
def test_one_that_is_called_for_in_vain_is_a_note(small, tmp_path, misled, monkeypatch):
    def fails(self, *args, **options):
        raise Failed("the supernet could not be trained: memory")

    monkeypatch.setattr("nas.pretraining.Pretraining._trained", fails)
    run = long_search(small, tmp_path / "run")
    assert run.history.events["supernet called for"]["failed"] == "the supernet could not be trained: memory"
    assert run.status()["state"] == "finished" and run.status()["trials"]["finished"] == 8
    assert run.history.events["warm start"]["members"] != ["supernet"]
    assert "could not be trained: memory" in description(run, run.status())


@pytest.mark.slow
@pytest.mark.parametrize("of", [{"warm_start": "vote"}, {"strategy": "random"}, {"warm_start": "none"}])
def test_who_says_what_is_to_be_asked_gets_no_supernet(small, tmp_path, misled, of):
    assert "supernet called for" not in long_search(small, tmp_path / "run", **of).history.events


@pytest.mark.slow
def test_killed_after_it_was_called_for_it_goes_on(small, tmp_path, misled, monkeypatch):
    def ends(self, *args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nas.signals.WarmStart.anew", ends)
        long_search(small, tmp_path / "run")
    before = nas.Run(tmp_path / "run").history.events
    assert "supernet trained" in before and before["warm start"]["members"] != ["supernet"]
    run = nas.resume(tmp_path / "run")
    events = run.history.events
    assert events["supernet called for"] == before["supernet called for"]
    assert events["supernet trained"] == before["supernet trained"]
    assert events["warm start"]["members"] == ["supernet"] and run.status()["state"] == "finished"


@pytest.mark.slow
def test_one_that_was_called_for_and_is_lost_is_trained_again_or_a_note(small, tmp_path, misled, monkeypatch):
    run = long_search(small, tmp_path / "run")
    file, settings = run.folder.supernet, {"trials": 1, "budget": "20m"}
    file.unlink()
    run = nas.resume(tmp_path / "run", **settings)
    assert file.exists() and run.status()["state"] == "finished"
    file.unlink()

    def fails(self, *args, **options):
        raise Failed("no time")

    monkeypatch.setattr("nas.pretraining.Pretraining._trained", fails)
    run = nas.resume(tmp_path / "run", **settings)
    assert run.status()["state"] == "finished"
    assert run.history.events["supernet called for"]["failed"] == "no time"
    monkeypatch.setattr("nas.pretraining.Pretraining.run", None)  # it is not tried again
    assert nas.resume(tmp_path / "run", **settings).status()["state"] == "finished"


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, True),
        ({"tau": 0.35}, False),
        ({"low": 0.01}, False),
        ({"n": 23}, False),
        ({"starts": 65}, False),
        ({"seconds": None}, False),
        ({"seconds": 1_000.0}, False),  # ten epochs of a hundred steps
        ({"objectives": ("accuracy", "macs")}, False),  # of which a supernet scores one
        ({"images": 320, "seconds": 1e6}, False),  # all that it may have are 300 epochs of ten steps
    ],
)
def test_when_one_is_called_for(saved, changed, wanted):
    told = (
        {"tau": 0.1, "low": -0.1, "n": 24, "starts": 30, "seconds": 5_000.0, "images": 3_200}
        | {"objectives": ("accuracy",)}
        | changed
    )
    one = Pretraining.__new__(Pretraining)
    one.role, one.search_space = "called", joint_space(open_saved(saved), "chain")
    batch = one.search_space.space.default()["recipe.batch_size"]
    one.durations = SimpleNamespace(images=told["images"] * batch / 32)
    objectives = tuple(Objective(name) for name in told["objectives"])
    history, problem = SimpleNamespace(starts=told["starts"]), SimpleNamespace(objectives=objectives)
    one.study = SimpleNamespace(history=history, problem=problem)
    one._epoch_seconds = lambda: 10.0
    vote = Trust("vote", told["tau"], told["low"], 0.9, told["n"])
    assert one.wanted([Trust("macs", 0.2, 0.1, 0.3, 24), vote], told["seconds"]) is wanted


def test_a_proxy_that_few_trials_have_is_not_what_a_supernet_has_to_be_better_than():
    """As in a run of before, whose trials were scored by the supernet alone."""
    problem = Problem(Space(x=Float(0.0, 1.0)), (Objective("accuracy"),))
    trials, events = [], {}
    for number in range(30):
        step = Step(number, number, Fidelity(1), metrics={"accuracy": number / 30})
        config = Configuration({"x": number / 30})
        trials.append(Trial(number, config, steps=(step,), free={"macs": 1.0 + number % 7}))
        proxy = {"zico": float(number)} if number >= 28 else {}
        events[f"signals {number}"] = {"supernet": number + 5.0 * (number % 2), **proxy}
    known = {one.signal: one for one in trusts(trials, problem, events)}
    assert known.keys() == {"macs", "supernet"} and has_say(list(known.values()), "supernet")
    for number in range(15, 30):
        events[f"signals {number}"] = {"supernet": number + 5.0 * (number % 2), "zico": float(number)}
    known = {one.signal: one for one in trusts(trials, problem, events)}
    assert {one.n for one in known.values()} == {15} and known["zico"].tau == 1.0
    assert not has_say(list(known.values()), "supernet")


@pytest.mark.slow
def test_there_is_to_be_time_for_a_supernet_that_is_called_for(small, tmp_path, misled, monkeypatch):
    monkeypatch.setattr("nas.pretraining.ENOUGH", 10**9)
    assert "supernet called for" not in long_search(small, tmp_path / "run").history.events


def _inside(tensor: torch.Tensor, whole: torch.Tensor) -> bool:
    """Return whether ``tensor`` is the leading part of ``whole``, the middle of its kernels."""
    if whole.ndim != tensor.ndim or any(a > b for a, b in zip(tensor.shape, whole.shape, strict=True)):
        return False
    least = [
        (b - a) // 2 if at >= 2 else 0
        for at, (a, b) in enumerate(zip(tensor.shape, whole.shape, strict=True))
    ]
    cut = whole[tuple(slice(low, low + size) for low, size in zip(least, tensor.shape, strict=True))]
    return torch.equal(cut, tensor)


@pytest.mark.slow
def test_killed_while_it_is_split_it_goes_on_as_if_it_had_not_been(small, tmp_path, monkeypatch, doubted):
    from nas.pretraining import Pretraining
    from nas.warm_start import WarmStart

    whole = search(small, tmp_path / "whole", warm_start="supernet")
    for number, (owner, name) in enumerate(
        (
            (Pretraining, "_parted"),
            (Pretraining, "_halved"),
            (Pretraining, "_part"),
            (WarmStart, "anew"),
            (WarmStart, "_score"),
        )
    ):
        kept, calls = getattr(owner, name), []

        def killed(self, *arguments, kept=kept, calls=calls, name=name, **options):
            calls.append(arguments)
            if len(calls) == {"_part": 4, "_score": 2}.get(name, 1):
                raise KeyboardInterrupt
            return kept(self, *arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, killed)
            search(small, tmp_path / f"run-{number}", warm_start="supernet")
        run = nas.resume(tmp_path / f"run-{number}")
        assert [trial.config for trial in run.trials] == [trial.config for trial in whole.trials]
        for one in (run, whole):
            assert one.history.events["warm start"]["anew"]
        names = [name for name in whole.history.events if name.startswith("signals ")]
        assert all(run.history.events[name] == whole.history.events[name] for name in names)
        assert run.test == whole.test


@pytest.mark.slow
@pytest.mark.parametrize("left", [0.001, -3.0])
def test_what_cannot_be_split_in_the_time_stays_whole(small, tmp_path, doubted, monkeypatch, left):
    from nas.pretraining import Pretraining

    split = Pretraining.split
    monkeypatch.setattr(Pretraining, "split", lambda self, seconds: split(self, left))
    run = search(small, tmp_path / "run", warm_start="supernet")
    events = run.history.events
    assert "failed" in events["supernet split"] and "anew" not in events["warm start"]
    assert set(checkpoints.load(run.folder.supernet).groups) >= {"shared"}
    assert f"not split: {events['supernet split']['failed']}" in description(run, run.status())


@pytest.mark.slow
def test_one_whose_file_is_gone_is_trained_again(small, tmp_path, doubted):
    run = search(small, tmp_path / "run", warm_start="supernet")
    run.folder.supernet.unlink()
    run = nas.resume(tmp_path / "run", trials=1)
    events = run.history.events
    assert run.status()["state"] == "finished" and events["supernet"]["reached"] == 2
    assert set(checkpoints.load(run.folder.supernet).groups) >= {"shared"}  # whole, as it said
    assert "not split: the file of its halves is gone" in description(run, run.status())


def built(config) -> torch.nn.Module:
    flat = torch.nn.Flatten()
    return torch.nn.Sequential(
        flat, torch.nn.Linear(64, int(config["width"])), torch.nn.Linear(int(config["width"]), 2)
    )


def test_what_it_cannot_measure_or_share_is_refused_before_there_is_a_run(small, tmp_path):
    with pytest.raises(
        ValueError, match="a supernet does not measure memory: it trains no design; use the estimator"
    ):
        search(small, tmp_path / "run", estimator="supernet", objectives=["accuracy", "memory"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(
        ValueError, match=r"space 'own' has no supernet: networks built by a function share no weights"
    ):
        nas.search(
            small,
            trials=2,
            space=Space(width=Choice((4, 8))),
            build=built,
            trackers=[],
            out=tmp_path / "run",
            estimator="supernet",
        )
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="does not exist; train one first"):
        open_supernet(tmp_path / "none", small, None)


def test_a_supernet_without_time_says_how_much_it_needs(small, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.pretraining.Pretraining._epoch_seconds", lambda self: 1e4)
    with pytest.raises(
        Failed, match=r"an epoch of the supernet takes about 10000 s here.*give a --budget so much longer"
    ):
        nas.search(small, budget="2m", trackers=[], out=tmp_path / "run", estimator="supernet")


@pytest.mark.slow
def test_how_it_is_trained_is_chosen(small, tmp_path, short):
    options = {"kernels": "transform", "sandwich": True, "shrink": 0.5, "validate": 50}
    about = {"constraints": [BOUND], "trackers": [], "out": tmp_path / "run", "supernet_options": options}
    run = nas.search(small, trials=1, estimator="supernet", **about)
    of = checkpoints.load(run.folder.supernet).values["of"]
    assert of["kernels"] == "transform" and of["validate"] == 50 and of["calibrate"] == 500
    assert of["paths"]["sandwich"] is True and of["paths"]["shrink"] == 0.5 and of["paths"]["macs"] == 2e5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sandwitch": True}, "no supernet option 'sandwitch'; did you mean 'sandwich'"),
        ({"sandwich": 1}, "supernet option sandwich=1: give true or false"),
        ({"inherit": "no"}, "supernet option inherit='no': give true or false"),
        ({"each": True}, "supernet option each=True: give a whole number"),
        ({"kernels": "middle"}, "supernet option kernels='middle': "),
        ({"shrink": 2}, "shrink in"),
        ({"validate": 1}, "validate 2 or more"),
        ({"calibrate": 0}, "supernet option calibrate=0: give 1 image or more"),
        ({1: 2}, "no supernet option 1"),
        (3, "supernet_options=3: give names and values"),
    ],
)
def test_an_option_that_is_none_is_refused_before_there_is_a_run(small, tmp_path, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        search(small, tmp_path / "run", estimator="supernet", supernet_options=options)
    assert not (tmp_path / "run").exists()


def test_an_epoch_of_more_candidates_takes_longer(saved):
    one = Pretraining.__new__(Pretraining)
    one.role, one.search_space = "signal", joint_space(open_saved(saved), "chain")
    one.study = SimpleNamespace(problem=SimpleNamespace(constraints=()), seed=0)
    median = SimpleNamespace(median=2.0)
    one.durations = SimpleNamespace(
        model=lambda trials: SimpleNamespace(predict=lambda work: median),
        work=lambda *about: None,
        images=100,
    )
    seconds = []
    for one.options in ({}, {"each": 3}, {"sandwich": True}, {"shrink": 0.5}):
        seconds.append(one._epoch_seconds())
    assert np.allclose(seconds, [2.4, 7.2, 7.2, 2.4])


@pytest.mark.parametrize(("images", "least"), [(600, 5), (6_400, 5), (32_000, 2), (640_000, 1)])
def test_of_many_images_fewer_epochs_are_enough(saved, monkeypatch, images, least):
    one = Pretraining.__new__(Pretraining)
    one.search_space, one.durations = joint_space(open_saved(saved), "chain"), SimpleNamespace(images=images)
    batch = one.search_space.space.default()["recipe.batch_size"]
    one.durations.images *= batch / 64
    assert one._least == least


@pytest.mark.parametrize("name", ["chain", "mobile", "cell"])
def test_what_is_only_scored_differs_in_nothing_that_leaves_no_trace(saved, name):
    space, whole = (joint_space(open_saved(saved), name, recipes=recipes) for recipes in (False, True))
    assert space.space.default().keys() == whole.space.default().keys()
    assert whole.key(whole.space.default()) == space.key(space.space.default())
    drawn = [space.space.sample(np.random.default_rng(seed)) for seed in range(8)]
    assert {config["architecture.dropout"] for config in drawn} == {0.1}
    assert {config.get("architecture.drop") for config in drawn} == ({0.0} if name == "mobile" else {None})
    assert len({space.key(config) for config in drawn}) > 4
    assert pickle.loads(pickle.dumps(space)).space.fingerprint == space.space.fingerprint


def test_the_default_alone_has_the_same_paths():
    space = Space(
        rate=Float(0.1, 1.0, default=0.3),
        depth=Choice(
            {"d1": Space(a=Int(1, 3)), "d2": Space(a=Int(1, 3), b=Int(2, 4))}, shared=True, default="d2"
        ),
        op=Choice({"x": Space(size=Choice((1, 2))), "y": None}),
    )
    alone = default_alone(space)
    assert alone.default() == space.default()
    assert alone.sample(np.random.default_rng(0)) == space.default() and alone.size == 1
