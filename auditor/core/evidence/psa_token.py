"""Method `psa-token`: a PSA attestation token (RFC 9783), COSE_Sign1 or COSE_Mac0, over SHA-256(transcript).

A token is of one of three profiles: RFC 9783's, TF-M's before it, which has the same claim numbers but for
the boot seed, and PSA_IOT_PROFILE_1. Claims that decide nothing (boot seed, certification reference,
verification service) have their form all the same, and none stands beside those of another profile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from auditor.core import cose
from auditor.core.anchors import imported, personalized
from auditor.core.books import Basis
from auditor.core.counting import identities
from auditor.core.evidence.appraisal import MAX_EVIDENCE, AppraisalInputs, AttestationResult, false
from auditor.core.evidence.attestation_key import load_key
from auditor.core.product import Measurement
from auditor.errors import Malformed

_SECURED = range(0x3000, 0x3100)  # RFC 9783 §4.3.1
_HASHES = frozenset({32, 48, 64})  # bytes: psa-hash-type, RFC 9783 §4
_CLIENTS = (range(-(2**31), 0), range(1, 2**31))  # of the non-secure side and of the secure one, §4.1.2
_INSTANCE_ID = 33  # bytes: EAT UEID of type RAND, 0x01 and 32 bytes (RFC 9783 §4.2.1)


@dataclass(frozen=True, slots=True)
class _Profile:
    """Claim numbers, and what differs in form."""

    name: str
    profile: int
    nonce: int
    instance: int
    client: int
    lifecycle: int
    implementation: int
    components: int
    no_measurements: int | None  # stands, with 1, where there are no components
    boot_seeds: tuple[int, ...]  # at most one of them stands in a token
    certification: int
    indicator: int
    seed_sizes: range = range(8, 33)  # RFC 9783 §4.3.2
    needs_seed: bool = False
    certificate: re.Pattern[str] = re.compile(r"[0-9]{13}(?:-?[0-9]{5})?")  # EAN-13, before RFC 9783 §4.2.3

    @property
    def numbers(self) -> frozenset[int]:
        """All of them."""
        named = (self.profile, self.nonce, self.instance, self.client, self.lifecycle, self.implementation)
        rare = (*self.boot_seeds, self.certification, self.indicator, *filter(None, [self.no_measurements]))
        return frozenset((*named, self.components, *rare))


_PROFILES = (
    _Profile(
        "tag:psacertified.org,2023:psa#tfm",
        265, 10, 256, 2394, 2395, 2396, 2399, None, (268,), 2398, 2400,
        certificate=re.compile(r"[0-9]{13}-[0-9]{5}"),
    ),
    _Profile(
        "http://arm.com/psa/2.0.0",
        265, 10, 256, 2394, 2395, 2396, 2399, None, (2397, 268), 2398, 2400,
    ),
    _Profile(
        "PSA_IOT_PROFILE_1",
        -75000, -75008, -75009, -75001, -75002, -75003, -75006, -75007, (-75004,), -75005, -75010,
        seed_sizes=range(32, 33), needs_seed=True,
    ),
)  # fmt: skip
_NUMBERS = frozenset[int]().union(*(profile.numbers for profile in _PROFILES))
_MAX_INDICATOR = 2048  # characters
_TEXTS = (1, 4, 6)  # type, version and description of a component, RFC 9783 §4.4.1


def check(inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
    """Level `key` where every component is accepted, each that the product names is there, and the caller is
    one that counts; else `chip`. Of a COSE_Mac0 everything but the MAC.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    try:
        message = cose.read_message(evidence, maximum=MAX_EVIDENCE)
        claims = cose.claims(message.payload)
        profile = _profile(claims)
        _check_what_decides_nothing(claims, profile)
        components = _components(claims, profile)
    except Malformed as error:
        raise false(f"psa-token: {error}") from error
    if message.unprotected:
        raise false("psa-token: parameters that nobody signed")
    if message.hash is None:
        _check_signed(message, inputs.attester)
    elif inputs.attester:
        raise false("psa-token: a MAC, although the record names a key that signed")
    _check_claims(claims, profile, inputs)
    callers = inputs.rules.client_ids
    counts = not callers or claims[profile.client] in callers
    versions = _accepted(components, inputs.rules.measurements["psa-token"]) if counts else {}
    level = "key" if versions else "chip"
    if message.hash is not None:
        anchors = personalized(inputs.chip_id)
        return AttestationResult(
            Basis.MAC, level, versions, anchors=anchors, rests_on=f"psa-iak-{message.hash}"
        )
    return AttestationResult(
        Basis.SIGNATURE,
        level,
        versions,
        inputs.attester,
        imported=True,
        key_id=claims[profile.instance],
        anchors=imported(inputs.attester, claims[profile.instance]),
        rests_on=identities("psa-token", inputs.product),
    )


