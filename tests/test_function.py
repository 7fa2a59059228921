"""A user's own loop: stopped early by schedulers, held where it reached its fidelity, and never left behind."""

import signal
import threading
import time

import pytest

import nas
from estimators.estimator import Context, Fidelity
from nas.executor import Limits
from nas.function import Function
from nas.scheduler import DONE, Continue, Scheduler
from nas.study import Study
from search_spaces.space import Choice, Float, Space

SPACE = Space(x=Float(0, 1))
LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))


class Onward(Scheduler):
    """A trial that beats the median of the rung goes on at once; what does not is left."""

    def ask(self, trials, pending, may_start=True):
        for trial in list(trials.values())[-1:]:
            rung = [one.epochs for one in self.ladder].index(trial.last.fidelity.epochs) if trial.last else 0
            if trial.last and not trial.failed and rung < 2 and trial.config["x"] < 0.5:
                return Continue(trial.number, self.ladder[rung + 1])
        return self.start(trials, pending, self.ladder[0]) if may_start else DONE


class Loop:
    """Trains to the horizon unless it is stopped; counts calls, epochs and ends."""

    def __init__(self):
        self.calls, self.epochs, self.ended = 0, 0, 0

    def __call__(self, config, context):
        self.calls += 1
        try:
            for epoch in range(context.start, context.horizon):
                self.epochs += 1
                context.report(epoch + 1, config["x"] + 1 / (epoch + 1))
                if context.stopping():
                    return
        finally:
            self.ended += 1


class Reporting(Loop):
    """Never asks whether to stop, and catches what it can."""

    def __call__(self, config, context):
        self.calls += 1
        for epoch in range(context.horizon):
            self.epochs += 1
            try:
                context.report(epoch + 1, config["x"] + 1 / (epoch + 1))
            except Exception:
                raise AssertionError("an end is no exception") from None
        self.ended += 1


class Short(Loop):
    """Trains to the epochs that were asked for."""

    def __call__(self, config, context):
        self.calls += 1
        for epoch in range(context.epochs):
            self.epochs += 1
            context.report(epoch + 1, config["x"] + 1 / (epoch + 1))
            if context.stopping():
                return None
        return None


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert "function" not in {thread.name for thread in threading.enumerate()}


def optimized(function, trials=10, scheduler=Onward, **options):
    study = Study(SPACE, strategy="random", scheduler=scheduler, ladder=LADDER, seed=1)
    study.optimize(function, trials=trials, **options)
    return study


def reached(study):
    return [
        [(step.start, step.fidelity.epochs, dict(step.metrics)) for step in t.steps] for t in study.trials
    ]


def test_a_call_that_is_held_goes_on_where_it_stood():
    loop = Loop()
    study = optimized(loop)
    promoted = [trial for trial in study.trials if trial.config["x"] < 0.5]
    assert 0 < len(promoted) < 10 and all(len(trial.steps) == 3 for trial in promoted)
    assert loop.calls == loop.ended == 10  # one for each trial
    assert loop.epochs == 9 * len(promoted) + 10 - len(promoted)  # and no epoch twice
    for trial in study.trials:
        for step in trial.steps:
            x, epochs = trial.config["x"], step.fidelity.epochs
            assert step.metrics == {"loss": x + 1 / epochs} and step.start == 0
            assert [point["loss"] for point in step.curve] == [x + 1 / (e + 1) for e in range(epochs)]


@pytest.mark.parametrize("kind", [Reporting, Short])
def test_results_are_the_same_however_the_loop_ends(kind):
    loop = kind()
    assert reached(optimized(loop)) == reached(optimized(Loop()))
    if kind is Reporting:
        assert loop.calls == 10
    else:  # cannot be held: each continuation is a call from the start
        assert loop.calls > 10


def test_with_limits_the_child_holds_the_call(tmp_path):
    study = optimized(Marking(tmp_path), limits=Limits(seconds=60.0))
    assert reached(study) == reached(optimized(Loop()))
    assert len(list(tmp_path.iterdir())) == 10  # calls


class Marking(Loop):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def __call__(self, config, context):
        (self.folder / f"{time.time_ns()}").touch()
        super().__call__(config, context)


def test_halving_comes_back_to_trials_that_were_ended():
    """Without a checkpoint they are called anew and train from the start; with one they go on."""
    loop, saving = Loop(), Saving()
    anew, further = (optimized(one, trials=9, scheduler="halving") for one in (loop, saving))
    assert loop.calls == saving.calls == 9 + 3 + 1
    assert reached(anew)[0][0] == reached(further)[0][0]
    assert saving.epochs <= 9 * 1 + 3 * 2 + 1 * 6 < loop.epochs
    starts = {step.start for trial in further.trials for step in trial.steps}
    assert starts == {0, 1, 3} and {s.start for t in anew.trials for s in t.steps} == {0}


