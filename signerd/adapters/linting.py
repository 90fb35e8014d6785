"""The full linter, for the sample of a product that is being added.

pkilint takes seconds and a hundred megabytes, so it runs in a process of its own and never enters signerd.
The key holder's own rules are asked too: a product whose certificates it would refuse is refused here.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters.keyholder.guard import Authority, Guard, Limits, SigningRefusedError
from signerd.core import note
from signerd.core.names import KeyType
from signerd.core.product import Product
from signerd.core.profile import Issuer
from signerd.core.sample import sample_tbs, signed_sample, stand_in
from signerd.errors import Code, Fault, Refused

DEADLINE_S = 120.0
_COMMAND = (
    sys.executable,
    "-I",
    "-m",
    "pkilint.bin.lint_pkix_cert",
    "lint",
    "--severity",
    "NOTICE",
    "--format",
    "JSON",
    "--document-format",
    "DER",
    "-",
)
_ERRORS = {"ERROR", "FATAL"}
# The linter takes URLs alone for URIs; RFC 5280 §4.2.1.6 also allows URNs (RFC 8141), which boards do have.
_URN = re.compile(r'"urn:[A-Za-z0-9][A-Za-z0-9-]{0,31}:[!-~]+"')


class SampleLinter:
    """Lints what a product's boards would get."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        max_validity: timedelta,
        allow_no_expiry: bool,
        log: note.VerifierKey,
        clock: Callable[[], datetime],
    ) -> None:
        self._issuer = stand_in(issuer)
        self._clock = clock
        authority = Authority.from_certificate(self._issuer.certificate.public_bytes(Encoding.DER))
        self._guard = Guard(authority, Limits(max_validity, allow_no_expiry), log)

    async def lint(self, product: Product) -> list[str]:
        """What the linter says below an error, a line each.

        Raises:
            Refused: `invalid`: the profile gives no certificate, or one that the linter or the key holder
                refuses.
            Fault: the linter does not run.
        """
        notes: list[str] = []
        for key_type in _one_a_family(product.keys.accept):
            certificate = await asyncio.to_thread(self._sample, product, key_type)
            findings = await _pkilint(certificate)
            errors = [text for severity, text in findings if severity in _ERRORS]
            if errors:
                raise Refused(Code.INVALID, f"the linter finds ({key_type}): " + "; ".join(errors))
            notes += [f"{key_type}: {text}" for _, text in findings]
        return notes

    def _sample(self, product: Product, key_type: KeyType) -> bytes:
        now = self._clock().replace(microsecond=0)
        try:
            tbs = sample_tbs(product, key_type, self._issuer, now)
            self._guard.check_certificate(tbs, now)
        except ValueError as error:
            raise Refused(Code.INVALID, f"the profile gives no certificate: {error}") from error
        except SigningRefusedError as error:
            raise Refused(Code.INVALID, f"the key holder would refuse its certificates: {error}") from error
        return signed_sample(tbs, self._issuer)


def _one_a_family(accepted: tuple[KeyType, ...]) -> list[KeyType]:
    """The preferred EC and the preferred RSA type: what a linter says depends on the family alone."""
    families: dict[bool, KeyType] = {}
    for key_type in accepted:
        families.setdefault(key_type.startswith("rsa"), key_type)
    return list(families.values())


async def _pkilint(certificate_der: bytes) -> list[tuple[str, str]]:
    """`(severity, text)` of each finding."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate(certificate_der)
    except TimeoutError as error:
        raise Fault(f"the linter did not end within {DEADLINE_S} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        results = json.loads(output)["results"]
        return [_finding(result, item) for result in results for item in result["finding_descriptions"]]
    except (ValueError, KeyError, TypeError) as error:
        said = errors.decode(errors="replace").strip()[-500:]
        raise Fault(f"the linter ended with {process.returncode} and no report: {said}") from error


def _finding(result: dict[str, Any], item: dict[str, Any]) -> tuple[str, str]:
    severity, message = item["severity"], item.get("message") or ""
    if item["code"] == "pkix.invalid_uri_syntax" and _URN.search(message):
        severity = "NOTICE"
    text = f"{severity} {item['code']} at {result['node_path']}"
    return severity, f"{text}: {message}" if message else text
