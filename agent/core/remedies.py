"""What each code of signerd (docs/formats.md, "Codes") means on the line, and what to do about it."""

from __future__ import annotations

import re

from agent.errors import AgentError, Refused, SignerUnavailable, Verdict

_CODE = re.compile(r"[a-z_]{1,32}")
_ADMIN = "Ask signerd's administrator"
_REPAIR = "Take the board to the repair desk"

# code: (verdict, remedy)
_TABLE: dict[str, tuple[Verdict, str]] = {
    "unauthenticated": (Verdict.STOP, f"{_ADMIN} to add this station: signerd station add"),
    "peer_revoked": (Verdict.STOP, f"This station was revoked. {_ADMIN}; if it is to work again, enroll anew"),
    "role_denied": (Verdict.STOP, "The certificate is not a station's: enroll this station again"),
    "request_malformed": (Verdict.REJECT, "Board firmware or agent does not follow the formats; keep the log"),
    "order_unknown": (Verdict.STOP, f"Check --order; {_ADMIN} whether this station stands on the work order"),
    "order_not_open": (Verdict.STOP, f"{_ADMIN}: the work order is closed or outside its window"),
    "order_full": (Verdict.STOP, "All boards of this work order are made; take the next order"),
    "chip_unknown": (Verdict.REJECT, "This chip was not delivered for the order: put the board aside, keep it"),
    "session_unknown": (Verdict.AGAIN, "Present the board again: its session is no longer known"),
    "session_used": (Verdict.AGAIN, "Present the board again: its session was used"),
    "csr_rejected": (Verdict.REJECT, f"{_REPAIR}: its request is not one that the rules allow"),
    "key_rejected": (Verdict.REJECT, f"{_REPAIR}: its key is of a wrong type or weak"),
    "key_already_certified": (Verdict.REJECT, "Put the board aside and keep it: its key belongs to another chip"),
    "evidence_rejected": (Verdict.REJECT, "Put the board aside and keep it: it cannot prove where its key comes from"),
    "level_insufficient": (Verdict.REJECT, f"The order demands stronger evidence than this board gives. {_ADMIN}"),
    "firmware_too_old": (Verdict.REJECT, "Flash the firmware that the work order demands, then present it again"),
    "chip_already_certified": (Verdict.REJECT, f"The chip has a certificate for another key. {_ADMIN} about reissue"),
    "certificate_revoked": (Verdict.REJECT, "Put the board aside and keep it: its certificate was revoked"),
    "stamp_rejected": (Verdict.REJECT, f"{_REPAIR}: it does not say of itself what was issued to it"),
    "stamp_locks_open": (Verdict.REJECT, f"{_REPAIR}: a lock that the product demands is open"),
    "stamp_conflict": (Verdict.REJECT, "Put the board aside and keep it: another stamp of it is recorded"),
    "internal": (Verdict.REJECT, f"{_ADMIN} to look into signerd's log"),
}
_BUSY = {"rate_limited": "signerd asks this station to slow down", "unavailable": "signerd's HSM or store is away"}


def error_for(code: str) -> AgentError:
    """The error for a code that signerd answered. A code that is not in the table is never believed good."""
    if code in _BUSY:
        return SignerUnavailable(_BUSY[code])
    verdict, remedy = _TABLE.get(code, (Verdict.REJECT, f"Agent and signerd are of different versions. {_ADMIN}"))
    return Refused(code if _CODE.fullmatch(code) else "unknown_code", verdict=verdict, remedy=remedy)