class Saving(Loop):
    def __call__(self, config, context):
        self.calls += 1
        for epoch in range(context.start, context.horizon):
            assert (context.checkpoint is None) == (context.start == 0)
            self.epochs += 1
            (context.scratch / f"epoch-{epoch + 1}.safetensors").write_bytes(b"weights")
            context.report(epoch + 1, config["x"] + 1 / (epoch + 1))
            if context.stopping():
                return


def test_what_fails_after_it_was_told_to_end_has_its_result():
    def function(config, context):
        for epoch in range(context.horizon):
            context.report(epoch + 1, config["x"])
            if context.stopping():
                raise RuntimeError("too late to matter")

    study = Study(SPACE, strategy="random", scheduler="halving", ladder=LADDER, seed=1)
    study.optimize(function, trials=9)
    assert not any(trial.steps[0].error for trial in study.trials)


def test_what_fails_on_the_way_is_a_failed_step():
    def function(config, context):
        for epoch in range(context.horizon):
            if epoch == 2:
                raise RuntimeError("diverged")
            context.report(epoch + 1, config["x"])
            context.stopping()

    study = optimized(function)
    failed = [trial for trial in study.trials if trial.failed]
    assert failed and all("RuntimeError: diverged (test_function.py:" in t.last.error for t in failed)
    assert all(trial.steps[0].error is None for trial in failed)


def test_a_report_that_lacks_an_objective_is_not_the_result():
    def function(config, context):
        for epoch in range(context.epochs):
            context.report(epoch + 1, {"train": 1.0})
            if context.stopping():
                break
        return config["x"] + 1 / context.epochs

    assert reached(optimized(function)) == reached(optimized(Loop()))


def test_a_loop_at_the_last_rung_ends_itself_and_what_it_returns_counts():
    def function(config, context):
        for epoch in range(context.horizon):
            context.report(epoch + 1, 1.0)
            if context.stopping():
                return 0.5
        raise AssertionError("told to stop at the last epoch too")

    study = optimized(function)
    tops = [trial for trial in study.trials if trial.last.fidelity.epochs == 9]
    assert tops and {trial.last.metrics["loss"] for trial in tops} == {0.5}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_the_function_raises_to_leave_leaves(kind):
    def function(config, context):
        context.report(1, 1.0)
        context.stopping()
        raise kind

    with pytest.raises(kind):
        optimized(function)


