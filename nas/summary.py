"""What ``nas space`` says: a search space inspected for a set of images, as tables or as one JSON object.

Tables have rules in a terminal; elsewhere they are plain aligned text.
"""

import dataclasses
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from estimators import dataset as images
from estimators.device import find_device
from nas.draws import Draw, Row, rows
from nas.inspection import Inspection, Pace, Size, check, inspect, pace
from nas.joint import joint_space
from nas.rates import Found
from nas.rates import rates as sweep
from nas.sensitivity import TRIES
from nas.trial import Constraint
from search_spaces.architecture import spaces
from search_spaces.op import Shape

WIDTH = 120  # columns where there is no terminal to ask
EXACT = 1_000_000  # combinations up to which they are written out
LABELS = {"params": "parameters", "macs": "MACs", "size": "weights", "memory": "memory*"}


def summarise(
    name: str,
    data: str,
    *,
    samples: int = 500,
    seed: int = 0,
    constraints: Sequence[str] = (),
    device: str = "auto",
    timing: bool = True,
    root: str | None = None,
    side: int | None = None,
    weights: str | None = None,
    png: str | None = None,
    as_json: bool = False,
    nodes: bool = False,
    rates: bool = False,
) -> None:
    """Print what the space ``name`` is like for ``data``; a ``ValueError`` at the end if no draw holds a constraint.

    ``nodes``: a line for each node of the two networks shown, instead of one for each shape. ``rates``: which learning
    rates the default design learns at.
    """
    bounds = [Constraint.parse(text) for text in constraints]
    spaces.get(name)
    check(samples, seed, bounds)
    find_device(device)
    if png is not None and not Path(png).parent.is_dir():
        raise ValueError(
            f"no folder {str(Path(png).parent)!r} for the picture; make it, or name another file"
        )
    dataset = images.load(data, seed=seed, root=Path(root) if root else None, side=side)
    search_space = joint_space(dataset, name, weights=weights)
    console = None if as_json else _console()
    if console is not None:
        _say(console, images.summary(dataset))
    found = inspect(search_space, samples=samples, seed=seed, constraints=bounds)
    if timing and not found.impossible:
        found = dataclasses.replace(found, pace=pace(search_space, dataset, found, device))
    if rates:
        found = dataclasses.replace(found, rates=sweep(search_space, dataset, device, seed=seed))
    if png is not None:
        Path(png).write_bytes(pictures(found.shown))
    if console is None:
        print(json.dumps({"space": name, "data": dataset.name, **plain(found)}, indent=1))
    else:
        show(console, f"space {name}", found, nodes=nodes)
    if found.impossible:
        raise ValueError(found.impossible)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def plain(found: Inspection) -> dict[str, Any]:
    """Return the inspection as plain values; a draw is its number, configuration, metrics and nodes."""
    values = dataclasses.asdict(dataclasses.replace(found, shown=()))
    values["dead"] = [change.path for change in found.changes if change.dead]
    values["shown"] = [
        {
            "number": one.number,
            "config": dict(one.design.config),
            "metrics": dict(one.metrics),
            "nodes": [dataclasses.asdict(row) for row in rows(one.design)],
        }
        for one in found.shown
    ]
    return values


def show(console: Console, head: str, found: Inspection, *, nodes: bool = False) -> None:
    """Print the inspection on ``console``, under the line ``head``; ``nodes`` as in ``summarise``."""
    _say(console, head)
    for name, size in found.sizes.items():
        _say(console, f"  {name + ':':14}{_size(size)}")
    _say(console, _draws(found))
    console.print(_spreads(console, found))
    _say(
        console,
        "* in training, predicted: what the backward pass keeps, weights, gradients, optimizer, a validation batch",
    )
    _say(console, _dead(found))
    if found.reaches:
        console.print(_reaches(console, found))
    if found.pace is not None:
        _say(console, _pace(found.pace))
    if found.rates is not None:
        console.print(_rates(console, found.rates))
    for one in found.shown:
        parameters, macs = one.design.parameters, one.design.macs
        _say(console, f"\ndraw #{one.number}: {parameters:,} parameters, {macs:,} MACs")
        console.print(_nodes(console, one) if nodes else _parts(console, one))
    if found.shown and not nodes:
        _say(console, "\n(--nodes lists every node)")


def _say(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)


