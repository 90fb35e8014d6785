"""The codes of findings, a code for each kind (docs/auditing.md)."""

from __future__ import annotations

from enum import Enum


class Code(Enum):
    """The kinds of findings. 1xx the log, 2xx an entry, 3xx the history, 4xx a certificate's record."""

    CHECKPOINT_MALFORMED = "F101"
    CHECKPOINT_SIGNATURE = "F102"
    ROLLBACK = "F103"
    FORK = "F104"
    PROOF_MALFORMED = "F105"
    ENTRIES_MISSING = "F106"
    ENTRY_NOT_IN_TREE = "F107"
    ANSWER_MALFORMED = "F108"
    NOT_INCLUDED = "F109"
    CONTINUATION = "F110"
    NOT_COSIGNED = "F111"
    LOG_SUCCEEDED = "F112"

    ENTRY_NOT_CANONICAL = "F201"
    ENTRY_FORM = "F202"
    ENTRY_OVERSIZED = "F203"
    LOG_IDENTITY = "F204"
    TIME_ORDER = "F205"
    FORM_ORDER = "F206"

    PEER_HISTORY = "F301"
    PRODUCT_UNKNOWN = "F302"
    ORDER_HISTORY = "F303"
    ORDER_UNKNOWN = "F304"
    ORDER_NOT_OPEN = "F305"
    STATION_NOT_ALLOWED = "F306"
    OVER_QUANTITY = "F307"
    NUMBER = "F308"
    SERIAL_NUMBER = "F309"
    CHIP_TWICE = "F310"
    KEY_TWICE = "F311"
    LEVEL = "F312"
    ORDER_TERMS = "F313"
    STAMP_HISTORY = "F314"
    REVOCATION_HISTORY = "F315"
    CHIPS_UNCOUNTED = "F316"
    VALUE_REUSED = "F317"
    INTENT_HISTORY = "F318"
    CRL_HISTORY = "F319"
    SHARED_PRIMES_HISTORY = "F320"
    ANCHOR_HISTORY = "F321"
    ISSUER_HISTORY = "F322"
    OPERATIONS_CA_HISTORY = "F323"
    APPROVAL = "F324"
    CHECKPOINT_KEY_HISTORY = "F325"
    RUN_HISTORY = "F326"
    SUCCESSION_HISTORY = "F327"

    RECORD_MISSING = "F401"
    RECORD_UNLOGGED = "F402"
    RECORD_DIFFERS = "F403"
    RECORD_STATE = "F404"
    PRODUCT_FILE = "F405"
    CERTIFICATE_CHAIN = "F411"
    CERTIFICATE_FORM = "F412"
    CERTIFICATE_DIFFERS = "F413"
    CSR = "F421"
    EVIDENCE = "F422"
    FIRMWARE_TOO_OLD = "F423"
    SETTINGS = "F424"
    EVIDENCE_FALSE = "F425"
    EVIDENCE_LEVEL = "F426"
    ATTESTER = "F427"
    ANCHORS = "F428"
    STAMP_FORM = "F431"
    STAMP_SIGNATURE = "F432"
    STAMP_DIFFERS = "F433"
    LOCKS_OPEN = "F434"
    FIRMWARE_DIFFERS = "F435"

    @property
    def title(self) -> str:
        """The kind in words, as it stands in machine output."""
        return self.name.lower().replace("_", " ")

    @property
    def may_be_of_records(self) -> bool:
        """True if judging records may find it: who reads entries alone does not find it again."""
        return self.value.startswith("F4") or self in _OF_BOTH


_OF_BOTH = frozenset(
    {Code.ANSWER_MALFORMED, Code.ORDER_TERMS, Code.NUMBER, Code.CHIP_TWICE, Code.CHIPS_UNCOUNTED}
)
