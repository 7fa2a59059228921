"""Replayed steps are those that would have been taken. What records here is a stand-in for CUDA's graphs."""

import warnings
from typing import Any

import pytest
import torch
from test_loop import CPU, images, network, recipe

from estimators import capture
from estimators.capture import WARM, Replay
from estimators.loop import Training
from estimators.mix import Labels
from estimators.preprocess import Standardise

HAS_ROOM, MEND = capture.has_room, capture.mend


@pytest.fixture(autouse=True)
def no_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    monkeypatch.setattr(capture, "has_room", lambda device, taken: True)
    monkeypatch.setattr(capture, "mend", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {})


class Kept:
    """Does what a graph does: the work again, on inputs and into gradients that stay where they are."""

    runs = 0

    def __init__(self, work: Any, z: torch.Tensor, labels: Labels, network: torch.nn.Module) -> None:
        self.work, self.z, self.y, self.network = work, z.clone(), labels.y.clone(), network
        self.other = None if labels.other is None else labels.other.clone()
        self.share = torch.ones(())

    def fits(self, z: torch.Tensor, labels: Labels) -> bool:
        return z.shape == self.z.shape and (labels.other is None) == (self.other is None)

    def __call__(self, z: torch.Tensor, labels: Labels) -> torch.Tensor:
        Kept.runs += 1
        self.z.copy_(z)
        self.y.copy_(labels.y)
        if self.other is not None and labels.other is not None:
            self.other.copy_(labels.other)
            self.share.fill_(labels.share)
        for parameter in self.network.parameters():
            parameter.grad = None
        return self.work(self.z, Labels(self.y, self.other, self.share))


def trained(
    *, replayed: bool, dtype: torch.dtype = torch.float32, **changes: Any
) -> tuple[Training, list[float]]:
    """Two epochs over 90 images in batches of 16: five whole ones and one of ten."""
    data = images(90)
    training = Training(network(), recipe(**changes), Standardise.fit(data.x), device=CPU, dtype=dtype)
    if replayed:
        training.replay = Replay(training._work, training.network, batch_size=16, enabled=True)
    losses = [
        training.epoch(data, torch.arange(90), epoch=e, horizon=2, seeds=(e, 2), watch=lambda: None)
        for e in (1, 2)
    ]
    return training, losses


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "clip": 0.1, "ema": 0.9},
        {"mix": "cutmix", "balance": True, "optimizer": "rmsprop"},
    ],
)
def test_replayed_steps_are_those_taken_one_by_one(
    changes: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "Recorded", Kept)
    monkeypatch.setattr(Kept, "runs", 0)
    changes = {"lr": 0.01, **changes}
    (one, losses), (other, others) = (
        trained(replayed=flag, dtype=dtype, **changes) for flag in (False, True)
    )
    assert Kept.runs == 2 * 5 - WARM and others == pytest.approx(losses, rel=1e-5)
    for mine, theirs in zip(
        one.scored.state_dict().values(), other.scored.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_recorded_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(*arguments: Any) -> Any:
        tries.append(arguments)
        raise RuntimeError("operation not permitted when stream is capturing")

    mended = []
    monkeypatch.setattr(capture, "Recorded", refuse)
    monkeypatch.setattr(capture, "mend", mended.append)
    assert trained(replayed=True)[1] == trained(replayed=False)[1] and len(tries) == 1
    assert mended == [CPU]


def test_what_there_is_no_memory_for_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "has_room", lambda device, taken: False)
    monkeypatch.setattr(capture, "Recorded", None)  # to call it would be an error
    assert trained(replayed=True)[1] == trained(replayed=False)[1]


@pytest.mark.parametrize(
    ("free", "share", "kept", "taken", "room"),
    [
        (200, 1.0, 0, 300, True),
        (80, 1.0, 0, 300, False),
        (80, 1.0, 0, 60, True),  # the most that was held is another training's
        (80, 1.0, 30, 300, True),
        (500, 0.25, 0, 300, True),
        (500, 0.2, 0, 300, False),
    ],
)
def test_there_is_to_be_memory_for_a_step_beside_what_is_held(monkeypatch, free, share, kept, taken, room):
    """Up to 100 bytes beyond those between steps, on a device of 1,000: 150 are reserved, ``kept`` ones given back."""
    state = {"free": free, "reserved": 150}

    def give_back():
        state["free"] += kept
        state["reserved"] -= kept

    for name, value in {
        "max_memory_allocated": lambda device: 220,
        "memory_allocated": lambda device: 120,
        "mem_get_info": lambda device: (state["free"], 1_000),
        "memory_reserved": lambda device: state["reserved"],
        "get_per_process_memory_fraction": lambda device: share,
        "empty_cache": give_back,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value, raising=False)
    monkeypatch.setattr(capture, "_failed", set())
    assert HAS_ROOM(torch.device("cuda:0"), taken) is room


def test_after_a_recording_that_failed_none_is_tried_and_random_numbers_go_on(monkeypatch):
    """Also where torch cannot give the generator another state."""
    device, states = torch.device("cuda:0"), []

    class Generator:
        def clone_state(self):
            return "copy"

        def graphsafe_set_state(self, state):
            states.append(state)
            raise RuntimeError("not there")

    monkeypatch.setattr(torch.cuda, "default_generators", (Generator(),), raising=False)
    monkeypatch.setattr(capture, "_failed", set())
    MEND(device)
    assert states == ["copy"] and not HAS_ROOM(device, 0.0)


def test_a_batch_in_pieces_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(capture, "Recorded", Kept)
    monkeypatch.setattr(Kept, "runs", 0)
    training, _ = trained(replayed=True)
    used, whole = Kept.runs, training._accumulate

    def full(z: torch.Tensor, labels: Labels) -> torch.Tensor:
        if training.pieces == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(z, labels)

    monkeypatch.setattr(training, "_accumulate", full)
    for n in (10, 16, 16):  # the rest of an epoch does not fit beside the graph
        training.step(torch.randn(n, 3, 8, 8), Labels(torch.randint(4, (n,))), 1.0)
    assert training.pieces == 2 and Kept.runs == used
    resumed = Training(network(), recipe(), Standardise.identity(3), device=CPU, dtype=torch.float32)
    resumed.replay = Replay(resumed._work, resumed.network, batch_size=16, enabled=True)
    resumed.restore(training.state())
    assert resumed.replay.prepared(torch.zeros(16, 3, 8, 8), Labels(torch.zeros(16))) is None


@pytest.mark.parametrize("waits", [False, True])
def test_what_waits_for_the_device_is_not_recorded(monkeypatch, waits):
    """torch warns of it in the last step before the recording."""
    monkeypatch.setattr(capture, "Recorded", Kept)
    replay = Replay(lambda z, labels: z.sum(), network(), batch_size=2, enabled=True)
    batch = torch.zeros(2, 1, 8, 8), Labels(torch.zeros(2, dtype=torch.int64))
    for step in range(WARM):
        assert replay.prepared(*batch) is None
        with replay.listening():
            if waits and step == WARM - 1:
                warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
    assert (replay.prepared(*batch) is None) is waits and replay.recorded is not waits
    if not waits:
        replay.forget()
        assert not replay.recorded and replay.prepared(*batch) is None and replay.prepared(*batch) is not None
