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
    "unauthenticated": (Verdict.STOP, f"{_ADMIN} to add this station: signerd station add"),
    "peer_revoked": (Verdict.STOP, f"Revoked. {_ADMIN}; to work again, this station enrolls anew"),
    "role_denied": (Verdict.STOP, "The certificate is not a station's: enroll this station again"),
    "request_malformed": (Verdict.REJECT, "Firmware or agent does not follow the formats; keep the log"),
    "order_unknown": (Verdict.STOP, f"Check --order; {_ADMIN} whether this station stands on the work order"),
    "order_not_open": (Verdict.STOP, f"{_ADMIN}: the work order is closed or outside its window"),
    "order_full": (Verdict.STOP, "All boards of this work order are made; take the next order"),
    "chip_unknown": (Verdict.REJECT, f"{_KEEP}: this chip was not delivered for the order"),
    "session_unknown": (Verdict.AGAIN, "Present the board again: its session is no longer known"),
    "session_used": (Verdict.AGAIN, "Present the board again: its session was used"),
    "csr_rejected": (Verdict.REJECT, f"{_REPAIR}: its request is not one that the rules allow"),
    "key_rejected": (Verdict.REJECT, f"{_REPAIR}: its key is of a wrong type or weak"),
    "key_already_certified": (Verdict.REJECT, f"{_KEEP}: its key belongs to another chip"),
    "evidence_rejected": (Verdict.REJECT, f"{_KEEP}: it cannot prove where its key comes from"),
    "level_insufficient": (
        Verdict.REJECT,
        f"The order demands stronger evidence, or firmware that the product accepts. {_ADMIN}",
    ),
    "firmware_too_old": (Verdict.REJECT, "Flash the firmware of the work order, then try again"),
    "firmware_differs": (Verdict.REJECT, "Flash the bundle of the work order, then try again"),
    "chip_already_certified": (
        Verdict.REJECT,
        f"It has a certificate for another key. {_ADMIN} about reissue",
    ),
    "certificate_revoked": (Verdict.REJECT, f"{_KEEP}: its certificate was revoked"),
    "stamp_rejected": (Verdict.REJECT, f"{_REPAIR}: it does not say of itself what was issued to it"),
    "stamp_locks_open": (Verdict.REJECT, f"{_REPAIR}: a lock that the product demands is open"),
    "stamp_conflict": (Verdict.REJECT, f"{_KEEP}: another stamp of it is recorded"),
    "profile_fails": (
        Verdict.REJECT,
        f"The product's profile gives this board no certificate. {_ADMIN}: signerd order rehearse",
    ),
    "internal": (Verdict.REJECT, f"{_ADMIN} to look into signerd's log"),
}
_BUSY = {"rate_limited": "signerd asks for fewer calls", "unavailable": "signerd's HSM or store is away"}


def error_for(code: str) -> AgentError:
    """The error for a code that signerd answered. A code that is not in the table is never believed good."""
    if code == "clock_wrong":
        return SignerClockWrong()
    if code in _BUSY:
        return SignerUnavailable(_BUSY[code])
    unknown = (Verdict.REJECT, f"Agent and signerd are of different versions. {_ADMIN}")
    verdict, remedy = _TABLE.get(code, unknown)
    return Refused(code if _CODE.fullmatch(code) else "unknown_code", verdict=verdict, remedy=remedy)
