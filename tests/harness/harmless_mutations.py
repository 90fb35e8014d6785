"""Mutations of a chain that change nothing which the verdict rests on: what was accepted stays so.

docs/formats.md, "Evidence transcript", says on what it rests.
"""

from __future__ import annotations

from random import Random

from boards.attesters.certificate_writer import integer, oid, tlv
from harness.chain_edits import SAN, TRUE, Chain, Mutation, place, put, with_fields, without
from harness.rebuilt import members, name


def serial(rng: Random, chain: Chain) -> Chain:
    """Another positive one, up to 20 octets."""
    value = rng.getrandbits(rng.choice((1, 7, 8, 64, 159))) | 1
    return with_fields(chain, place(rng, chain, 0), serial=integer(value)[2:])


def key_type(rng: Random, chain: Chain) -> Chain:
    """Another key, and what goes with it."""
    number = place(rng, chain, 0)
    if number == len(chain) - 1 and chain[number].key != "p256":
        return chain
    kinds = ("p256", "p384") if number == len(chain) - 1 else ("p256", "p384", "p521", "ed25519", "rsa2048")
    return with_fields(chain, number, key=rng.choice(kinds))


def signature_hash(rng: Random, chain: Chain) -> Chain:
    """SHA-256, SHA-384 or SHA-512."""
    return with_fields(chain, place(rng, chain, 0), hash=rng.choice(("sha256", "sha384", "sha512")))


def unknown_extension(rng: Random, chain: Chain) -> Chain:
    """Not critical, with a value that nobody reads."""
    number = place(rng, chain)
    dotted = f"1.3.6.1.4.1.99999.{rng.randrange(1 << 20)}"
    at = rng.randrange(len(chain[number].extensions) + 1)
    return put(chain, number, (dotted, b"", rng.randbytes(rng.randrange(40))), at=at)


def alternative_names(rng: Random, chain: Chain) -> Chain:
    """Of any form, also of none: nothing rests on it here."""
    number = place(rng, chain)
    values = (
        tlv(0x30, tlv(0xA4, name(["serialNumber=printable:eui48_0001"]))),
        tlv(0x30, tlv(0xA0, oid("1.2.3"), tlv(0xA0, tlv(0x0C, b"x")))),
        tlv(0x30, tlv(0x82, b"under_score.example")),
        rng.randbytes(rng.randrange(20)),
    )
    return put(without(chain, number, SAN), number, (SAN, b"", rng.choice(values)))


def order_of_extensions(rng: Random, chain: Chain) -> Chain:
    """Any."""
    number = place(rng, chain, 0)
    return with_fields(
        chain, number, extensions=tuple(rng.sample(chain[number].extensions, len(chain[number].extensions)))
    )


def kind_of_time(rng: Random, chain: Chain) -> Chain:
    """GeneralizedTime where RFC 5280 wants UTCTime, as chips' makers write it."""
    number = place(rng, chain)
    times = {}
    for member in ("not_before", "not_after"):
        text: bytes = getattr(chain[number], member)
        if len(text) == 13 and rng.random() < 0.7:
            times[member] = (b"20" if text < b"50" else b"19") + text
    return with_fields(chain, number, **times)


def policies(rng: Random, chain: Chain) -> Chain:
    """certificatePolicies, critical or not: the path serves any."""
    number = place(rng, chain)
    value = tlv(0x30, tlv(0x30, oid(rng.choice(("2.5.29.32.0", "1.2.276.0.68.1.20.1", "2.23.133.11.1.1")))))
    return put(without(chain, number, "2.5.29.32"), number, ("2.5.29.32", rng.choice((b"", TRUE)), value))


def key_identifiers(rng: Random, chain: Chain) -> Chain:
    """Absent, or others than the keys'."""
    number = place(rng, chain)
    chain = without(chain, number, "2.5.29.14", "2.5.29.35")
    if rng.random() < 0.5:
        return chain
    return put(chain, number, ("2.5.29.14", b"", tlv(0x04, rng.randbytes(20))))


def other_attribute(rng: Random, chain: Chain) -> Chain:
    """One more in a name, of any string type, with characters that the type has not."""
    number = place(rng, chain, 0)
    tag = rng.choice(("utf8", "printable", "t61", "ia5"))
    value = rng.choice(("Under_Score", "a@b", "*", "Zürich" if tag == "utf8" else "Zurich", "x" * 80, "x"))
    extra = members(name([f"{rng.choice(('OU', 'L', '1.2.3.4'))}={tag}:{value}"]))
    return with_fields(chain, number, subject=tlv(0x30, *members(chain[number].subject), *extra))


HARMLESS: tuple[Mutation, ...] = (
    *(serial, key_type, signature_hash, unknown_extension, alternative_names, order_of_extensions),
    *(kind_of_time, policies, key_identifiers, other_attribute),
)
