"""What a search hears of its designs beside results: scores by untrained networks or by a supernet, trained for that.

Under ``auto`` a supernet may be called for in the midst of the search and take the place of untrained networks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.calibration import Failed
from nas.duration import Durations
from nas.executor import Executor
from nas.folder import Folder, Settings
from nas.pretraining import Pretraining
from nas.study import Study
from nas.trust import CALLED, REFERENCE, SPLIT, SUPERNET, Trust
from nas.warm_start import EVENT as WARM_START
from nas.warm_start import LAST, MEMBERS, WarmStart, members_of
from search_spaces.architecture import SearchSpace


class Signals:
    """The signals of the run in ``folder``.

    ``context`` are further fields of a ``Context``, ``memory`` the bytes that a worker may hold, ``trains`` whether the
    estimator of the run trains designs, and ``left`` returns the seconds that are left of the search, None where no
    time is counted.
    """

    def __init__(
        self,
        study: Study,
        search_space: SearchSpace,
        executor: Executor,
        durations: Durations,
        *,
        folder: Folder,
        settings: Settings,
        context: Mapping[str, Any],
        memory: int | None,
        trains: bool,
        left: Callable[[], float | None],
    ) -> None:
        self.study, self.search_space = study, search_space
        self.executor, self.durations = executor, durations
        self.folder, self.settings = folder, settings
        self.context, self.memory = context, memory
        self.trains, self.left = trains, left
        self.warm_start = self._first()
        self.pretraining = self._asked_for()

    def begin(self) -> None:
        """Have a supernet that is asked for trained, and a sample scored; what was done before is not done again."""
        self.pretrain()
        self.warm_start.begin(self.settings.budget)
        if SPLIT in self.study.history.events:
            self._split()

    def keep_up(self) -> list[Trust]:
        """Score and enqueue what is due, call for a supernet or split it; return how true the signals are."""
        signals = self.warm_start.keep_up()
        if not self.study.history.asked and self._changed(signals):
            signals = self.warm_start.keep_up()
        return signals

    def _first(self) -> WarmStart:
        """Return what proposes designs by untrained networks; without members it only measures what is counted.

        A search goes on with the members it began with, whatever its budget has become.
        """
        settings, begun = self.settings, self.study.history.events.get(WARM_START)
        members = members_of(settings.warm_start, settings.strategy, timed=settings.budget is not None)
        return self._by(tuple(begun["members"]) if begun else members)

    def _by(self, members: tuple[str, ...]) -> WarmStart:
        from estimators.supernet import SupernetEstimator
        from estimators.zero_cost import ZeroCost

        shared = members == (SUPERNET,)
        return WarmStart(
            self.study,
            self.search_space,
            self.executor,
            SupernetEstimator(self.folder.data, file=self.folder.supernet, signal=SUPERNET)
            if shared
            else ZeroCost(self.folder.data, members),
            members,
            scratch=self.folder.checkpoints / "scores",
            settings=self.context,
            reference=ZeroCost(self.folder.data, (REFERENCE,)) if shared else None,
            memory=self.memory,
        )

    def _asked_for(self) -> Pretraining | None:
        """Return what trains a supernet before the search; None where nobody asks for its scores."""
        if self.settings.estimator == SUPERNET:
            return self._pretraining("estimator")
        if self.warm_start.members != (SUPERNET,):
            return None
        return self._pretraining("called" if CALLED in self.study.history.events else "signal")

    def _pretraining(self, role: str) -> Pretraining:
        return Pretraining(
            self.study,
            self.search_space,
            self.executor,
            self.durations,
            folder=self.folder,
            role=role,
            precision=self.settings.precision,
            options=self.settings.supernet_options,
            settings={**self.context, "threads": self.executor.threads_of(1)},
            memory=self.memory,
        )

    def pretrain(self) -> None:
        """Have a supernet that is asked for trained. One that the search called for by itself may be lost: a note."""
        if self.pretraining is None:
            return
        called = self.study.history.events.get(CALLED)
        if called is None or "failed" not in called:
            try:
                self.pretraining.run(self.left())
                return
            except Failed as error:
                if called is None:
                    raise
                self.study.note(CALLED, {**called, "failed": str(error)})
        self.pretraining, self.warm_start = None, self._by(())

    def _changed(self, signals: Sequence[Trust]) -> bool:
        """Call for a supernet, or split it, where what was measured says so; return whether it scores anew."""
        if self.study.ending or self.study.exhausted or self.executor.slots > 1:
            return False
        if self.pretraining is not None:
            return self.pretraining.doubted(signals) and self._split()
        called, by_default = self.study.history.events.get(CALLED), self.warm_start.members == MEMBERS
        if not by_default or self.settings.warm_start is not None or not self.trains:
            return False
        left, trials = self.left(), self.settings.trials
        if left is None or left <= 0 or (called is not None and "failed" in called):
            return False
        if trials is not None and trials - self.study.history.starts < LAST:
            return False  # few of its picks could be begun
        pretraining = self._pretraining("called")
        if called is None and not pretraining.wanted(signals, left):
            return False
        return self._call_for(pretraining)

    def _call_for(self, pretraining: Pretraining) -> bool:
        """Train a supernet in the midst of the search, and have it score what untrained networks were asked about.

        One that cannot be trained is a note, and the search goes on without.
        """
        called = self.study.history.events.get(CALLED)
        if called is None:
            called = {"at": self.study.history.starts}
            self.study.note(CALLED, called)
        try:
            pretraining.run(self.left())
        except Failed as error:
            self.study.note(CALLED, {**called, "failed": str(error)})
            return False
        self.pretraining, self.warm_start = pretraining, self._by((SUPERNET,))
        self.warm_start.anew(self.left(), CALLED, since=called["at"])
        return True

    def _split(self) -> bool:
        """Split the supernet, and have its halves score what it has scored; return whether they do."""
        assert self.pretraining is not None
        parted = self.pretraining.split(self.left())
        if parted:
            self.warm_start.anew(self.left(), SPLIT)
        return parted
