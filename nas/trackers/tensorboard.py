"""TensorBoard: scalars of every trial, hyperparameters through the plugin's own protocol, pictures of the best network.

Folders below ``tensorboard/``
    .             one ``_hparams_/experiment`` with all parameters and metrics, the best so far, its picture
    trial-0007    ``_hparams_/session_start_info``, scalars by epoch, ``_hparams_/session_end_info``

The scalars of an epoch appear when it ends, and once: what a process before this one wrote is not written again. A
trial may be continued until the search ends, so its session ends there, or at once when it has failed; one that was
interrupted stays running. Events are appended by tensorboard's record writer to files that are open only while they
are written: ten thousand trials hold no ten thousand handles.
"""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from nas.fidelity_trust import Ranking
from nas.tracker import Tracker, trackers
from nas.trial import Metrics, Problem, Step, Trial
from nas.trust import Trust
from search_spaces.space import Choice, Configuration, Float, Int, Value

SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "loss", "latency", "params", "macs", "seconds")


@trackers.register("tensorboard")
class TensorBoard(Tracker):
    """Writes below ``folder/tensorboard``. ``draw(config)`` returns a PNG of a network, or nothing."""

    def __init__(
        self,
        folder: Path,
        problem: Problem,
        *,
        resumed: bool = False,
        draw: Callable[[Configuration], bytes] | None = None,
    ) -> None:
        super().__init__(folder, problem, resumed=resumed)
        self.root, self.draw = Path(folder) / "tensorboard", draw
        self._files: dict[Path, Path] = {}
        self._reached: dict[Path, int] = {}  # the last epoch written of each trial
        self._best: int | None = None
        self._steps = 0
        if not any(self.root.glob("events.*")):
            self._write(self.root, [_summary_event(_experiment(problem), 0)])

    def started(self, trial: Trial) -> None:
        run = self.root / _run(trial)
        if any(run.glob("events.*")):
            return  # told before a resume
        self._reached[run] = 0
        scalars = [_scalar_event(name, value, 0) for name, value in trial.free.items()]
        self._write(run, [_summary_event(_session(trial), 0), *scalars])

    def reported(self, trial: Trial, epoch: int, metrics: Metrics) -> None:
        run = self.root / _run(trial)
        if fresh := self._fresh(run, epoch, metrics):
            self._write(run, fresh)

    def _fresh(self, run: Path, epoch: int, metrics: Metrics) -> list[Event]:
        """Return the scalars of ``epoch`` unless they were written, by a process before this one perhaps."""
        if run not in self._reached:
            self._reached[run] = _last_step(run)
        if epoch <= self._reached[run]:
            return []
        self._reached[run] = epoch
        return [_scalar_event(name, value, epoch) for name, value in metrics.items()]

    def logged(self, trial: Trial, step: Step, best: Trial | None) -> None:
        run, end = self.root / _run(trial), step.fidelity.epochs
        again = len(step.curve) > end - step.start  # the checkpoint was gone
        events = [
            event
            for epoch, metrics in enumerate(step.curve, 1 if again else step.start + 1)
            for event in self._fresh(run, epoch, metrics)
        ]
        told = set(step.curve[-1]) if step.curve else set()
        rest = {**step.metrics, "seconds": trial.seconds}
        events += [_scalar_event(name, value, end) for name, value in rest.items() if name not in told]
        if step.error is not None:
            events.append(_end("FAILURE"))
        self._write(run, events)
        self._steps = step.index
        if best is not None and trial.replicate == 0:
            self._log_best(best, best.number == trial.number)

    def _log_best(self, best: Trial, moved: bool) -> None:
        if not moved and best.number == self._best:
            return
        names = [objective.name for objective in self.problem.objectives]
        events = [
            _scalar_event(f"best/{n}", best.metrics[n], self._steps) for n in names if n in best.metrics
        ]
        if best.number != self._best and self.draw is not None and (png := self.draw(best.config)):
            events.append(_image_event("best/network", png, self._steps))
        self._best = best.number
        self._write(self.root, events)

    def compared(self, signals: Sequence[Trust | Ranking], step: int) -> None:
        self._write(
            self.root,
            [_scalar_event(name, value, step) for one in signals for name, value in one.scalars.items()],
        )

    def ended(self, trials: Mapping[int, Trial], best: Trial | None, summary: Mapping[str, Any]) -> None:
        if summary.get("state") == "finished":
            for trial in trials.values():
                if trial.asked is None and not trial.failed:
                    self._write(self.root / _run(trial), [_end("SUCCESS")])
        test = summary.get("test") or {}
        events = [_scalar_event(f"test/{name}", value, self._steps) for name, value in test.items()]
        text = json.dumps(dict(summary), indent=1)
        self._write(self.root, [*events, _text_event("summary", f"```\n{text}\n```", self._steps)])

    def _write(self, run: Path, events: Iterable[Event]) -> None:
        """Append ``events`` to this process's own file of ``run``."""
        path = self._files.get(run)
        events = list(events)
        if path is None:
            run.mkdir(parents=True, exist_ok=True)
            stamp = f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
            path = self._files[run] = run / f"events.out.tfevents.{stamp}"
            events.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
        try:
            with path.open("ab") as file:
                writer = RecordWriter(file)
                for event in events:
                    writer.write(event.SerializeToString())
                writer.flush()
        except OSError as error:
            error.filename = str(path)
            raise


