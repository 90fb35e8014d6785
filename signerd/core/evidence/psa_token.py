"""Method `psa-token`: what a PSA platform's root of trust says of itself and of what it booted (RFC 9783).

The nonce is SHA-256(transcript), so the token is of this session and over this CSR. Who signed:

- COSE_Sign1: the initial attestation key that was imported for this chip, whose instance id the token must
  name. How an instance id follows from the key is left open by §4.2.1 and is not computed here; the import
  binds chip, instance id and key, each of them once.
- COSE_Mac0: a key that a trusted personalization burned, derived from the chip id. Only the key holder can
  check it. Where a key was imported for the chip, that is its one attestation key, and a MAC is refused.

Level `key` needs firmware that the product accepts: each component that the token lists is an accepted
measurement, and each component that the product names is listed. Other genuine tokens reach `chip`. With a
MAC the chip must also have been locked when it was personalized: before the lock anyone could run what reads
the symmetric key out of the secure world, and who has it can claim any measurement. For an imported key
whoever made the list answers for that, as for the implementation ids that the product accepts.

A token speaks for firmware as it was loaded. Any client of the secure world may ask for one (client id,
§4.1.2: negative from the non-secure side, positive from the secure one), so all that was booted vouches for
the CSR: a product whose application asks from the non-secure side must name it among its measurements, or
name the secure callers that count (`client_ids`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.evidence.cbor_items import CborItemError, Item, Key, read_item
from signerd.core.evidence.cose import CoseError, Mac0, Sign1, mac_structure, read_message, verify_sign1
from signerd.core.evidence.method import (
    Entered,
    EvidenceError,
    IdentityKey,
    Origin,
    Proved,
    ProvedIfMac,
    Request,
    Traits,
    Trust,
)
from signerd.core.evidence.rules import (
    HASH_BYTES,
    IMPLEMENTATION_ID_BYTES,
    EvidenceRules,
    PsaTokenRules,
    SignedMeasurement,
    describe_measured,
)
from signerd.core.names import Level, MacKey, MacQuestion

_UEID_BYTES = 33
_UEID_RAND = 0x01  # RFC 9711 §4.2.1
_CLIENT_ID_LIMIT = 2**31
_SECURED = range(0x3000, 0x3100)  # the low byte is the implementation's (§4.3.1)
_MAX_INDICATOR = 2048  # characters; a URL, and a hint that nothing here follows
_NO_MEASUREMENTS = 1  # the one value of that claim (draft-tschofenig-rats-psa-token-07)
_EAN_13_AND_5 = re.compile(r"[0-9]{13}-[0-9]{5}")  # §4.2.3
_OLD_EAN_13 = re.compile(r"[0-9]{13}(?:-?[0-9]{5})?")  # before; TF-M has no dash in it

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Profile:
    """Claim keys and forms where profiles differ (§4.6)."""

    name: str
    profile: int
    nonce: int
    instance_id: int
    client_id: int
    lifecycle: int
    implementation_id: int
    boot_seed: tuple[int, ...]  # the first one found counts, two are refused
    boot_seed_bytes: range
    boot_seed_required: bool
    certification: int
    certification_form: re.Pattern[str]
    components: int
    no_measurements: int | None
    indicator: int

    @property
    def keys(self) -> frozenset[int]:
        """All claim keys of the profile."""
        rare = () if self.no_measurements is None else (self.no_measurements,)
        return frozenset(
            {
                *(self.profile, self.nonce, self.instance_id, self.client_id, self.lifecycle),
                *(self.implementation_id, self.certification, self.components, self.indicator),
                *self.boot_seed,
                *rare,
            }
        )


def _current(name: str, boot_seed: tuple[int, ...], certification_form: re.Pattern[str]) -> _Profile:
    return _Profile(
        name=name,
        profile=265,
        nonce=10,
        instance_id=256,
        client_id=2394,
        lifecycle=2395,
        implementation_id=2396,
        boot_seed=boot_seed,
        boot_seed_bytes=range(8, 33),
        boot_seed_required=False,
        certification=2398,
        certification_form=certification_form,
        components=2399,
        no_measurements=None,
        indicator=2400,
    )


_PROFILES = (
    _current("tag:psacertified.org,2023:psa#tfm", (268,), _EAN_13_AND_5),
    # The drafts before the RFC, and TF-M: the boot seed had a number of its own before it got EAT's.
    _current("http://arm.com/psa/2.0.0", (2397, 268), _OLD_EAN_13),
    _Profile(
        name="PSA_IOT_PROFILE_1",
        profile=-75000,
        nonce=-75008,
        instance_id=-75009,
        client_id=-75001,
        lifecycle=-75002,
        implementation_id=-75003,
        boot_seed=(-75004,),
        boot_seed_bytes=range(32, 33),
        boot_seed_required=True,
        certification=-75005,
        certification_form=_OLD_EAN_13,
        components=-75006,
        no_measurements=-75007,
        indicator=-75010,
    ),
)
_KNOWN_KEYS = frozenset[int]().union(*(profile.keys for profile in _PROFILES))


@dataclass(frozen=True, slots=True)
class Component:
    """One software component as the boot loader measured it (§4.4.1)."""

    measurement: bytes
    signer: bytes


@dataclass(frozen=True, slots=True)
class PsaClaims:
    """A claims-set whose claims are all of their form. That they are true is not said."""

    nonce: bytes
    instance_id: bytes
    implementation_id: bytes
    client_id: int  # who asked: positive a secure partition, negative the non-secure side (§4.1.2)
    lifecycle: int
    components: tuple[Component, ...]  # empty: a boot loader that measures nothing


def _describe(rules: EvidenceRules) -> str:
    section = rules.psa_token
    assert section is not None  # noqa: S101 - rules with the method have the section
    ids = ", ".join(one.hex() for one in section.implementation_ids)
    firmware = describe_measured(section.measurements)
    return f"{firmware}; keys imported by chip, or derived; implementations {ids}"


class PsaToken:
    """PSA attestation tokens, signed or MACed."""

    name = "psa-token"
    traits = Traits(
        origin=lambda _rules: Origin.COMPANY,
        entered=frozenset({Entered.PERSONALIZED, Entered.IMPORTED}),
        anchors=frozenset({AnchorKind.KEY, AnchorKind.IMPORTED, AnchorKind.PERSONALIZED}),
        describe=_describe,
        shortfall=(
            "it shows firmware that the product does not accept, or a MAC of a chip that was not locked"
        ),
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved | ProvedIfMac:
        """`key` for accepted firmware, else `chip`; see the module."""
        nonce = hashlib.sha256(request.transcript).digest()
        return verify_token(evidence, nonce=nonce, chip_id=request.chip_id, trust=trust)


def verify_token(evidence: bytes, *, nonce: bytes, chip_id: str, trust: Trust) -> Proved | ProvedIfMac:
    """What a token with this nonce reaches.

    Raises:
        EvidenceError: it does not hold.
    """
    rules = trust.rules.psa_token
    if rules is None:
        raise EvidenceError("the product has no rules for PSA tokens")
    try:
        message = read_message(evidence)
        if message.kid is not None:
            # The instance id names the key (§5.2); whoever carries a key id could change it.
            raise EvidenceError("the unprotected header is not empty")
        if isinstance(message, Sign1):
            return _signed(message, nonce, trust.identity, rules)
        return _maced(message, nonce, chip_id, trust, rules)
    except CoseError as error:
        raise EvidenceError(str(error)) from error


def _signed(message: Sign1, nonce: bytes, identity: IdentityKey | None, rules: PsaTokenRules) -> Proved:
    if identity is None:
        raise EvidenceError("no attestation key was imported for the chip")
    # First of all: nothing that this key did not sign is looked into.
    verify_sign1(message, identity.spki)
    claims = read_claims(message.payload)
    _check(claims, nonce, rules)
    if claims.instance_id != identity.key_id:
        raise EvidenceError("the instance id is not that of the imported key")
    measured = measured_firmware(claims, rules)
    return Proved(Level.KEY if measured else Level.CHIP, measured, identity.spki, identity.anchors)


def _maced(message: Mac0, nonce: bytes, chip_id: str, trust: Trust, rules: PsaTokenRules) -> ProvedIfMac:
    if not trust.personalized:
        raise EvidenceError("the chip was never personalized")
    if trust.identity is not None:
        raise EvidenceError("a MAC of a chip whose attestation key is a public one")
    claims = read_claims(message.payload)
    _check(claims, nonce, rules)
    measured = measured_firmware(claims, rules) if trust.locked else {}
    return ProvedIfMac(
        Proved(Level.KEY if measured else Level.CHIP, measured, anchors=(Anchor.personalized(chip_id),)),
        MacQuestion(
            chip_id, MacKey.PSA_IAK, message.algorithm.hash_name, mac_structure(message), message.tag
        ),
    )


def _check(claims: PsaClaims, nonce: bytes, rules: PsaTokenRules) -> None:
    if claims.nonce != nonce:
        raise EvidenceError("the nonce is another one")
    check_platform(claims, rules)


def check_platform(claims: PsaClaims, rules: PsaTokenRules) -> None:
    """That the chip is locked, and of a make that the product accepts. Raises EvidenceError."""
    # §4.3.1 would also trust non-PSA-RoT debug: there the firmware that makes the key can be looked into.
    if claims.lifecycle not in _SECURED:
        raise EvidenceError("the lifecycle is not secured")
    if claims.implementation_id not in rules.implementation_ids:
        raise EvidenceError("the product does not accept this implementation id")


def measured_firmware(claims: PsaClaims, rules: PsaTokenRules) -> dict[str, str]:
    """Component -> version, if accepted firmware and an accepted caller speak here, else nothing."""
    if rules.client_ids and claims.client_id not in rules.client_ids:
        return {}
    return accepted_firmware(claims.components, rules.measurements)


def accepted_firmware(
    components: Iterable[Component], accepted: Sequence[SignedMeasurement]
) -> dict[str, str]:
    """Component -> version if all firmware is accepted and all that is accepted is there, else nothing.

    A measurement that fits two states, or a component that was measured twice, says nothing certain: nothing.
    """
    measured: dict[str, str] = {}
    for component in components:
        states = {
            (one.component, one.version)
            for one in accepted
            if one.digest == component.measurement and one.signer in (None, component.signer)
        }
        if len(states) != 1:
            return {}
        ((name, version),) = states
        if name in measured:
            return {}
        measured[name] = version
    return measured if measured.keys() == {one.component for one in accepted} else {}


def read_claims(payload: bytes | None) -> PsaClaims:
    """Reads a claims-set in one of the three profiles.

    Unknown claims are passed over (§5.1.3), but not those of another profile: which of two values counts
    must not depend on the reader. Heads need not be of the shortest form (§5.1.1): the payload is signed.

    Raises:
        EvidenceError: it is none, or a claim is missing or not of its form.
    """
    if payload is None:
        raise EvidenceError("a token without claims")
    try:
        claims = read_item(payload, shortest=False)
    except CborItemError as error:
        raise EvidenceError(f"claims: {error}") from error
    if not isinstance(claims, dict):
        raise EvidenceError("the claims are not a map")
    profile = _profile_of(claims)
    if not claims.keys().isdisjoint(_KNOWN_KEYS - profile.keys):
        raise EvidenceError("claims of two profiles in one token")
    _boot_seed(claims, profile)
    if profile.certification in claims:
        _required(
            claims, profile.certification, _text_of(profile.certification_form), "certification reference"
        )
    if profile.indicator in claims:
        _required(claims, profile.indicator, _indicator, "verification service indicator")
    return PsaClaims(
        nonce=_required(claims, profile.nonce, _hash, "nonce"),
        instance_id=_required(claims, profile.instance_id, _instance_id, "instance id"),
        implementation_id=_required(
            claims, profile.implementation_id, _implementation_id, "implementation id"
        ),
        client_id=_required(claims, profile.client_id, _client_id, "client id"),
        lifecycle=_required(claims, profile.lifecycle, _lifecycle, "lifecycle"),
        components=_components(claims, profile),
    )


def _profile_of(claims: dict[Key, Item]) -> _Profile:
    for profile in _PROFILES:
        if claims.get(profile.profile) == profile.name:
            return profile
    raise EvidenceError("no profile that is known")


def _boot_seed(claims: dict[Key, Item], profile: _Profile) -> None:
    found = [key for key in profile.boot_seed if key in claims]
    if len(found) > 1 or (profile.boot_seed_required and not found):
        raise EvidenceError("no boot seed, or two")
    for key in found:
        match claims[key]:
            case bytes(seed) if len(seed) in profile.boot_seed_bytes:
                pass
            case _:
                raise EvidenceError("the boot seed is not of its form")


def _components(claims: dict[Key, Item], profile: _Profile) -> tuple[Component, ...]:
    if profile.no_measurements is not None and profile.no_measurements in claims:
        no_measurements = claims[profile.no_measurements]
        if type(no_measurements) is not int or no_measurements != _NO_MEASUREMENTS:
            raise EvidenceError("no software measurements: not of its form")
        if profile.components in claims:
            raise EvidenceError("both software components and no measurements of them")
        return ()
    return _required(claims, profile.components, _component_list, "software components")


def _required(claims: dict[Key, Item], key: int, form: Callable[[Item], T | None], what: str) -> T:
    """The claim, as `form` reads it; `form` gives None for what is not of the form, also for no claim."""
    value = form(claims.get(key))
    if value is None:
        raise EvidenceError(f"{what}: missing or not of its form")
    return value


def _hash(item: Item) -> bytes | None:
    return item if isinstance(item, bytes) and len(item) in HASH_BYTES else None


def _instance_id(item: Item) -> bytes | None:
    return item if isinstance(item, bytes) and len(item) == _UEID_BYTES and item[0] == _UEID_RAND else None


def _implementation_id(item: Item) -> bytes | None:
    return item if isinstance(item, bytes) and len(item) == IMPLEMENTATION_ID_BYTES else None


def _client_id(item: Item) -> int | None:
    return item if type(item) is int and item != 0 and -_CLIENT_ID_LIMIT <= item < _CLIENT_ID_LIMIT else None


def _lifecycle(item: Item) -> int | None:
    return item if type(item) is int and 0 <= item <= 0xFFFF else None


def _text_of(form: re.Pattern[str]) -> Callable[[Item], str | None]:
    return lambda item: item if isinstance(item, str) and form.fullmatch(item) else None


def _indicator(item: Item) -> str | None:
    return item if isinstance(item, str) and 0 < len(item) <= _MAX_INDICATOR else None


def _component_list(item: Item) -> tuple[Component, ...] | None:
    if not isinstance(item, list):
        return None
    components = tuple(component for one in item if (component := _component(one)) is not None)
    # One that is not of its form is not passed over: it may be the one that is not accepted.
    return components if components and len(components) == len(item) else None


def _component(item: Item) -> Component | None:
    if not isinstance(item, dict):
        return None
    measurement, signer = _hash(item.get(2)), _hash(item.get(5))
    # Type, version and description are the signer's words; the measurement alone is compared.
    texts = (item[key] for key in (1, 4, 6) if key in item)
    if measurement is None or signer is None or not all(isinstance(text, str) for text in texts):
        return None
    return Component(measurement, signer)