def _table(console: Console, *columns: str) -> Table:
    """Return an empty table: the first column is text, the others are numbers."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table


def _size(size: Size) -> str:
    count = size.combinations
    many = f"{count:,}" if count <= EXACT else f"10^{math.log10(count):.1f}"
    text = f"{size.parameters} parameters (D = {size.dimensions}), {many} combinations"
    return text + (
        f" of the {size.parameters - size.continuous} discrete, {size.continuous} continuous"
        * bool(size.continuous)
    )


def _draws(found: Inspection) -> str:
    of, valid = found.samples, found.samples - found.invalid
    lines = [
        f"\n{of:,} draws, seed {found.seed}: {found.invalid:,} invalid ({found.invalid / of:.1%});"
        f" of the others {found.same_network:,} repeat a network ({found.same_network / valid:.1%}),"
        f" {found.same_design:,} the recipe too ({found.same_design / valid:.1%})"
    ]
    if found.reason:
        lines.append(f"  the first invalid one: {found.reason}")
    return "\n".join(lines)


def _spreads(console: Console, found: Inspection) -> Table:
    table = _table(console, "", "minimum", "", "default", "median", "", "maximum", "")
    for name, one in found.spreads.items():
        low, default, middle, high = (
            _amount(name, value) for value in (one.minimum, one.default, one.median, one.maximum)
        )
        first, second, third = (f"#{number}" for number in one.where)
        table.add_row(LABELS.get(name, name), low, first, default, middle, second, high, third)
    return table


def _amount(name: str, value: float) -> str:
    return decimal(round(value)) if name in ("size", "memory") else f"{value:,.0f}"


def _dead(found: Inspection) -> str:
    dead = [change.path for change in found.changes if change.dead]
    unknown = [change.path for change in found.changes if change.tries < TRIES]
    said = ", ".join(dead) if dead else "none"
    lines = [f"dead dimensions: {said} (each of {len(found.changes)} changed alone, {TRIES} times)"]
    if unknown:
        lines.append(f"  too seldom active or valid to tell: {', '.join(unknown)}")
    return "\n".join(lines)


def _reaches(console: Console, found: Inspection) -> Table:
    table = _table(console, "constraint", "met", "of draws", "share", "95 % interval", "nearest value")
    for one in found.reaches:
        low, high = one.interval
        nearest = "" if one.nearest is None else f"{one.nearest:,.0f}"
        share = f"{one.met / one.draws:.1%}"
        table.add_row(
            one.constraint, f"{one.met:,}", f"{one.draws:,}", share, f"{low:.1%} to {high:.1%}", nearest
        )
    return table


def _pace(one: Pace) -> str:
    return (
        f"one epoch on all {one.images:,} training images: {one.default:.3g} s for the default (measured), "
        f"{one.median:.3g} s for the median and {one.ninetieth:.3g} s for the 90th percentile (by MACs)"
    )


def _rates(console: Console, found: Mapping[str, Found]) -> Table:
    table = _table(console, "optimizer", "learns from", "falls fastest at", "rises beyond", "searched")
    for name, one in found.items():
        swept = one.rates
        searched = "" if one.searched is None else f"{one.searched[0]:.1e} to {one.searched[1]:.1e}"
        found_rates = swept.lowest, swept.steepest, swept.highest
        table.add_row(name, *(f"{rate:.1e}" for rate in found_rates), searched)
    return table


def _parts(console: Console, one: Draw) -> Table:
    """Return a row for each shape that nodes put out, in the order in which the network comes to them."""
    table = _table(console, "output", "nodes", "parameters", "MACs", "ops")
    table.columns[-1].justify = "left"
    parts: dict[Shape, list[Row]] = {}
    for row in rows(one.design):
        parts.setdefault(row.shape, []).append(row)
    for shape, part in parts.items():
        ops = Counter(row.op.split(" ")[0] for row in part)
        said = part[0].op if len(part) == 1 else ", ".join(f"{count} {op}" for op, count in ops.items())
        sums = len(part), sum(row.parameters for row in part), sum(row.macs for row in part)
        table.add_row("x".join(map(str, shape)), *(f"{value:,}" for value in sums), said)
    return table


def _nodes(console: Console, one: Draw) -> Table:
    table = _table(console, "node", "output", "parameters", "MACs", "op")
    table.columns[-1].justify = "left"
    for row in rows(one.design):
        shape = "x".join(map(str, row.shape))
        table.add_row(row.node, shape, f"{row.parameters:,}", f"{row.macs:,}", row.op)
    return table


def pictures(draws: Sequence[Draw]) -> bytes:
    """Return one PNG of the networks of ``draws``, side by side."""
    from PIL import Image

    from nas.picture import picture

    drawn = []
    for one in draws:
        assert one.design.graph is not None
        title = f"draw #{one.number}: {one.design.parameters:,} parameters, {one.design.macs:,} MACs"
        png = picture(one.design.graph.simplified(), one.design.shape, title)
        drawn.append(Image.open(io.BytesIO(png)).convert("RGB"))
    sheet = Image.new("RGB", (sum(part.width for part in drawn), max(part.height for part in drawn)), "white")
    across = 0
    for part in drawn:
        sheet.paste(part, (across, 0))
        across += part.width
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()
