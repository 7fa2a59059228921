"""The command line: arguments in, calls of ``nas.front`` out. Imports what a command needs when it runs."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from nas.wording import counts, description, duration, numbers

SETTINGS = (
    "budget",
    "trials",
    "space",
    "strategy",
    "scheduler",
    "estimator",
    "executor",
    "workers",
    "device",
    "precision",
    "seed",
    "root",
    "side",
    "weights",
    "warm_start",
    "checkpoint_quota",
)
KINDS = (
    "spaces",
    "ops",
    "strategies",
    "schedulers",
    "estimators",
    "datasets",
    "trackers",
    "exporters",
    "executors",
    "storages",
    "metrics",
    "proxies",
)

DAMAGED = 5  # the exit of `nas doctor` where something is damaged, missing, or asked for otherwise now


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; bad input and failures are one line on stderr and a non-zero exit."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        options.command(options)
    except KeyboardInterrupt:
        _leave("interrupted; what was finished or saved is kept, go on with `nas resume`", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (ValueError, ImportError) as error:
        _leave(str(error), 2)
    except OSError as error:
        _leave(_broken(error), 3)
    except Exception as error:
        if type(error).__name__ not in ("Failed", "Stranded"):
            raise
        _leave(str(error), 4)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _broken(error: OSError) -> str:
    """Return the file, the cause and what to do: the run that the file belongs to can go on."""
    import os
    from pathlib import Path

    what = f"cannot use {str(error.filename)!r}" if error.filename else "a file cannot be used"
    cause = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    run = next(
        (str(path) for path in Path(error.filename or "").parents if (path / "study.log").exists()), ""
    )
    remedy = f"go on with `nas resume {run}`" if run else "give the command again"
    return f"{what}: {cause}; see to space and permissions there, then {remedy}"


def _leave(message: str, code: int) -> NoReturn:
    print(f"nas: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and guesses what was meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from search_spaces.registry import nearest

            kind = "command" if action.metavar == "COMMAND" else "kind"
            self.error(f"no {kind} {value!r}; {nearest(str(value), [*map(str, action.choices)])}")

    def error(self, message: str) -> NoReturn:
        """Leave with ``message``."""
        _leave(f"{message} (see `{self.prog} --help`)", 2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nas", description="Search networks and the recipes that train them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_search(commands.add_parser("search", help="search a model for a set of images, train and export it"))
    resume = commands.add_parser("resume", help="go on with an interrupted run, or add to a finished one")
    resume.add_argument("run", help="folder of the run")
    resume.add_argument("--budget", help="add so much time to what is left, for example 30m")
    resume.add_argument("--trials", type=int, help="add so many designs to what is left")
    resume.set_defaults(command=_resume)
    show = commands.add_parser("show", help="what a run has come to")
    show.add_argument("run", help="folder of the run")
    show.add_argument("--json", action="store_true", help="one JSON object")
    show.add_argument("--follow", action="store_true", help="again every few seconds until the run has ended")
    show.set_defaults(command=_show)
    export = commands.add_parser("export", help="write the model of a run into a folder of its own")
    export.add_argument("run", help="folder of the run")
    export.add_argument("--trial", type=int, help="number of a trial instead of the best")
    export.add_argument("--to", default="model", help="new folder (default: model)")
    export.set_defaults(command=_export)
    verify = commands.add_parser("verify", help="check an exported model in a clean process")
    verify.add_argument("folder", help="folder of the exported model")
    verify.set_defaults(command=_verify)
    _add_care(commands)
    _add_space(commands.add_parser("space", help="what a search space holds, before anything is trained"))
    listing = commands.add_parser("list", help="the plug-ins there are")
    listing.add_argument("kind", nargs="?", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    listing.set_defaults(command=_list)
    return parser


def _add_care(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="whether a run is whole, and what to do where it is not")
    doctor.add_argument("run", help="folder of the run, or the file of a study")
    doctor.add_argument(
        "--salvage", action="store_true", help="keep what can be trusted, so that a resume goes on"
    )
    doctor.add_argument(
        "--replay", action="store_true", help="ask again for all that was asked for, and compare"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    doctor.set_defaults(command=_doctor)
    backup = commands.add_parser("backup", help="copy a run, also while it is at work")
    backup.add_argument("run", help="folder of the run")
    backup.add_argument("to", help="new folder for the copy")
    backup.set_defaults(command=_backup)


def _add_search(search: argparse.ArgumentParser) -> None:
    search.add_argument(
        "data", help="a name (see `nas list datasets`), a folder of class folders, or an .npz file"
    )
    search.add_argument("--budget", help="active wall time, all in: 90s, 30m, 1h30m")
    search.add_argument("--trials", type=int, help="number of designs to start")
    for name, text in (
        ("space", "family of architectures"),
        ("strategy", "what proposes designs"),
        ("scheduler", "what decides how far each is trained"),
        ("estimator", "what evaluates them"),
        ("executor", "where: serial, process for several workers on this machine, ray for several machines"),
        ("device", "auto, cpu, cuda or cuda:0"),
        ("precision", "auto, float32, bfloat16 or float16"),
        ("root", "folder of torchvision's files"),
        ("weights", "file or folder of pretrained weights, for a space that takes some (backbone)"),
        (
            "checkpoint-quota",
            "disk that the weights of trials may take, for example 2GB (default: a tenth of what is free)",
        ),
        (
            "warm-start",
            "what untrained networks are picked by: vote (by default for auto with a --budget), none, supernet or a "
            "proxy (see `nas list proxies`)",
        ),
    ):
        search.add_argument(f"--{name}", help=text)
    search.add_argument("--objective", action="append", help="metric to optimise; may stand several times")
    search.add_argument(
        "--constraint", action="append", help="for example 'params<=1e6'; may stand several times"
    )
    search.add_argument("--tracker", action="append", help="where to show it; may stand several times")
    search.add_argument("--workers", type=int, help="evaluations at a time (default 1)")
    search.add_argument(
        "--executor-option",
        action="append",
        help="NAME=VALUE, for example gpus=0.5 for executor ray; may stand several times",
    )
    search.add_argument(
        "--supernet-option",
        action="append",
        help="NAME=VALUE of how a supernet is trained, for example sandwich=true, or inherit=true, by which trainings "
        "begin with the weights of --warm-start supernet; may stand several times",
    )
    search.add_argument("--seed", type=int, help="of all randomness (default 0)")
    search.add_argument("--side", type=int, help="pixels that the pictures of a folder are brought to")
    search.add_argument(
        "--config", help="YAML file with any of these by the same words; the command line wins"
    )
    search.add_argument("--out", help="run folder to make (default: runs/NAME)")
    search.set_defaults(command=_search)


def _add_space(space: argparse.ArgumentParser) -> None:
    space.add_argument("name", help="family of architectures (see `nas list spaces`)")
    space.add_argument("--data", required=True, help="the images, as `nas search` takes them")
    space.add_argument("--samples", type=int, default=500, help="designs to draw (default 500)")
    space.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    space.add_argument(
        "--constraint",
        action="append",
        default=[],
        dest="constraints",
        help="for example 'params<=1e6'; may stand several times",
    )
    space.add_argument("--device", default="auto", help="where to time: auto, cpu, cuda or cuda:0")
    space.add_argument(
        "--no-timing", action="store_false", dest="timing", help="train nothing, not even to time it"
    )
    space.add_argument(
        "--rates",
        action="store_true",
        help="sweep the learning rate of the default design with each optimizer",
    )
    space.add_argument("--root", help="folder of torchvision's files")
    space.add_argument("--side", type=int, help="pixels that the pictures of a folder are brought to")
    space.add_argument("--weights", help="file or folder of pretrained weights, for a space that takes some")
    space.add_argument("--nodes", action="store_true", help="a line for each node of the two networks shown")
    space.add_argument("--png", help="file for a picture of the two networks shown")
    space.add_argument("--json", action="store_true", dest="as_json", help="one JSON object")
    space.set_defaults(command=_space)


def _search(options: argparse.Namespace) -> None:
    from pathlib import Path

    from nas.front import search

    values: dict[str, Any] = {}
    if options.config is not None:
        import yaml

        try:
            values = dict(yaml.safe_load(Path(options.config).read_text()) or {})
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            raise ValueError(f"cannot read the settings {options.config!r}: {error}") from None
    values |= {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    for name in ("objective", "constraint", "tracker"):
        if name in values:  # in the file, by the command line's word
            values[f"{name}s"] = values.pop(name)
        if getattr(options, name):
            values[f"{name}s"] = getattr(options, name)
    for name in ("executor_option", "supernet_option"):
        if getattr(options, name):
            values[f"{name}s"] = dict(_option(name, text) for text in getattr(options, name))
    out = options.out or values.pop("out", None)
    kept = {name: value for name, value in values.items() if name not in ("data", "out")}
    _finish(search(options.data, out=out, **kept))


def _option(of: str, text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE``, the value as YAML does; ``of`` says of what it is an option."""
    import yaml

    name, equals, value = text.partition("=")
    if not (name and equals):
        example = {"executor_option": "gpus=0.5", "supernet_option": "sandwich=true"}[of]
        raise ValueError(f"{of.replace('_', ' ')} {text!r}: write NAME=VALUE, for example {example}")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{of.replace('_', ' ')} {text!r}: the value is no YAML: {said}") from None


