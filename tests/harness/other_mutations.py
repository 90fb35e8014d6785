"""Mutations of a chain of which only this is known, that signerd and the auditor must say the same."""

from __future__ import annotations

from random import Random

from boards.attesters.certificate_writer import integer, oid, tlv
from harness.chain_edits import (
    CONSTRAINTS,
    MULTI,
    PURPOSES,
    TCB,
    TRUE,
    UEID,
    USAGE,
    Chain,
    Mutation,
    place,
    put,
    set_value,
    value_of,
    with_fields,
    without,
)
from harness.rebuilt import members, name

_HASH_OIDS = ("2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3", "1.3.14.3.2.26")


def flipped(rng: Random, chain: Chain) -> Chain:
    """Some bytes of what is signed: changed, put in, left out or doubled."""

    count, seed = rng.choice((1, 1, 1, 2, 5)), rng.getrandbits(32)

    def mangle(tbs: bytes) -> bytes:
        inner, data = Random(seed), bytearray(tbs)
        for _ in range(count):
            at = inner.randrange(len(data))
            match inner.randrange(5):
                case 0:
                    data[at] ^= 1 << inner.randrange(8)
                case 1:
                    data[at] = inner.randrange(256)
                case 2:
                    del data[at]
                case 3:
                    data.insert(at, inner.randrange(256))
                case _:
                    data[at : at + 4] = data[at : at + 4] * 2
        return bytes(data)

    return with_fields(chain, place(rng, chain), mangle=mangle)


def extension_flipped(rng: Random, chain: Chain) -> Chain:
    """Bytes of one extension's value, or its `critical`."""
    number = place(rng, chain, 0)
    if not chain[number].extensions:
        return chain
    at = rng.randrange(len(chain[number].extensions))
    kind, critical, value = chain[number].extensions[at]
    if value in (b"ski", b"aki"):
        value = tlv(0x04, b"x")
    data = bytearray(value)
    for _ in range(rng.choice((1, 1, 2))):
        if data and rng.random() < 0.7:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif rng.random() < 0.5:
            data += rng.randbytes(1)
        else:
            del data[rng.randrange(len(data) + 1) :]
    if rng.random() < 0.2:
        critical = rng.choice(
            (b"", TRUE, tlv(0x01, b"\x00"), tlv(0x01, b"\x01"), tlv(0x01), tlv(0x02, b"\x01"))
        )
    extensions = list(chain[number].extensions)
    extensions[at] = (kind, critical, bytes(data))
    return with_fields(chain, number, extensions=tuple(extensions))


def constraints(rng: Random, chain: Chain) -> Chain:
    """basicConstraints of any kind."""
    values = (
        tlv(0x30),
        tlv(0x30, TRUE),
        tlv(0x30, tlv(0x01, b"\x00")),
        tlv(0x30, tlv(0x01, b"\x01")),
        tlv(0x30, TRUE, integer(rng.choice((0, 1, 2, 5, 200, 1 << 40, -1)))),
        tlv(0x30, integer(0)),
        tlv(0x30, TRUE, tlv(0x02)),
        tlv(0x30, TRUE, b"\x02\x02\x00\x01"),
        tlv(0x30, TRUE, TRUE),
        tlv(0x31, TRUE),
    )
    number = place(rng, chain, 0)
    if rng.random() < 0.2:
        return without(chain, number, CONSTRAINTS)
    return set_value(chain, number, CONSTRAINTS, rng.choice(values), rng.choice((b"", TRUE)))


def usage(rng: Random, chain: Chain) -> Chain:
    """keyUsage of any kind."""
    bits = rng.choice(
        (b"\x07\x80", b"\x02\x04", b"\x01\x06", b"\x02\x84", b"\x05\xa0", b"\x03\x88", b"\x00\x80")
    )
    odd = (
        b"",
        b"\x00",
        b"\x08\x80",
        b"\x07\x00",
        b"\x00\x00",
        b"\x07\x00\x80",
        b"\x07\xff",
        bytes(2) + b"\x80",
    )
    number = place(rng, chain, 0)
    if rng.random() < 0.2:
        return without(chain, number, USAGE)
    return set_value(
        chain, number, USAGE, tlv(0x03, rng.choice((bits, bits, rng.choice(odd)))), rng.choice((b"", TRUE))
    )


def purposes(rng: Random, chain: Chain) -> Chain:
    """extKeyUsage of any kind."""
    known = (
        "1.3.6.1.5.5.7.3.1",
        "1.3.6.1.5.5.7.3.2",
        "1.3.6.1.5.5.7.3.3",
        "2.5.29.37.0",
        "2.23.133.8.1",
        "2.23.133.8.3",
    )
    dice = tuple(f"2.23.133.5.4.100.{number}" for number in (6, 7, 8, 9, 12))
    chosen = rng.sample((*known, *dice), rng.choice((0, 1, 1, 1, 2)))
    value = tlv(0x30, *map(oid, chosen), *(map(oid, chosen) if rng.random() < 0.1 else ()))
    return set_value(chain, place(rng, chain, 0), PURPOSES, value, rng.choice((b"", TRUE)))


