"""A paper log with its server, a state, and an audit over them, for the auditor's integration tests."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.adapters.client import Credentials, GrpcLog
from auditor.adapters.state import SqliteState
from auditor.adapters.workers import Workers
from auditor.again import SHARE
from auditor.core.history import Trust
from auditor.core.identities import Identities
from auditor.core.proofs import parse_vkey
from auditor.ledger import CHUNK
from auditor.verify import Audit, Pinned, Report
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.paper_certificates import der, key_pem, pem
from harness.paper_log import DEPLOYMENT, ORIGIN, PRODUCT_TOML, PaperLog, product_with, vkey
from harness.paper_server import PaperServer, PaperService

LATER = datetime(2027, 1, 1, tzinfo=UTC)


@dataclass
class Bench:
    """`verify` runs over the wire, with the state kept between runs."""

    log: PaperLog
    audit: Audit
    state: SqliteState
    server: PaperServer
    grpc_log: GrpcLog

    def verify(self, *, from_scratch: bool = False) -> Report:
        return self.audit.run(from_scratch=from_scratch)

    def codes(self) -> list[tuple[str, int | None]]:
        """Code and entry of what one run finds anew."""
        return [(finding.code.name, finding.index) for finding in self.verify().new]


def pinned(
    log: PaperLog,
    identities: Identities | None = None,
    key: Ed25519PrivateKey | None = None,
    cas: tuple[x509.Certificate, ...] = (),
    successor: int = 1,
) -> Pinned:
    """`key`: a later one of the log, instead of the first. `cas`: who may sign its successor. `successor`:
    pinned by its name."""
    signer = key or log.log_key
    name = ORIGIN if successor == 1 else f"{ORIGIN}/successor-{successor}"
    root = log.root.certificate
    roots = frozenset({sha256(der(root)).hexdigest()})
    trust = Trust(DEPLOYMENT, ORIGIN, vkey(signer), roots, cas, successor)
    return Pinned(parse_vkey(vkey(signer, name=name)), (root,), trust, identities)


@contextmanager
def bench(
    log: PaperLog,
    directory: Path,
    service: PaperService | None = None,
    identities: Identities | None = None,
    key: Ed25519PrivateKey | None = None,
    *,
    cas: tuple[x509.Certificate, ...] = (),
    successor: int = 1,
    workers: int = 1,
    share: float = SHARE,
    chunk: int = CHUNK,
) -> Iterator[Bench]:
    with PaperServer(log, service) as server:
        credentials = Credentials(
            pem(server.operations.certificate), pem(server.auditor), key_pem(server.auditor_key)
        )
        with (
            GrpcLog(server.endpoint, credentials, wait=lambda _: None) as grpc_log,
            SqliteState.open(directory) as state,
            Workers(workers, identities, alone=0) as judges,
        ):
            audit = Audit(
                grpc_log,
                state,
                pinned(log, identities, key, cas, successor),
                clock=lambda: LATER,
                progress=lambda _phase, _done, _total: None,
                judges=judges,
                share=share,
                chunk=chunk,
            )
            yield Bench(log, audit, state, server, grpc_log)


def opened(
    *,
    quantity: int = 4,
    reissue: str = "never",
    level: str = "chip",
    product: str = PRODUCT_TOML,
    now: datetime = PaperLog.now,
    form: int = 3,
) -> PaperLog:
    """An honest log with one order, before its first board."""
    log = PaperLog(product_toml=product, now=now, form=form)
    log.open_log()
    log.add_station()
    log.add_product()
    log.personalize(10)
    log.open_order(quantity=quantity, reissue=reissue, level=level)
    return log


def small(*, form: int = 3) -> PaperLog:
    """An honest log with three boards: stamped, revoked, only issued."""
    log = opened(form=form)
    boards = [log.issue(number) for number in (1, 2, 3)]
    log.stamp(boards[0])
    log.stamp(boards[1])
    log.revoke(boards[1])
    return log


def main(arguments: list[str]) -> None:
    """Prints how long an audit from scratch takes: `python -m harness.audit_bench [boards] [method …]`."""
    boards = int(arguments[0]) if arguments else 2000
    for method in arguments[1:] or ("hmac-sha256", "x509", "psa-token", "nrf91", "tpm2"):
        log = _filled(method, boards)
        with tempfile.TemporaryDirectory() as directory, bench(log, Path(directory)) as made:
            began = time.process_time(), time.monotonic()
            report = made.verify()
            cpu_s, elapsed_s = time.process_time() - began[0], time.monotonic() - began[1]
        if not report.clean or report.records != boards:
            raise SystemExit(f"{method}: {report.new[:3]}")
        rate = boards / elapsed_s
        print(
            f"{method:12} {boards} records in {elapsed_s:.1f} s ({cpu_s:.1f} s of CPU): {rate:.0f} a second"
        )


def _filled(method: str, boards: int) -> PaperLog:
    """A log with so many boards of a method, none stamped."""
    vendors: dict[str, tuple[Vendor, dict[str, str]]] = {
        "x509": (X509Vendor(), {"app": "1.2.0"}),
        "psa-token": (PsaVendor(), {"spe": "2.1.0", "app": "1.2.0"}),
        "nrf91": (Nrf91Vendor(), {"modem": "1.3.6"}),
        "tpm2": (Tpm2Vendor(), {}),
    }
    if method == "hmac-sha256":
        log = opened(quantity=boards)
        log.personalize(boards)
        for number in range(1, boards + 1):
            log.issue(number)
        return log
    vendor, measured = vendors[method]
    now = datetime.now(UTC).replace(microsecond=0)
    log = opened(quantity=boards, product=product_with(vendor), now=now)
    if method in {"psa-token", "nrf91"}:
        log.import_identities(method, boards)
    for number in range(1, boards + 1):
        chip = str(UUID(int=number))
        log.issue(number, chip=chip, attester=vendor.attester(chip), measured=measured)
    return log


if __name__ == "__main__":
    main(sys.argv[1:])