def _resume(options: argparse.Namespace) -> None:
    from nas.front import resume

    _finish(resume(options.run, budget=options.budget, trials=options.trials))


def _finish(run: Any) -> None:
    """Say what came out, and what to do next."""
    status, path = run.status(), run.folder.path
    best, test = run.best, status["test"] or {}
    print(f"\nfinished after {duration(status['seconds'])}: {counts(status['trials'])}")
    print(f"  test        {numbers(test)}")
    print(f"  validation  {numbers({k: best.metrics[k] for k in ('accuracy', 'loss') if k in best.metrics})}")
    print(f"  network     {best.metrics['params']:,.0f} parameters, {best.metrics['macs']:,.0f} MACs")
    print(f"  model       {run.folder.best} (verified: the same outputs without this package)")
    print("next:")
    print(f"  python {run.folder.best}/predict.py IMAGE ...     classify pictures")
    print(f"  nas export {path} --to model       copy the model    nas show {path}       the best trials")
    print(f"  tensorboard --logdir {path}/tensorboard     nas resume {path} --budget 30m     search on")


def _show(options: argparse.Namespace) -> None:
    from nas.front import Run

    run = Run(options.run)
    while True:
        status = run.status()
        if options.json:
            print(json.dumps(status, indent=None if options.follow else 1), flush=True)
        else:
            print(description(run, status), flush=True)
        if not options.follow or status["state"] != "running":
            return
        time.sleep(5)


