"""How fast the token signs: alone in a loop, and through the key holder as signerd uses it.

Reads its job as JSON from standard input, writes its result as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from cryptography import x509

from bench.timing import measure
from signerd import config as configuration
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_for
from signerd.adapters.keyholder.token import Token
from signerd.adapters.pin import read_pin

RAW_SIGNATURES = 5000
WARM_UP = 200


def raw_per_s(config: configuration.Config, pin: str) -> float:
    """Signatures a second by the sub-CA's key, one after another, nothing around them."""
    os.environ.update(config.hsm.environment)
    key = Token.open(str(config.hsm.module), config.hsm.token, pin).ca_key(config.hsm.ca_key)
    messages = [number.to_bytes(4, "big") * 100 for number in range(RAW_SIGNATURES)]
    begun = time.perf_counter()
    for message in messages:
        key.sign(message)
    return RAW_SIGNATURES / (time.perf_counter() - begun)


async def key_holder(config: configuration.Config, pin: bytes, tbs: bytes) -> list[dict[str, Any]]:
    """The same through a key holder, its own look at each certificate included."""
    pool = KeyHolderPool(settings_for(config), config.hsm.key_holders, on_change=lambda: None)
    await pool.start(pin)

    async def sign(message: bytes, _worker: int) -> None:
        await pool.sign_certificate(message)

    rates = []
    for at_once, operations in ((1, 1000), (16, 4000), (64, 4000)):
        await measure([tbs] * WARM_UP, sign, at_once=at_once)
        rates.append((await measure([tbs] * operations, sign, at_once=at_once)).as_json())
    await pool.stop()
    return rates


def main() -> None:
    """Measures both."""
    job = json.load(sys.stdin)
    path = Path(job["config"])
    config = configuration.load(path)
    pin = read_pin(config.hsm.pin, path.parent)
    tbs = x509.load_der_x509_certificate(bytes.fromhex(job["certificate"])).tbs_certificate_bytes
    # The key holder first: it is a process of its own, and this one has no module loaded yet.
    through = asyncio.run(key_holder(config, bytes(pin), tbs))
    json.dump({"key_holder": through, "raw_per_s": round(raw_per_s(config, pin.decode()))}, sys.stdout)


if __name__ == "__main__":
    main()
