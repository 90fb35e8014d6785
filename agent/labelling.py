"""A board's label: one a certificate, and only for a code that the board's own stamp commits to.

A crash, or a time that runs out, between handing a label over and the note of it makes a second one of the
same code: a board with two labels is seen, a board without one is shipped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agent.core.label import Label
from agent.core.pop import ProofOfPossession
from agent.core.stamp import CheckedStamp
from agent.errors import BoardError
from agent.ports import Journal, Labels


async def hand_over_label(
    labels: Labels,
    journal: Journal,
    *,
    run: int,
    certificate_sha256: bytes,
    signed: Callable[[], Awaitable[CheckedStamp]],
    tell: Callable[[], Awaitable[ProofOfPossession]],
    label_with: Callable[[str], Label],
) -> None:
    """Hands the board's label over, unless one for this certificate was.

    Args:
        labels, journal: the station's.
        run: of the journal.
        certificate_sha256: 32 bytes.
        signed: the board's stamp, trial or not, which was checked.
        tell: has the board tell its code.
        label_with: makes the label of a code.

    Raises:
        BoardError: `label_differs`, `no_pop`; what `signed` and `tell` raise.
        LabelError: it could not be printed or left in its folder.
        JournalError: whether it was handed over cannot be known or noted.
    """
    if await journal.has_label(certificate_sha256):
        return
    checked = await signed()
    require_code(checked)
    pop = await tell()
    if pop.commitment != checked.commitment:
        raise other_code("the board's stamp commits to another code than the one that it tells")
    await labels.put(label_with(pop.code))
    await journal.note_label(run, certificate_sha256)


def require_code(stamp: CheckedStamp) -> None:
    """Raises BoardError `no_pop` where the board's stamp says that it has no code: no label can show one."""
    if stamp.commitment is None:
        raise BoardError("no_pop", "the board has no proof-of-possession code, which its label is to show")


def other_code(detail: str) -> BoardError:
    """What the board tells and what it signed for are two codes."""
    remedy = "Put the board aside and keep it: its label would not open it."
    return BoardError("label_differs", detail, remedy=remedy)
