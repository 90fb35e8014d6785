"""A load generator for cfssl: persistent mTLS connections, one request under way on each.

Reads its job as JSON from standard input, writes its result as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from bench.timing import Rate, measure

WARM_UP = 100


class Connection:
    """One keep-alive HTTP/1.1 connection, as little of HTTP as cfssl needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def sign(self, request: bytes) -> None:
        """Posts one prepared request and reads its answer whole."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"cfssl answered {head[:80]!r}")
        body = await self._body(head)
        if b'"success":true' not in body:
            raise RuntimeError(f"cfssl refused: {body[:200]!r}")

    async def _body(self, head: bytes) -> bytes:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return await self._reader.readexactly(int(value))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()
        return body

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()


def prepared_request(number: int) -> bytes:
    """The whole HTTP request for a fresh key's CSR."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"bench-{number}")])
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    body = json.dumps({"certificate_request": csr.public_bytes(Encoding.PEM).decode("ascii")}).encode("ascii")
    head = f"POST /api/v1/cfssl/sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


async def load(job: dict[str, Any]) -> list[Rate]:
    """Measures each number of calls at once that the job asks for."""
    context = ssl.create_default_context(cafile=job["ca_file"])
    context.load_cert_chain(job["client_certificate"], job["client_key"])
    rates = []
    for at_once, operations in job["runs"]:
        requests = [prepared_request(number) for number in range(operations + WARM_UP)]
        connections = [
            Connection(*await asyncio.open_connection("127.0.0.1", job["port"], ssl=context))
            for _ in range(at_once)
        ]

        async def sign(request: bytes, worker: int, connections: list[Connection] = connections) -> None:
            await connections[worker].sign(request)

        await measure(requests[:WARM_UP], sign, at_once=at_once)
        rates.append(await measure(requests[WARM_UP:], sign, at_once=at_once))
        for connection in connections:
            connection.close()
    return rates


if __name__ == "__main__":
    json.dump([rate.as_json() for rate in asyncio.run(load(json.load(sys.stdin)))], sys.stdout)
