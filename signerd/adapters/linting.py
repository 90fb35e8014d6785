"""The full linter, for the sample of a product that is being added and for an order that is rehearsed.

pkilint takes seconds and a hundred megabytes, so it runs in a process of its own and never enters signerd.
The key holder's own rules are asked too: a product whose certificates it would refuse is refused here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters.keyholder.guard import Authority, Guard, Limits, SigningRefusedError
from signerd.core.key_policy import PublicKey
from signerd.core.product import Product
from signerd.core.profile import Issuer
from signerd.core.sample import Sampled, one_a_family, sample_key, sample_of, stand_in
from signerd.errors import Code, Fault, Refused

DEADLINE_S = 120.0
MAX_CREDENTIAL_BYTES = 16_384  # certificate and chain, as boards store them (docs/board-protocol.md)
_ITEM_OVERHEAD = 8  # bytes of CBOR around each, and its part of what is around all
_COMMAND = (sys.executable, "-I", "-m", "signerd.adapters.full_linter")
_ERRORS = {"ERROR", "FATAL"}
# The linter takes URLs alone for URIs, and names with a dot alone for DNS names. RFC 5280 §4.2.1.6 also
# allows URNs and single labels, which boards do have. What comes this far has passed our own checks of both.
_OURS_TO_JUDGE = {"pkix.invalid_uri_syntax", "pkix.invalid_domain_name_syntax"}
# The key of a sample says nothing but its type, and an RSA key takes up to a second.
key_of = lru_cache(maxsize=None)(sample_key)


class SampleLinter:
    """Lints what boards would get."""

    def __init__(
        self,
        issuer_of: Callable[[str], Issuer],
        *,
        max_validity: timedelta,
        allow_no_expiry: bool,
        clock: Callable[[], datetime],
    ) -> None:
        """`issuer_of` gives who issues for a CA now, or raises Refused or Unavailable."""
        self._issuer_of = issuer_of
        self._clock = clock
        self._limits = Limits(max_validity, allow_no_expiry)
        self._stand_ins: dict[bytes, tuple[Issuer, Guard]] = {}  # by the issuer's certificate

    async def lint(self, product: Product) -> list[str]:
        """What the linter says below an error of a product's sample, a line each.

        Raises:
            Refused: `invalid`: the profile gives no certificate, or one that the linter or the key holder
                refuses; or there is no such CA.
            Unavailable: nobody issues for the product's CA.
            Fault: the linter does not run.
        """
        try:
            product.certificate.check_written()
        except ValueError as error:
            raise Refused(Code.INVALID, str(error)) from error
        now = self._clock().replace(microsecond=0)
        families = one_a_family(product.keys.accept)
        samples = await asyncio.to_thread(
            lambda: [sample_of(product, key_of(key_type), now) for key_type in families]
        )
        return await self.lint_samples(samples)

    async def lint_samples(self, samples: Sequence[Sampled]) -> list[str]:
        """The same of boards that somebody thought of, each looked at as if it were its place's moment."""
        certificates = await asyncio.to_thread(lambda: [self._certificate(sample) for sample in samples])
        errors: dict[str, None] = {}
        notes: dict[str, None] = {}
        for sample, findings in zip(samples, await _pkilint(certificates), strict=True):
            for severity, text in findings:
                (errors if severity in _ERRORS else notes)[f"{_family(sample.key)}: {text}"] = None
        if errors:
            raise Refused(Code.INVALID, f"the linter finds: {'; '.join(errors)}")
        return list(notes)

    def _certificate(self, sample: Sampled) -> bytes:
        issuer, guard = self._stand_in(self._issuer_of(sample.product.certificate.ca))
        try:
            certificate = sample.certificate(issuer)
            tbs = x509.load_der_x509_certificate(certificate).tbs_certificate_bytes
            guard.check_certificate(tbs, sample.place.moment)
        except (ValueError, Fault) as error:
            raise Refused(Code.INVALID, f"no certificate can be made by this profile: {error}") from error
        except SigningRefusedError as error:
            raise Refused(Code.INVALID, f"the key holder would refuse its certificates: {error}") from error
        size = sum(len(each) + _ITEM_OVERHEAD for each in (certificate, *issuer.chain))
        if size > MAX_CREDENTIAL_BYTES:
            raise Refused(
                Code.INVALID,
                f"certificate and chain have {size} bytes, and a board stores at most {MAX_CREDENTIAL_BYTES}:"
                " shorten the names, or take a shorter chain",
            )
        return certificate

    def _stand_in(self, issuer: Issuer) -> tuple[Issuer, Guard]:
        der = issuer.chain[0]
        if der not in self._stand_ins:
            standing = stand_in(issuer)
            authority = Authority.from_certificate(standing.certificate.public_bytes(Encoding.DER))
            self._stand_ins[der] = standing, Guard(authority, self._limits, None)
        return self._stand_ins[der]


def _family(key: PublicKey) -> str:
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "ec"


async def _pkilint(certificates: Sequence[bytes]) -> list[list[tuple[str, str]]]:
    """`(severity, text)` of each finding, for each certificate."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
    )
    asked = json.dumps([base64.b64encode(der).decode("ascii") for der in certificates])
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate(asked.encode("ascii"))
    except TimeoutError as error:
        raise Fault(f"the linter did not end within {DEADLINE_S} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        return [[_finding(item) for item in findings] for findings in json.loads(output)]
    except (ValueError, KeyError, TypeError) as error:
        said = errors.decode(errors="replace").strip()[-500:]
        raise Fault(f"the linter ended with {process.returncode} and no report: {said}") from error


def _finding(item: dict[str, Any]) -> tuple[str, str]:
    severity = "NOTICE" if item["code"] in _OURS_TO_JUDGE else item["severity"]
    text = f"{severity} {item['code']} at {item['path']}"
    return severity, f"{text}: {item['message']}" if item["message"] else text
