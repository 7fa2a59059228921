"""The clock and the wish to stop, as an evaluation looks at them every few steps."""

import time
from collections.abc import Callable

from estimators.estimator import Context


class Stopped(Exception):
    """The evaluation was asked to end."""


def watch(context: Context, began: float) -> Callable[[], None]:
    """Return what raises ``Stopped`` when ``context`` says so, and ``TimeoutError`` at its deadline.

    ``began`` is the monotonic time at which the evaluation began. At the deadline of a ``partial`` context, whose last
    whole epoch counts, it raises ``Stopped`` too.
    """

    def look() -> None:
        seconds = time.monotonic() - began
        if context.deadline is not None and seconds > context.deadline:
            if context.partial:
                raise Stopped
            raise TimeoutError(f"{seconds:.1f} s, limit {context.deadline:g} s")
        if context.stopping():
            raise Stopped

    return look
