"""Proofs of a transparency log, verified: checkpoints, cosignatures, receipts, tiles. For any program.

The formats are those of RFC 6962 and of the C2SP: `signed-note`, `tlog-checkpoint`, `tlog-cosignature`,
`tlog-proof` and `tlog-tiles`. A customer's or a cloud's program takes this package alone: it imports
`cryptography` and the standard library, and nothing of the other programs.

It guarantees:

- A function whose name begins with `open_`, `verify_` or `require_` returns only if what it is named for was
  verified. Signatures are verified with keys that the caller pinned. `parse_` verifies nothing.
- Whatever the bytes, these functions return or raise `ProofError`, and nothing else. Its `reason` tells a
  wrong form from a wrong signature and from hashes that lead elsewhere.
- Each value has one spelling. Numbers with signs or leading zeros, base64 with loose bits, extension lines
  and control characters are refused. Sizes are bounded.
- Everything is pure: no file, socket, clock or state between calls.

A board's receipt, verified offline:

    from birthmark.proof import ProofError, parse_vkey, verify_receipt

    log = parse_vkey("log.example.com/signerd/line1+971c2ca2+AfmZ/H/mB9/RaFr8ggXAQ9dTX2EE4TjfizEUfOCJ5rX2")
    try:
        verified = verify_receipt(receipt, entry, [log])
    except ProofError as error:
        ...                    # the receipt proves nothing: error says why
    verified.index             # where the entry stands in the log
    verified.checkpoint.size   # of the tree that has it

What the entry says is JSON (docs/formats.md, "Ledger"). That the log shows the same tree to everybody, a
receipt does not show: cosignatures of witnesses do (`birthmark.proof.cosignature`).
"""

from birthmark.proof.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from birthmark.proof.cosignature import Cosignature, cosignatures, require_cosignatures
from birthmark.proof.errors import ProofError, Reason
from birthmark.proof.merkle import Frontier, leaf_hash, node_hash, verify_consistency, verify_inclusion
from birthmark.proof.note import SignatureType, VerifierKey, open_note, parse_vkey
from birthmark.proof.receipt import VerifiedReceipt, parse_receipt, verify_receipt
from birthmark.proof.succession import Succession, log_name, open_succession, parse_succession
from birthmark.proof.tile import TileTree

__all__ = [
    "Checkpoint",
    "Cosignature",
    "Frontier",
    "ProofError",
    "Reason",
    "SignatureType",
    "Succession",
    "TileTree",
    "VerifiedReceipt",
    "VerifierKey",
    "cosignatures",
    "leaf_hash",
    "log_name",
    "node_hash",
    "open_checkpoint",
    "open_note",
    "open_succession",
    "parse_checkpoint",
    "parse_receipt",
    "parse_succession",
    "parse_vkey",
    "require_cosignatures",
    "verify_consistency",
    "verify_inclusion",
    "verify_receipt",
]
