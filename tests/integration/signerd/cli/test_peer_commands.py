"""`signerd station` and `signerd auditor`."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography import x509

from harness.edge import Edge
from harness.process import run
from harness.signerd_commands import signerd


def test_stations_and_auditors(edge: Edge, tmp_path: Path) -> None:
    peer = edge.peer("station/plant1/pc7")
    certificate = tmp_path / "pc7.pem"
    certificate.write_bytes(peer.certificate)
    assert "added" in edge.installation.admin("station", "add", "--certificate", certificate)
    code, said = signerd(edge.installation, "station", "add", "--certificate", certificate)
    assert (code, f"already_exists: this key is registered as {peer.uri}, since " in said) == (1, True)
    (found,) = [
        each
        for each in json.loads(edge.installation.admin("station", "list", "--json"))
        if each["uri"] == peer.uri
    ]
    assert (found["role"], len(found["spki_sha256"]), "revoked_at" in found) == ("station", 64, False)
    edge.installation.admin("station", "revoke", peer.uri)
    code, said = signerd(edge.installation, "station", "revoke", peer.uri)
    assert (code, f"not_found: {peer.uri} is revoked already, since " in said) == (1, True)
    assert peer.uri in edge.installation.admin("station", "list")
    assert peer.uri not in edge.installation.admin("auditor", "list")


def test_a_request_is_signed_and_registered(edge: Edge, tmp_path: Path) -> None:
    request, out = tmp_path / "pc8.csr.pem", tmp_path / "pc8.pem"
    key = tmp_path / "pc8.key"
    subject = ["-subj", "/CN=whatever"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(["openssl", "req", "-new", *curve, "-keyout", key, *subject, "-out", request])
    edge.installation.admin("station", "add", request, "--site", "plant1", "--name", "pc8", "--out", out)
    san = x509.load_pem_x509_certificate(out.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    uris = san.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["birthmark://dev/station/plant1/pc8"]
    again = tmp_path / "again.pem"
    code, _ = signerd(
        edge.installation, "station", "add", request, "--site", "plant1", "--name", "pc8", "--out", again
    )
    assert code == 1
    assert not again.exists()
    assert signerd(edge.installation, "station", "add", request, "--name", "pc8")[0] == 2
    code, said = signerd(
        edge.installation, "station", "add", request, "--site", "a/b", "--name", "pc8", "--out", again
    )
    assert (code, "invalid" in said) == (1, True)
