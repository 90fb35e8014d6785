"""`signerd crl` and `signerd revoke`."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography import x509

from harness.edge import Edge
from harness.signerd_commands import signerd


def test_a_crl(edge: Edge, tmp_path: Path) -> None:
    out = tmp_path / "dev.crl"
    said = json.loads(edge.installation.admin("crl", "--out", out, "--hours", "24", "--json"))
    assert (said["file"], said["bytes"]) == (str(out), out.stat().st_size)
    assert edge.installation.admin("crl", "--out", out).startswith(f"wrote {out}")
    assert len(x509.load_der_x509_crl(out.read_bytes())) == 0
    assert signerd(edge.installation, "crl", "--out", out, "--hours", "9000")[0] == 2
    assert signerd(edge.installation, "revoke", "NOBODY", "--reason", "keyCompromise")[0] == 1
    code, said = signerd(edge.installation, "revoke", "NOBODY", "--reason", "badMood")
    assert (code, "keyCompromise" in said) == (1, True)
    assert signerd(edge.installation, "revoke", "--reason", "keyCompromise")[0] == 2
