"""How a search is asked to end before its time, and the signals that ask for it.

Ctrl-C (SIGINT) once: what is in flight is finished, and nothing else is begun. SIGTERM: what is in flight saves and
returns within its grace. Either again: now; what was saved is all that is left.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import FrameType
from typing import Final, Protocol


class Ending(Enum):
    """What is to become of what is in flight."""

    FINISH = signal.SIGINT
    SAVE = signal.SIGTERM


FINISH: Final = Ending.FINISH
SAVE: Final = Ending.SAVE
WORDS = {FINISH: "finishing", SAVE: "saving"}


class Ended(KeyboardInterrupt):
    """The search ended as a signal asked for: nothing is in flight any more."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.value.name)
        self.ending = ending


class Loop(Protocol):
    """What can be asked to end, while evaluations are ``under_way``."""

    ending: Ending | None

    @property
    def under_way(self) -> int: ...


@contextmanager
def heeded(loop: Loop) -> Iterator[None]:
    """Have signals that come inside end ``loop``; raises ``Ended`` in the end if one did.

    Where nothing is under way, or at the second one, they interrupt at once. A signal that is ignored stays so, and
    outside of the main thread, where none can be caught, all are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    ours = os.getpid()

    def hear(number: int, frame: FrameType | None) -> None:
        if os.getpid() != ours:  # a fork of this process: it ends as it would by itself
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if loop.ending is not None or not loop.under_way:
            raise KeyboardInterrupt
        loop.ending = Ending(number)
        said = f"{WORDS[loop.ending]} what is in flight; once more to end now"
        print(f"nas: {said}", file=sys.stderr, flush=True)

    before = {ending: signal.getsignal(ending.value) for ending in Ending}
    loop.ending = None
    try:
        for ending, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(ending.value, hear)
        yield
        if loop.ending is not None:
            raise Ended(loop.ending)
    finally:
        for ending, handler in before.items():
            signal.signal(ending.value, handler)
