"""One `Progress` that tells several: what counts, what shows, what keeps."""

from __future__ import annotations

from agent.core.events import Event, Progress


def fan_out(*receivers: Progress) -> Progress:
    """Tells each receiver, in their order."""

    def tell(event: Event) -> None:
        for receiver in receivers:
            receiver(event)

    return tell
