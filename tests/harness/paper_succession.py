"""Paper logs that lost their end, and go on under another name: honest ones, and those that have both keys
and rewrite what is left."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from birthmark.proof import Succession, parse_succession
from birthmark.proof.receipt import Receipt
from birthmark.proof.succession import Predecessor
from harness.paper_certificates import Authority, der
from harness.paper_log import ORIGIN, PaperLog, honest, vkey
from harness.paper_tree import PaperTree


def succeed(
    log: PaperLog,
    ca: Authority,
    left: int,
    *,
    rewritten: Callable[[list[bytes]], list[bytes]] = honest,
    said: Callable[[list[Predecessor]], list[Predecessor]] = honest,
) -> None:
    """The log loses all entries from `left` on, and goes on as its next successor. `rewritten`: what becomes
    of those that are left. `said`: what the statement says of the logs before."""
    number = 2 + len(_known(log))
    lost = Predecessor(number - 1, log.tree.size, log.tree.root(log.tree.size), left)
    before = [
        Predecessor(each.number, each.size, each.root, min(each.continued, left)) for each in _known(log)
    ]
    predecessors = tuple(said([*before, lost]))
    log.entries = rewritten(log.entries[:left])
    log.tree = PaperTree()
    for entry in log.entries:
        log.tree.append(entry)
    log.records = [record for record in log.records if record.issued_index < left]
    root = log.tree.root(left)
    statement = Succession(ORIGIN, number, left, root, predecessors, b"", b"", b"")
    log.origin = statement.origin
    index = log.append(
        "log_succeeded",
        number=number,
        origin=statement.origin,
        vkey=vkey(log.log_key, name=statement.origin),
        continued=left,
        root=root.hex(),
        predecessors=[
            {"number": p.number, "size": p.size, "root": p.root.hex(), "continued": p.continued}
            for p in predecessors
        ],
        ca_sha256=sha256(der(ca.certificate)).hexdigest(),
        signature=ca.key.sign(statement.statement(), ec.ECDSA(hashes.SHA256())).hex(),
    )
    receipt = Receipt(index, tuple(log.tree.inclusion(index, index + 1)), log.checkpoint())
    log.succession = log.entries[index] + b"\n" + receipt.data()


def _known(log: PaperLog) -> tuple[Predecessor, ...]:
    """What the newest succession names."""
    if not log.succession:
        return ()
    return parse_succession(log.succession, ORIGIN).predecessors