@pytest.fixture
def interruptible():
    """Python's own answer to SIGINT: a process that a shell starts in the background is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_interrupts_the_function(interruptible):
    entered, seen = threading.Event(), []

    def function(config, context):
        try:
            entered.set()
            for _ in range(2_000):
                time.sleep(0.01)
        except BaseException as error:
            seen.append(type(error))
            raise

    def strike():
        entered.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # wakes it where it waits

    striker = threading.Thread(target=strike)
    striker.start()
    study = Study(SPACE, strategy="random", scheduler="halving", ladder=LADDER, seed=1)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(function, trials=3)
    striker.join()
    assert seen == [KeyboardInterrupt] and study.trials[0].asked is not None
    study.optimize(Loop(), trials=0)
    assert len(study.trials[0].steps) >= 1


def test_a_function_that_knows_no_fidelity_is_called_once_a_trial():
    calls = []
    study = Study(SPACE, strategy="random", scheduler="halving", ladder=LADDER, seed=1)
    study.optimize(lambda config: calls.append(config) or config["x"], trials=9)
    assert len(calls) == 9 == len(set(calls)) and max(len(trial.steps) for trial in study.trials) == 3


def test_a_scheduler_without_rungs_is_told_of():
    study = Study(SPACE, strategy="random", scheduler="halving")
    with pytest.raises(
        ValueError, match="scheduler 'halving' stops trials at the rungs of a ladder, and this"
    ):
        study.optimize(Loop(), trials=3)
    study.optimize(lambda config: config["x"], trials=2)
    assert len(study.trials) == 2
    Study(SPACE, strategy="random").optimize(Loop(), trials=1)


def test_a_held_call_ends_when_it_is_released(tmp_path):
    loop = Loop()
    function = Function(loop, "loss", ("loss",))
    context = Context(seed=0, scratch=tmp_path, epochs=1, horizon=9)
    result = function.evaluate({"x": 0.5}, Fidelity(1), context)
    assert result.metrics == {"loss": 1.5} and loop.ended == 0
    function.release()
    assert loop.ended == 1 and loop.epochs == 1
    function.release()


def test_the_readme_way():
    """Epoch by epoch: what does badly is stopped, and only what it took is spent."""
    spent = []

    def train(config, context):
        for epoch in range(context.start, context.horizon):
            spent.append(config["lr"])
            context.report(epoch + 1, (config["lr"] - 0.1) ** 2 + 1 / (epoch + 1))
            if context.stopping():
                return

    space = nas.Space(lr=nas.Float(1e-3, 1.0, log=True), optimizer=Choice(("sgd", "adam")))
    ladder = [nas.Fidelity(1), nas.Fidelity(3), nas.Fidelity(9)]
    study = nas.Study(space, strategy="random", scheduler="halving", ladder=ladder)
    study.optimize(train, trials=18)
    assert study.best.last.fidelity.epochs == 9 and len(spent) < 18 * 9 / 2


class Weighing(Loop):
    """Its weights are the epochs that they were trained for; ``when`` says where they are saved."""

    def __init__(self, when, name="epoch-{}"):
        super().__init__()
        self.when, self.name, self.begun = when, name, []

    def __call__(self, config, context):
        self.calls += 1
        epoch = 0 if context.checkpoint is None else int(context.checkpoint.read_text())
        self.begun.append((context.start, epoch))
        while epoch < context.horizon:
            self.epochs, epoch = self.epochs + 1, epoch + 1
            if self.when in ("before", "before, deaf"):
                self._save(context, epoch)
            context.report(epoch, config["x"] + 1 / epoch)
            if self.when == "after":
                self._save(context, epoch)
            if self.when != "before, deaf" and context.stopping():
                return self._save(context, epoch) if self.when == "told" else None
            if self.when == "sometimes" and epoch == 1:
                self._save(context, epoch)
        return None

    def _save(self, context, epoch):
        time.sleep(0.005)  # as the clock of files may tick
        (context.scratch / (self.name.format(epoch) + ".safetensors")).write_text(str(epoch))


@pytest.mark.parametrize(
    ("when", "name", "starts"),
    [
        ("before", "epoch-{}", {0, 1, 3}),
        ("before", "weights", {0, 1, 3}),
        ("before, deaf", "epoch-{}", {0, 1, 3}),  # held in the report of an epoch that was saved already
        ("before, deaf", "weights", {0}),  # and that is the only file
        ("after", "epoch-{}", {0}),
        ("told", "epoch-{}", {0}),
        ("told", "weights", {0}),
        ("sometimes", "epoch-{}", {0}),  # what lies there is of an earlier rung
    ],
)
def test_nobody_goes_on_from_weights_of_another_epoch(when, name, starts):
    loop = Weighing(when, name)
    study = optimized(loop, trials=9, scheduler="halving")
    assert all(start == epoch for start, epoch in loop.begun)
    assert {start for start, _ in loop.begun} == starts
    for trial in study.trials:
        for step in trial.steps:
            assert step.metrics["loss"] == trial.config["x"] + 1 / step.fidelity.epochs


def test_what_an_earlier_call_saved_is_not_of_this_one(tmp_path):
    """A trial whose step runs again finds what a killed process left in its folder."""
    (tmp_path / "epoch-9.safetensors").write_text("9")
    function = Function(Loop(), "loss", ("loss",))
    result = function.evaluate(
        {"x": 0.1}, Fidelity(1), Context(seed=0, scratch=tmp_path, epochs=1, horizon=9)
    )
    function.release()
    assert result.checkpoint is None


class Patient(Loop):
    """Ends by itself after five epochs: it has a patience of its own."""

    def __call__(self, config, context):
        self.calls += 1
        for epoch in range(context.start, context.horizon):
            self.epochs += 1
            context.report(epoch + 1, config["x"] + 1 / (epoch + 1))
            if context.stopping() or epoch == 4:
                return


def test_a_call_that_goes_on_and_ends_by_itself_has_its_result():
    loop = Patient()
    study = optimized(loop)
    assert loop.calls == len(study.trials) == 10
    onward = [trial for trial in study.trials if len(trial.steps) == 3]
    assert onward and all(trial.metrics["loss"] == trial.config["x"] + 1 / 5 for trial in onward)


@pytest.mark.parametrize("epoch", [0, -1])
def test_epochs_count_from_one(epoch):
    study = Study(SPACE, strategy="random", scheduler="halving", ladder=LADDER, seed=1)
    study.optimize(lambda config, context: context.report(epoch, config["x"]), trials=1)
    rule = f"report({epoch}, ...): epochs count from 1; report one that has ended"
    assert rule in study.trials[0].last.error