def _check_signed(message: cose.Message, attester: bytes) -> None:
    key = load_key(attester)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not message.is_signed_by(key):
        raise false("psa-token: the attestation key did not sign it")


def _profile(claims: Mapping[Any, Any]) -> _Profile:
    for profile in _PROFILES:
        if claims.get(profile.profile) == profile.name:
            if (_NUMBERS - profile.numbers) & claims.keys():
                raise Malformed("claims of two profiles")
            return profile
    raise Malformed("no profile that is known here")


def _check_what_decides_nothing(claims: Mapping[Any, Any], profile: _Profile) -> None:
    seeds = [claims[number] for number in profile.boot_seeds if number in claims]
    if len(seeds) > 1 or (profile.needs_seed and not seeds):
        raise Malformed("no boot seed, or two")
    if not all(isinstance(seed, bytes) and len(seed) in profile.seed_sizes for seed in seeds):
        raise Malformed("a boot seed that is none")
    if profile.certification in claims:
        certificate = claims[profile.certification]
        if not isinstance(certificate, str) or not profile.certificate.fullmatch(certificate):
            raise Malformed("a certification reference that is none")
    if profile.indicator in claims:
        indicator = claims[profile.indicator]
        if not isinstance(indicator, str) or not 0 < len(indicator) <= _MAX_INDICATOR:
            raise Malformed("a verification service that is none")


def _check_claims(claims: Mapping[Any, Any], profile: _Profile, inputs: AppraisalInputs) -> None:
    instance = claims.get(profile.instance)
    if not isinstance(instance, bytes) or len(instance) != _INSTANCE_ID or instance[0] != 1:
        raise false("psa-token: no instance id")
    client = claims.get(profile.client)
    if type(client) is not int or not any(client in side for side in _CLIENTS):
        raise false("psa-token: no client id")
    nonce = sha256(inputs.transcript).digest()
    if claims.get(profile.nonce) != nonce:
        raise false(
            "psa-token: for another session, request or chip", nonce.hex(), _text(claims.get(profile.nonce))
        )
    implementation = claims.get(profile.implementation)
    if not isinstance(implementation, bytes) or implementation not in inputs.rules.implementation_ids:
        raise false(
            "psa-token: an implementation that the product does not accept",
            "",
            _text(implementation),
        )
    lifecycle = claims.get(profile.lifecycle)
    if type(lifecycle) is not int or lifecycle not in _SECURED:
        raise false("psa-token: the lifecycle is not secured", "0x3000 to 0x30ff", _text(lifecycle))


def _components(claims: Mapping[Any, Any], profile: _Profile) -> list[tuple[bytes, bytes]]:
    """Measurement and signer of each; none where a token of the old profile says that there are none."""
    none = claims.get(profile.no_measurements) if profile.no_measurements is not None else None
    if type(none) is int and none == 1 and profile.components not in claims:
        return []
    value = claims.get(profile.components)
    if not isinstance(value, list) or not value or profile.no_measurements in claims:
        raise Malformed("no software components, or both components and none")
    return [_component(item) for item in value]


def _component(item: Any) -> tuple[bytes, bytes]:
    match item:
        # Measurement value and signer id, RFC 9783 §4.4.1.
        case {2: bytes(value), 5: bytes(signer)} if {len(value), len(signer)} <= _HASHES:
            if all(isinstance(item[number], str) for number in _TEXTS if number in item):
                return value, signer
            raise Malformed("a component whose description is no text")
        case _:
            raise Malformed("a component without measurement and signer")


def _accepted(components: Sequence[tuple[bytes, bytes]], accepted: Sequence[Measurement]) -> dict[str, str]:
    """Component to version; empty unless all are accepted and all that the product names are there."""
    versions: dict[str, str] = {}
    for value, signer in components:
        meant = {
            (item.component, item.version)
            for item in accepted
            if item.digest == value and item.signer in {None, signer}
        }
        if len(meant) != 1:
            return {}
        component, version = meant.pop()
        if component in versions:
            return {}
        versions[component] = version
    return versions if versions.keys() == {item.component for item in accepted} else {}


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
