"""Weak RSA keys as an administrator meets them: the command, the ledger, the metrics."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge
from harness.installation import SENSOR, order_toml
from harness.paper_board import PaperBoard
from harness.process import wait_until
from harness.shared_primes import two_with_a_shared_prime

RSA_SENSOR = SENSOR.replace('accept = ["p256", "p384"]', 'accept = ["rsa2048"]')
COMMAND = ("certificates", "shared-primes")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("primes")) as edge:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = edge.installation.config
        metrics = f'[metrics]\nlisten = "127.0.0.1:{port}"\n\n[hygiene]\nshared_primes_every_h = 0\n'
        config.write_text(config.read_text("utf-8") + "\n" + metrics, "utf-8")
        edge.start()
        yield edge


def scraped(edge: Edge) -> str:
    port = int(
        edge.installation.config.read_text("utf-8").partition('[metrics]\nlisten = "127.0.0.1:')[2][:5]
    )
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: line.recv(65536), b"")).decode("utf-8")


def certify(edge: Edge, keys: list[rsa.RSAPrivateKey]) -> list[str]:
    """Serial numbers of a board for each key."""
    edge.installation.add_product(RSA_SENSOR)
    station = edge.add_peer("station/plant1/rsa")
    edge.installation.open_order(order_toml("WO-RSA", quantity=len(keys), stations=[station.uri]))
    chips = edge.installation.personalize([f"rsa:{number}" for number in range(len(keys))])
    serials = []
    for (chip, secret), key in zip(chips.items(), keys, strict=True):
        board = PaperBoard(chip, secret, key=key)  # type: ignore[arg-type] # signs as the other type does
        opened = station.signing.OpenSession(
            signing_pb2.OpenSessionRequest(work_order="WO-RSA", chip_id=chip), timeout=TIMEOUT_S
        )
        csr, evidence = board.request(opened.challenge)
        request = signing_pb2.SignCsrRequest(session=opened.session, csr_der=csr, evidence=evidence)
        serials.append(station.signing.SignCsr(request, timeout=TIMEOUT_S).serial_number)
    return serials


@pytest.mark.check
def test_an_administrator_searches_and_revokes(edge: Edge) -> None:
    assert "0 RSA keys" in edge.installation.admin(*COMMAND)
    assert "signerd_shared_prime_certificates" in scraped(edge)
    first, second = two_with_a_shared_prime()
    serials = certify(edge, [first, rsa.generate_private_key(65537, 2048), second])

    def found() -> dict[str, Any]:
        return dict(json.loads(edge.installation.admin(*COMMAND, "--json", expect=1)))

    report = found()
    assert (report["keys"], report["valid"], report["revoked"], report["failure"]) == (3, 2, 0, "")
    assert {each["serial_number"] for each in report["certificates"]} == {serials[0], serials[2]}
    assert 'signerd_shared_prime_certificates{state="valid"} 2.0' in scraped(edge)
    said = edge.installation.admin(*COMMAND, expect=1)
    assert all(serial in said for serial in (serials[0], serials[2]))
    assert serials[1] not in said
    edge.installation.admin("revoke", serials[0], "--reason", "keyCompromise")
    report = found()
    assert (report["valid"], report["revoked"]) == (1, 1)
    assert 'signerd_shared_prime_certificates{state="revoked"} 1.0' in scraped(edge)
    assert "signerd_shared_primes_failures_total 0.0" in scraped(edge)

    def named() -> list[dict[str, Any]]:
        return [entry for entry in edge.entries() if entry["type"] == "shared_primes_found"]

    wait_until(lambda: bool(named()), "the entry")
    (entry,) = named()  # four searches, and each certificate is named once
    assert set(entry["certificates"]) == {each["certificate_sha256"] for each in report["certificates"]}