def _export(options: argparse.Namespace) -> None:
    from nas.front import Run

    print(f"written: {Run(options.run).export(options.to, trial=options.trial)}")


def _verify(options: argparse.Namespace) -> None:
    from pathlib import Path

    from nas.exporter import exporters

    report = exporters.get("pytorch")().verify(Path(options.folder))
    print(
        f"{options.folder}: verified in a clean process on {report['images']:.0f} images, "
        f"top-1 equal on {report['top1_equal']:.0%}, worst difference {report['worst']:.2g} of what is allowed"
    )


def _doctor(options: argparse.Namespace) -> None:
    from nas.rescue import consult

    said, well = consult(options.run, salvage=options.salvage, replay=options.replay, as_json=options.json)
    print(said)
    if not well:
        sys.exit(DAMAGED)


def _backup(options: argparse.Namespace) -> None:
    from nas.backup import backup

    print(f"copied: {backup(options.run, options.to)}")


def _space(options: argparse.Namespace) -> None:
    from nas.summary import summarise

    summarise(**{name: value for name, value in vars(options).items() if name != "command"})


def _list(options: argparse.Namespace) -> None:
    for kind in [options.kind] if options.kind else KINDS:
        print(f"{kind + ':':12} {', '.join(_names(kind))}")


def _names(kind: str) -> list[str]:
    """Return the plug-ins of ``kind`` from their files alone: what a plug-in is need not be imported to name it."""
    if kind == "metrics":
        from estimators.metric import METRICS

        return list(METRICS)
    from search_spaces.registry import Registry

    homes = {"spaces": "search_spaces.spaces", "ops": "search_spaces.ops", "datasets": "estimators.datasets"}
    homes |= {"estimators": "estimators", "proxies": "estimators.proxies"}
    return Registry[Any](kind, homes.get(kind, f"nas.{kind}")).names()


if __name__ == "__main__":
    main()
