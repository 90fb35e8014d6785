"""Sends what the outbox holds, oldest first, until signerd has answered each stamp.

The boards of these stamps have left the needle bed. A refusal is therefore told loudly, with the serial
number: somebody has to find that board.
"""

from __future__ import annotations

from agent.core.events import StampSettled
from agent.delivery import deliver, is_final
from agent.errors import Refused, SignerUnavailable
from agent.ports import QueuedStamp
from agent.station import StationContext

_PAUSE_S = 3.0  # between two looks; the outbox is almost always empty


class OutboxSender:
    """The outbox of one station."""

    def __init__(self, station: StationContext) -> None:
        self._station = station

    async def run(self) -> None:
        """Sends for ever; ends by being cancelled. Raises BadAnswer and JournalError."""
        while True:
            await self.flush()
            await self._station.clock.sleep(_PAUSE_S)

    async def flush(self) -> int:
        """Sends what waits, once; returns how many stamps still wait. Raises BadAnswer and JournalError."""
        station = self._station
        waiting = await station.journal.queued_stamps()
        left = len(waiting)
        for queued in waiting:
            if queued.chip_id in station.busy_chips:
                continue  # its board is on a port again and sends it itself
            try:
                await deliver(queued, station.signer, station.journal, station.log_key)
            except SignerUnavailable:
                break  # the others would wait as long, and their order stays
            except Refused as error:
                if error.stops_line:
                    break  # none of this station's is taken now
                if not is_final(error):
                    continue
                station.progress(_settled(queued, error.code))
            else:
                station.progress(_settled(queued, ""))
            left -= 1
        return left


def _settled(queued: QueuedStamp, code: str) -> StampSettled:
    return StampSettled(queued.work_order, queued.chip_id, queued.serial_number, code)
