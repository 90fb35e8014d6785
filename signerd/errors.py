"""What can go wrong in signerd, in two kinds.

`Refused` is the peer's doing: it carries a code of docs/formats.md, which the peer gets, and a detail,
which only our log gets. `Fault` is ours: the peer gets `unavailable` or `internal`.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The codes of docs/formats.md, "Codes"."""

    UNAUTHENTICATED = "unauthenticated"
    PEER_REVOKED = "peer_revoked"
    ROLE_DENIED = "role_denied"
    RATE_LIMITED = "rate_limited"
    REQUEST_MALFORMED = "request_malformed"
    ORDER_UNKNOWN = "order_unknown"
    ORDER_NOT_OPEN = "order_not_open"
    ORDER_FULL = "order_full"
    CHIP_UNKNOWN = "chip_unknown"
    SESSION_UNKNOWN = "session_unknown"
    SESSION_USED = "session_used"
    CSR_REJECTED = "csr_rejected"
    KEY_REJECTED = "key_rejected"
    KEY_ALREADY_CERTIFIED = "key_already_certified"
    EVIDENCE_REJECTED = "evidence_rejected"
    PROFILE_FAILS = "profile_fails"
    LEVEL_INSUFFICIENT = "level_insufficient"
    FIRMWARE_TOO_OLD = "firmware_too_old"
    FIRMWARE_DIFFERS = "firmware_differs"
    CHIP_ALREADY_CERTIFIED = "chip_already_certified"
    CERTIFICATE_REVOKED = "certificate_revoked"
    STAMP_REJECTED = "stamp_rejected"
    STAMP_LOCKS_OPEN = "stamp_locks_open"
    STAMP_CONFLICT = "stamp_conflict"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    INVALID = "invalid"
    APPROVAL_REQUIRED = "approval_required"
    APPROVAL_INVALID = "approval_invalid"
    CLOCK_WRONG = "clock_wrong"
    LEDGER_DIFFERS = "ledger_differs"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Refused(Exception):  # noqa: N818 (a refusal is an outcome, not an error of ours)
    """The peer asked for something that it does not get."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Unrecorded(Refused):
    """A refusal that the peer is told and metrics count, and that is written nowhere.

    For whoever has no share of log and ledger: keys that the registry does not know or that were revoked,
    and calls over the caller's rate. Else it is the caller who decides how fast our disk fills.
    """


class Busy(Unrecorded):
    """The token has more to do than this caller would wait for: it is told when to come back."""

    def __init__(self, detail: str, retry_s: float) -> None:
        super().__init__(Code.RATE_LIMITED, detail)
        self.retry_s = retry_s


class Fault(Exception):  # noqa: N818 (the counterpart of Refused)
    """Something of ours does not work. `code` is `unavailable` if the same request may succeed later."""

    def __init__(self, detail: str, *, code: Code = Code.INTERNAL) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Unavailable(Fault):
    """The HSM or the store does not answer now."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code=Code.UNAVAILABLE)


class WrongSettings(Unavailable):
    """The token does not hold what the settings name. Of a command or a start that is the settings' fault;
    while signerd runs they were right once, and it is the token's."""


class IssuerChanged(Unavailable):
    """Another issuer took over while a certificate was being made: the place is to be taken again."""


class ClockWrong(Fault):
    """signerd's clock cannot be right: nothing is entered or signed until it is."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code=Code.CLOCK_WRONG)


class ConfigError(Exception):
    """The configuration or the installation is wrong, and stays so. The text names the remedy."""


class WrongFile(Exception):  # noqa: N818 (an outcome of a command, like Refused)
    """A file that a command was given is wrong. The text names it, its line or key, and the remedy."""


class NotNow(ConfigError):  # noqa: N818 (an outcome, like Refused)
    """What stands in the way may pass by itself: the same start may succeed later."""
