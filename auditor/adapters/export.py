"""Writes certificates, chain and checkpoint as files, for checks with other people's tools."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.core.findings import Finding
from auditor.errors import ConfigError, NotFound
from auditor.lookup import Lookup


def export(lookup: Lookup, directory: Path) -> tuple[int, list[Finding]]:
    """Writes `certificates/<serial number>.pem`, `chain.pem`, `root.pem` and `checkpoint`.

    Only certificates that are checked anew and hold are written; of a board that had several, the last.
    Returns how many files, and what was off.

    Raises:
        NotFound: nothing was verified yet.
        ConfigError: a file cannot be written.
        Unreachable: signerd stopped answering.
    """
    kept = lookup.state.kept()
    if kept is None:
        raise NotFound("nothing was verified yet: run `verify` first")
    findings: list[Finding] = []
    written: set[str] = set()
    above: dict[x509.Certificate, None] = {}  # of all issuers that there were, each once
    try:
        (directory / "certificates").mkdir(parents=True, exist_ok=True)
        (directory / "checkpoint").write_bytes(kept.checkpoint.note)
        (directory / "root.pem").write_bytes(
            b"".join(root.public_bytes(Encoding.PEM) for root in lookup.roots)
        )
        for certificate in lookup.state.certificates_of():
            view = lookup.certificate(certificate)
            findings += view.findings
            if view.checked is None:
                continue
            name = certificate.serial_number.replace(":", "_") + ".pem"  # a colon is no file name on Windows
            pem = view.checked.leaf.certificate.public_bytes(Encoding.PEM)
            (directory / "certificates" / name).write_bytes(pem)
            above |= dict.fromkeys(view.chain)
            written.add(name)
        chain = b"".join(issuer.public_bytes(Encoding.PEM) for issuer in above)
        (directory / "chain.pem").write_bytes(chain)
    except OSError as error:
        raise ConfigError(
            f"cannot write into {directory}: {error.strerror}. See that this user may write there"
        ) from error
    return len(written), findings