def forbidden_extension(rng: Random, chain: Chain) -> Chain:
    """Constraints that are not processed, and what is critical and unknown."""
    dotted, value = rng.choice(
        (
            ("2.5.29.30", tlv(0x30)),
            ("2.5.29.36", tlv(0x30, tlv(0x80, b"\x00"))),
            ("2.5.29.54", integer(0)),
            ("1.3.6.1.4.1.11129.2.1.24", tlv(0x30)),
            ("2.5.29.18", tlv(0x30)),
            ("1.2.3.4", b""),
            (UEID, tlv(0x30, tlv(0x04, b"\x01" + bytes(16)))),
        )
    )
    return put(chain, place(rng, chain, 0), (dotted, rng.choice((b"", TRUE, TRUE)), value))


def twice(rng: Random, chain: Chain) -> Chain:
    """An extension that appears twice."""
    number = place(rng, chain, 0)
    if not chain[number].extensions:
        return chain
    return put(chain, number, rng.choice(chain[number].extensions))


def times(rng: Random, chain: Chain) -> Chain:
    """Other windows, and what is no time."""
    texts = (
        *(b"201231235959Z", b"20261129120000Z", b"20261130120000Z", b"261128120000Z", b"20261228000000Z"),
        *(b"20260229000000Z", b"20301301000000Z", b"2030010100Z", b"203001010000Z", b"20300101000000"),
        *(
            b"20300101000000.5Z",
            b"20300101000000+0100",
            b"20300101000060Z",
            b"+2300101000000Z",
            b"00010101000000Z",
        ),
        *(
            b"",
            b"99991231235959Z",
            b"500101000000Z",
            b"491231235959Z",
            b"20480101000000Z",
            b"20300101 00000Z",
        ),
    )
    member = rng.choice(("not_before", "not_after"))
    return with_fields(chain, place(rng, chain, 0), **{member: rng.choice(texts)})


def version(rng: Random, chain: Chain) -> Chain:
    """v1, v2, v4, and a default that is written out."""
    number = place(rng, chain)
    if rng.random() < 0.3:
        return with_fields(chain, number, version=b"", extensions=())
    return with_fields(
        chain, number, version=rng.choice((b"", *(tlv(0xA0, integer(each)) for each in (0, 1, 3, -1))))
    )


def odd_serial(rng: Random, chain: Chain) -> Chain:
    """Zero, negative, padded, too long, empty."""
    contents = (
        b"\x00",
        b"\xff",
        b"\x80",
        b"\x00\x01",
        b"",
        b"\x7f" + bytes(20),
        b"\x00\x80",
        b"\x7f" * 20,
        b"\x00" + b"\xff" * 20,
    )
    return with_fields(chain, place(rng, chain), serial=rng.choice(contents))


def names_of_the_chip(rng: Random, chain: Chain) -> Chain:
    """The leaf's subject: twice the name, in other types, with other characters, with several in one RDN."""
    last = len(chain) - 1
    rdns = members(chain[last].subject)
    kind = rng.choice(("CN", "serialNumber"))
    tag = rng.choice(("utf8", "printable", "ia5", "t61", "bmp", "universal"))
    text = rng.choice(("CHIP-1", "chip 1", "", "CHIP_1", "CHIP-1\x00", "x" * 65, "Ünder"))
    if tag != "utf8" and not text.isascii():
        text = "CHIP-1"
    more = members(name([f"{kind}={tag}:{text}"]))
    match rng.randrange(5):
        case 0:
            rdns = [*rdns, *more]
        case 1:
            rdns = [*rdns[:-1], *more]
        case 2:
            rdns = [*rdns[:-1], tlv(0x31, *(one for rdn in (*rdns[-1:], *more) for one in members(rdn)))]
        case 3:
            rdns = []
        case _:
            rdns = rng.sample(rdns, len(rdns))
    return with_fields(chain, last, subject=tlv(0x30, *rdns))


def issuers_name(rng: Random, chain: Chain) -> Chain:
    """Not that of the next one, or not in the same spelling."""
    number = place(rng, chain)
    above = chain[number - 1].subject
    texts = (
        above.upper(),
        above.lower(),
        above.replace(b"\x0c", b"\x13"),
        above.replace(b" ", b"  "),
        tlv(0x30),
        chain[number].subject,
    )
    return with_fields(
        chain, number, issuer=rng.choice((above.swapcase(), name(["CN=utf8:another"]), *texts[4:]))
    )


def signer(rng: Random, chain: Chain) -> Chain:
    """Signed by itself, or by one further up."""
    return with_fields(chain, place(rng, chain), signer=rng.choice((0, 2, 3)))


