"""What each code of signerd (docs/formats.md, "Codes") means on the line, and what to do about it."""

from __future__ import annotations

import re

from agent.errors import AgentError, Refused, SignerClockWrong, SignerUnavailable, Verdict

_CODE = re.compile(r"[a-z_]{1,32}")
_ADMIN = "Ask signerd's administrator"
_REPAIR = "Take the board to the repair desk"
_KEEP = "Put the board aside and keep it"

# What the line does, and what its operator does.
_TABLE: dict[str, tuple[Verdict, str]] = {
    "unauthenticated": (Verdict.STOP, f"{_ADMIN} to add this station (`signerd station add`)."),
    "peer_revoked": (
        Verdict.STOP,
        f"This station was revoked. {_ADMIN}. To work again, it has to be enrolled anew.",
    ),
    "role_denied": (Verdict.STOP, "The certificate is not a station's: enroll this station again."),
    "request_malformed": (
        Verdict.REJECT,
        "Keep the board and the log: firmware or agent does not follow docs/formats.md. Call the company.",
    ),
    "order_unknown": (Verdict.STOP, f"Check --order. {_ADMIN} whether the work order names this station."),
    "order_not_open": (
        Verdict.STOP,
        f"The work order is closed, or outside its window. {_ADMIN}, or take another order.",
    ),
    "order_full": (Verdict.STOP, "All boards of this work order are made: take the next order."),
    "chip_unknown": (Verdict.REJECT, f"{_KEEP}: the work order does not list this chip."),
    "session_unknown": (Verdict.AGAIN, "Present the board again: its session has ended."),
    "session_used": (Verdict.AGAIN, "Present the board again: its session was used."),
    "csr_rejected": (Verdict.REJECT, f"{_REPAIR}: its request breaks the rules for CSRs."),
    "key_rejected": (
        Verdict.REJECT,
        f"{_REPAIR}: its key is weak, or of a type that the product does not accept.",
    ),
    "key_already_certified": (Verdict.REJECT, f"{_KEEP}: its key belongs to another chip."),
    "evidence_rejected": (Verdict.REJECT, f"{_KEEP}: it cannot prove where its key comes from."),
    "level_insufficient": (
        Verdict.REJECT,
        f"{_ADMIN}: the order demands stronger evidence, or firmware that the product accepts.",
    ),
    "firmware_too_old": (Verdict.REJECT, "Flash the work order's firmware, then present the board again."),
    "firmware_differs": (Verdict.REJECT, "Flash the work order's bundle, then present the board again."),
    "chip_already_certified": (
        Verdict.REJECT,
        f"Put the board aside: it has a certificate for another key. {_ADMIN} to allow reissue.",
    ),
    "certificate_revoked": (Verdict.REJECT, f"{_KEEP}: its certificate was revoked."),
    "stamp_rejected": (Verdict.REJECT, f"{_REPAIR}: its stamp does not name what was issued to it."),
    "stamp_locks_open": (Verdict.REJECT, f"{_REPAIR}: a lock that the product demands is open."),
    "stamp_conflict": (Verdict.REJECT, f"{_KEEP}: another stamp of it is recorded."),
    "profile_fails": (
        Verdict.REJECT,
        f"The product's profile gives this board no certificate. {_ADMIN} to run `signerd order rehearse`.",
    ),
    "ledger_differs": (
        Verdict.STOP,
        "Stop the line and call the company: signerd's ledger is not the one that this station saw. A backup"
        " was restored there, or a copy of signerd answers. Keep this station's `state` folder.",
    ),
    "internal": (Verdict.REJECT, f"{_ADMIN} to look into signerd's log."),
}
_BUSY = {"rate_limited": "signerd asks for fewer calls", "unavailable": "signerd's HSM or store is away"}


def error_for(code: str) -> AgentError:
    """The error for a code that signerd answered. A code that is not in the table is never believed good."""
    if code == "clock_wrong":
        return SignerClockWrong()
    if code in _BUSY:
        return SignerUnavailable(_BUSY[code])
    unknown = (Verdict.REJECT, f"Agent and signerd are of different versions. {_ADMIN} which to upgrade.")
    verdict, remedy = _TABLE.get(code, unknown)
    return Refused(code if _CODE.fullmatch(code) else "unknown_code", verdict=verdict, remedy=remedy)
