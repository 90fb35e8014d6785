"""Sending stamps of the outbox: by the board's own way first, by the outbox later.

A stamp leaves the outbox only with signerd's answer to it: a receipt, or a refusal that is about the stamp.
A refusal of the station, or a fault of signerd, leaves it where it is. Sending it twice is harmless: the
same stamp is answered as before.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.core.log_keys import LogKey
from agent.core.stamp import check_stamp_receipt
from agent.errors import Refused
from agent.ports import Journal, QueuedStamp, Signer

# What signerd says of a stamp (docs/formats.md, "Codes"). All else is about the station or signerd itself.
_ABOUT_THE_STAMP = frozenset(
    {
        "session_unknown",
        "certificate_revoked",
        "stamp_rejected",
        "firmware_too_old",
        "firmware_differs",
        "stamp_locks_open",
        "stamp_conflict",
        "request_malformed",
    }
)


def is_final(error: Refused) -> bool:
    """True if this stamp will never be recorded."""
    return error.code in _ABOUT_THE_STAMP


async def deliver(
    queued: QueuedStamp, signer: Signer, journal: Journal, log_key: Callable[[], LogKey]
) -> None:
    """Sends the stamp once, and takes it out of the outbox if signerd answered. `log_key` is asked for after
    the answer, which may say that the log has a successor.

    Raises:
        Refused: signerd did not record it. If that `is_final`: out of the outbox, and its run has failed.
        SignerUnavailable: no answer, or one that too few witnesses have cosigned; it stays.
        BadAnswer: the answer proves nothing; it stays.
    """
    try:
        receipt = await signer.record_stamp(queued.session, queued.stamp)
    except Refused as error:
        if is_final(error):
            # A crash before this write: the stamp is sent and refused once more.
            await journal.stamp_refused(queued, error.code, error.remedy)
        raise
    check_stamp_receipt(
        stamp=queued.stamp.stamp,
        certificate_sha256=queued.certificate_sha256,
        index=receipt.index,
        entry=receipt.entry,
        proof=receipt.proof,
        log_key=log_key(),
    )
    # A crash before this write: the stamp is sent once more, and answered as before.
    await journal.stamp_recorded(queued, receipt)
