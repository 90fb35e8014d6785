"""Mutations of the zoo's items, signed again under a CA of ours: the same ones for the same seed.

    for number in range(5000):
        mutant = make_mutant(seed, number)
        signerd, auditor = both(mutant.case)

About half have harmless changes alone: what was accepted must be accepted still. Of the others only this is
known, that signerd and the auditor say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec

from boards.attesters.certificate_writer import Key, spki_of
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import CURVES, Tpm2Attester
from boards.attesters.x509 import X509Attester
from harness import mutated_csrs, mutated_tokens, zoo
from harness.both_sides import Case, product_text, transcript_of
from harness.chain_edits import Chain, Mutation
from harness.harmless_mutations import HARMLESS, alternative_names, serial
from harness.mutated_tokens import Made
from harness.other_mutations import OTHERS
from harness.rebuilt import build, key_of, template_of
from harness.zoo import BOARD_KEY, Item, certificate, csr_of, section_for
from signerd.core.evidence.method import IdentityKey

_HARMLESS_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Mutant:
    """A case, whether it must be accepted, and whether it has one flaw at most."""

    case: Case
    right: bool
    one_flaw: bool  # at most: both then have the same reason


def make_mutant(seed: int, number: int) -> Mutant:
    """The mutant of this number."""
    rng = Random(f"{seed}:{number}")
    make = rng.choices([make for make, _ in _MAKERS], [weight for _, weight in _MAKERS])[0]
    return make(rng, f"seed {seed}, number {number}")


@cache
def _sources() -> list[tuple[Item, Chain]]:
    """Chains of the zoo, genuine ones taken apart."""
    found = []
    for item in zoo.silicon():
        if item.method not in {"x509", "tpm2"}:
            continue
        if item.templates():
            found.append((item, item.templates()))
        else:
            names = [item.description["root"], *reversed(item.description["certificates"])]
            found.append(
                (item, [template_of(certificate(zoo.FOLDER / item.folder / each)) for each in names])
            )
    return found


def _chain(rng: Random, story: str) -> Mutant:
    item, templates = rng.choice(_sources())
    harmless = rng.random() < _HARMLESS_SHARE
    mutations = [rng.choice(HARMLESS) for _ in range(rng.choice((0, 1, 2, 3)))]
    others = 0 if harmless else rng.choice((1, 1, 1, 2))
    mutations += [rng.choice(OTHERS) for _ in range(others)]
    chain = list(templates)
    for mutation in mutations:
        chain = mutation(rng, chain)
    told = ", ".join(mutation.__name__ for mutation in mutations)
    spare = rng.random() < 0.01
    case = _case(item, chain, f"{story}: {item}: {told}", spare=spare)
    right = harmless and item.accepted and not spare and not _touches_the_name(item, mutations)
    return Mutant(case, right, one_flaw=right or (harmless and not spare))


def _touches_the_name(item: Item, mutations: Sequence[Mutation]) -> bool:
    """True if the chip id stands where one of these writes something else."""
    rules = item.description.get("rules", "")
    return ("certificate-serial" in rules and serial in mutations) or (
        "san-" in rules and alternative_names in mutations
    )


def _case(item: Item, templates: Chain, story: str, *, spare: bool) -> Case:
    made = build(templates)
    key = made.key
    born = item.description.get("csr") == "leaf" and isinstance(key, ec.EllipticCurvePrivateKey)
    board = key if born else key_of("p256", BOARD_KEY)
    csr, spki = csr_of(board)
    certificates = list(made.certificates)
    if spare:
        certificates.append(made.root)
    transcript = transcript_of(item.chip_id, csr)
    attester = _attester(item, key, certificates)
    return Case(
        method=item.method,
        product=product_text(item.method, section_for(item, made.root)),
        chip_id=item.chip_id,
        csr=csr,
        spki=spki,
        evidence=attester.attest(transcript, csr),
        attester=spki_of(key),
        story=story,
    )


def _attester(item: Item, key: Key, certificates: Sequence[bytes]) -> X509Attester | Tpm2Attester:
    if item.method == "x509":
        return X509Attester(key, tuple(certificates))
    ak = key if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES else None
    return Tpm2Attester(item.chip_id, ak or _other_ak(), tuple(certificates), "ecdsa")


def _other_ak() -> ec.EllipticCurvePrivateKey:
    """Signs where the certified key is of no type that a TPM signs with: in vain."""
    key = key_of("p256", BOARD_KEY)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _imported(
    method: str, section: str, chip_id: str, made: Made, csr: tuple[bytes, bytes], story: str
) -> Mutant:
    case = Case(
        method=method,
        product=product_text(method, section),
        chip_id=chip_id,
        csr=csr[0],
        spki=csr[1],
        evidence=made.evidence,
        identity=IdentityKey(made.key_id, made.attester),
        attester=made.attester,
        story=f"{story}: {method}: {made.told}",
    )
    return Mutant(case, made.right, one_flaw=made.right)


@cache
def _board() -> tuple[bytes, bytes]:
    return csr_of(key_of("p256", BOARD_KEY))


def _psa(rng: Random, story: str) -> Mutant:
    made = mutated_tokens.psa(rng, transcript_of("psa-0001", _board()[0]))
    return _imported("psa-token", PsaVendor().product_section(), "psa-0001", made, _board(), story)


def _nrf91(rng: Random, story: str) -> Mutant:
    made = mutated_tokens.modem(rng, transcript_of(str(_MODEM), _board()[0]), _board()[0], _MODEM)
    return _imported("nrf91", Nrf91Vendor().product_section(), str(_MODEM), made, _board(), story)


def _tpm(rng: Random, story: str) -> Mutant:
    made = mutated_tokens.tpm(rng, transcript_of("TPM-0001", _board()[0]), _board()[0])
    return _imported("tpm2", "[evidence.tpm2]\nroots = []\n", "TPM-0001", made, _board(), story)


def _csr(rng: Random, story: str) -> Mutant:
    data, right, told = mutated_csrs.csr(rng)
    return Mutant(Case("csr", "", "", data, b"", b"", story=f"{story}: csr: {told}"), right, one_flaw=False)


_MODEM = UUID("50363154-3931-44f0-8022-121b6401627d")
_MAKERS: tuple[tuple[Callable[[Random, str], Mutant], int], ...] = (
    (_chain, 55),
    (_csr, 15),
    (_tpm, 12),
    (_psa, 10),
    (_nrf91, 8),
)
