"""Says a state of a port once, however often it is found: a look twice a second would fill a log.

progress = SaidOnce(progress)
progress(Waiting("3", "the port is busy"))  # said
progress(Waiting("3", "the port is busy"))  # not again, until something else happened on the port
progress(PortReady("3"))                    # said, because something was waiting
"""

from __future__ import annotations

from agent.core.events import BoardEvent, Event, Finished, PortReady, Progress, StepProgress, Waiting


class SaidOnce:
    """A `Progress` before another one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._said: dict[str, str] = {}  # by port, why it waits

    def __call__(self, event: Event) -> None:
        """See `Progress`."""
        match event:
            case Waiting(port, detail):
                if self._said.get(port) == detail:
                    return
                self._said[port] = detail
            case PortReady(port):
                if self._said.pop(port, None) is None:
                    return
            case Finished(result):
                self._said.pop(result.port, None)
            case StepProgress():
                pass  # a state that comes and goes while a step moves on is the same one
            case _:
                if isinstance(event, BoardEvent):
                    self._said.pop(event.port, None)
        self._progress(event)
