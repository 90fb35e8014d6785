"""`signerd station` and `signerd auditor`."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of, key_pem, new_key
from harness.process import run
from harness.signerd_commands import signerd

OPEN = signing_pb2.OpenSessionRequest(work_order="WO-NONE", chip_id="chip-1")


def test_stations_and_auditors(edge: Edge, tmp_path: Path) -> None:
    peer = edge.peer("station/plant1/pc7")
    certificate = tmp_path / "pc7.pem"
    certificate.write_bytes(peer.certificate)
    added = json.loads(edge.installation.admin("station", "add", "--certificate", certificate, "--json"))
    assert (added["peer"]["uri"], added["certificate"]) == (peer.uri, str(certificate))
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


def test_a_renewal_with_the_same_key_and_with_another(edge: Edge, tmp_path: Path) -> None:
    """Both keys work until the older certificate ends; revoking ends both at once."""
    old = edge.add_peer("station/plant1/pc9")
    same, new = (tmp_path / name for name in ("same.pem", "new.pem"))
    for out, key in ((same, load_pem_private_key(old.key, None)), (new, new_key())):
        assert isinstance(key, EllipticCurvePrivateKey)
        request = tmp_path / f"{out.stem}.csr.pem"
        request.write_bytes(request_of(key))
        where = ("--site", "plant1", "--name", "pc9", "--out", out)
        assert "renewed birthmark://dev/station/plant1/pc9" in edge.installation.admin(
            "station", "renew", request, *where
        )
        again = edge.connect(old.uri, out.read_bytes(), key_pem(key))
        assert asks(again) == asks(old) == "order_unknown"
    renewed = [each for each in edge.entries() if each["type"] == "station_renewed"]
    assert [each["peer"] for each in renewed] == [old.uri] * 2
    edge.installation.admin("station", "revoke", old.uri)
    assert asks(again) == asks(old) == "peer_revoked"
    code, said = signerd(edge.installation, "station", "renew", "--certificate", new)
    assert (code, "is revoked already" in said) == (1, True)
    strange = tmp_path / "strange.pem"
    where = ("--site", "plant1", "--name", "nobody", "--out", strange)
    code, said = signerd(edge.installation, "station", "renew", tmp_path / "new.csr.pem", *where)
    assert (code, "no station" in said, strange.exists()) == (1, True, False)


def asks(station: EdgePeer) -> str:
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S, wait_for_ready=True))


def request_of(key: EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
