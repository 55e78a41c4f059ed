"""SIGTERM and Ctrl-C end a run between two steps, so that what was learned can be saved first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupt:
    """While entered: `signal` names the first request to end. A second one ends at once, as without us."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._asked)
        return self

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @property
    def name(self) -> str:
        """Of the signal; where another process of the run got it, so is said."""
        return "a signal elsewhere" if self.signal is None else self.signal.name

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGTERM).value