def _run(trial: Trial) -> str:
    return f"trial-{trial.number:04d}" if not trial.replicate else f"final-{trial.number:04d}"


def _last_step(run: Path) -> int:
    """Return the last step in the event files of ``run``; 0 if there are none."""
    events = (event for path in run.glob("events.*") for event in EventFileLoader(str(path)).Load())
    return max((int(event.step) for event in events), default=0)


def _plain(value: Value) -> bool | float | str:
    """The plugin knows bools, numbers and strings."""
    return value if isinstance(value, bool | float | str) else "none" if value is None else float(value)


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    """Return a summary of the plugin's protocol: all is in the metadata, the tensor is empty."""
    about = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _experiment(problem: Problem) -> Summary:
    objectives = [objective.name for objective in problem.objectives]
    names = dict.fromkeys([*objectives, *(c.name for c in problem.constraints), *SHOWN])
    experiment = api_pb2.Experiment(
        hparam_infos=[_info(slot.path, slot.parameter) for slot in problem.space.slots],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name), display_name=name) for name in names
        ],
        time_created_secs=time.time(),
    )
    return _hparams(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))


def _session(trial: Trial) -> Summary:
    start = SessionStartInfo(group_name=_run(trial), start_time_secs=time.time())
    for path, value in trial.config.items():
        plain = _plain(value)
        if isinstance(plain, bool):
            start.hparams[path].bool_value = plain
        elif isinstance(plain, float):
            start.hparams[path].number_value = plain
        else:
            start.hparams[path].string_value = plain
    return _hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def _info(path: str, parameter: object) -> api_pb2.HParamInfo:
    """Describe a parameter with its domain."""
    info = api_pb2.HParamInfo(name=path, display_name=path)
    if isinstance(parameter, Float | Int):
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = parameter.low, parameter.high
    elif isinstance(parameter, Choice):
        options = [_plain(option) for option in parameter.options]
        kinds = {type(option) for option in options}
        types: dict[type, int] = {bool: api_pb2.DATA_TYPE_BOOL, float: api_pb2.DATA_TYPE_FLOAT64}
        info.type = (
            types.get(kinds.pop(), api_pb2.DATA_TYPE_STRING) if len(kinds) == 1 else api_pb2.DATA_TYPE_UNSET
        )
        info.domain_discrete.extend(options)
    return info


def _end(status: str) -> Event:
    end = SessionEndInfo(status=api_pb2.Status.Value(f"STATUS_{status}"), end_time_secs=time.time())
    return _summary_event(_hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)), 0)


def _summary_event(proto: Summary, step: int) -> Event:
    return Event(wall_time=time.time(), step=step, summary=proto)


def _scalar_event(name: str, value: float, step: int) -> Event:
    number = float(value) if math.isfinite(value) else float("nan")
    return _summary_event(Summary(value=[Summary.Value(tag=name, simple_value=number)]), step)


def _image_event(name: str, png: bytes, step: int) -> Event:
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")  # PNG's IHDR
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    return _summary_event(Summary(value=[Summary.Value(tag=name, image=image)]), step)


def _text_event(name: str, text: str, step: int) -> Event:
    value = Summary.Value(
        tag=name, metadata=create_summary_metadata("", ""), tensor=make_tensor_proto([text.encode()])
    )
    return _summary_event(Summary(value=[value]), step)