def path(rng: Random, chain: Chain) -> Chain:
    """One left out, one more, two in each other's place, one key twice."""
    number = place(rng, chain)
    match rng.randrange(4):
        case 0 if len(chain) > 2:
            return [*chain[:number], *chain[number + 1 :]]
        case 1:
            return [*chain[:number], chain[max(number - 1, 0)], *chain[number:]]
        case 2:
            other = place(rng, chain)
            found = list(chain)
            found[number], found[other] = found[other], found[number]
            return found
        case _:
            return with_fields(chain, number, place=rng.randrange(len(chain)))


def algorithm(rng: Random, chain: Chain) -> Chain:
    """Two that differ, one with parameters, one that is not safe."""
    number = place(rng, chain)
    odd = (
        tlv(0x30, oid("1.2.840.10045.4.3.2"), tlv(0x05)),
        tlv(0x30, oid("1.2.840.10045.4.3.3")),
        tlv(0x30, oid("1.2.840.113549.1.1.11"), tlv(0x05)),
        tlv(0x30, oid("1.3.101.112")),
        tlv(0x30),
    )
    match rng.randrange(4):
        case 0:
            return with_fields(chain, number, algorithm=rng.choice(odd))
        case 1:
            return with_fields(chain, number, outer=rng.choice(odd))
        case 2:
            both = rng.choice(odd)
            return with_fields(chain, number, algorithm=both, outer=both)
        case _:
            return with_fields(chain, number, hash=rng.choice(("sha1", "sha224")))


def weak_type(rng: Random, chain: Chain) -> Chain:
    """A key of a type that nobody accepts."""
    return with_fields(chain, place(rng, chain), key="k256")


def fields_behind(rng: Random, chain: Chain) -> Chain:
    """Unique ids, and what no version has."""
    number = place(rng, chain)
    if rng.random() < 0.5:
        return with_fields(
            chain,
            number,
            unique_ids=rng.choice((tlv(0x81, b"\x00\x01"), tlv(0x82, b"\x00"), tlv(0x81), tlv(0xA1))),
        )
    return with_fields(
        chain, number, behind=rng.choice((tlv(0x05), b"\x00", tlv(0xA4, tlv(0x05)), tlv(0xA3, tlv(0x30))))
    )


def _fwid(rng: Random) -> bytes:
    size = rng.choice((32, 48, 64, 20, 0))
    return tlv(0x30, oid(rng.choice(_HASH_OIDS)), tlv(0x04, rng.randbytes(size)))


def _info(rng: Random, old: bytes) -> bytes:
    """TcbInfo with other members, most of them known."""
    found = [one for one in (members(old) if old[:1] == b"\x30" else []) if rng.random() < 0.9]
    extra = {
        0x80: rng.choice((b"Example", b"", b"\xff\xfe", "ü".encode())),
        0x83: rng.choice((b"\x05", b"\x00\x80", b"", b"\x00\x01")),
        0x84: b"\x02",
        0x86: b"",
        0x87: rng.choice(
            (b"\x00\x80", b"\x04\x10", b"\x00\x01", b"\x00\x00\x00\x00\x01", b"", b"\x08\x00", b"\x01\x01")
        ),
        0x88: rng.randbytes(3),
        0x89: b"DPEX",
        0x8A: rng.choice((b"\x00\xd0", b"", b"\x00\x00")),
        0xAB: tlv(0x30),
        0xA6: _fwid(rng),
        0x9F: b"",
        0xAC: b"",
    }
    for tag in rng.sample(sorted(extra), rng.choice((0, 1, 1, 2))):
        one = tlv(tag, extra[tag])
        if rng.random() < 0.8:
            found = [each for each in found if each[0] != tag]
        found.append(one)
    if rng.random() < 0.85:
        found.sort(key=lambda each: each[0] & 0x1F)
    return tlv(0x30, *found)


def tcb_info(rng: Random, chain: Chain) -> Chain:
    """TcbInfo, or MultiTcbInfo, changed, put in or left out."""
    number = place(rng, chain)
    one, several = value_of(chain, number, TCB), value_of(chain, number, MULTI)
    if rng.random() < 0.15:
        return without(chain, number, TCB, MULTI)
    if several is not None or (one is None and rng.random() < 0.3):
        infos = members(several) if several else []
        made = [_info(rng, info) if rng.random() < 0.6 else info for info in infos]
        made += [_info(rng, b"")] * rng.choice((0, 0, 1))
        return set_value(chain, number, MULTI, tlv(0x30, *made), rng.choice((b"", TRUE)))
    return set_value(chain, number, TCB, _info(rng, one or b""), rng.choice((b"", TRUE)))


OTHERS: tuple[Mutation, ...] = (
    *(
        flipped,
        flipped,
        extension_flipped,
        extension_flipped,
        constraints,
        usage,
        purposes,
        forbidden_extension,
    ),
    *(twice, times, version, odd_serial, names_of_the_chip, issuers_name, signer, path, algorithm, weak_type),
    *(fields_behind, tcb_info, tcb_info, tcb_info),
)
