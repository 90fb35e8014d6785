"""Where the vendor ends and the chip begins: what a chain shows, what the product says, and what pads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from boards.attesters.certificate_writer import make_key, spki_of
from harness.chip_chains import Chain, Made
from signerd.core.evidence.certificate import read_certificate
from signerd.core.evidence.device_id import device_id
from signerd.core.evidence.errors import EvidenceError

CA, LOWER_CA = Made("Example CA 1"), Made("Example CA 2")
DEVICE_ID, LAYER, ALIAS = Made("DeviceID"), Made("layer 0"), Made("CHIP-1")
UEID = b"\x02" + bytes(16)
DeviceId = Callable[..., int]


def device(chain: Chain, vendor_cas: int | None = None, *, measures: bool = True) -> int:
    """Counted from the root, which is 0."""
    certificates = [read_certificate(der) for der in chain.certificates]
    return len(certificates) - device_id(certificates, vendor_cas, measures=measures)


def named_by_its_key(*, of: Callable[[bytes], str]) -> Made:
    key = make_key("p256")
    return Made(of(spki_of(key)), key=key)


def hexadecimal(spki: bytes) -> str:
    return hashlib.sha256(spki).hexdigest()


NAMES = [
    hexadecimal,
    lambda spki: hashlib.sha256(spki[-65:]).hexdigest().upper(),
    lambda spki: hashlib.sha384(spki[-64:]).hexdigest()[:32],
    lambda spki: "id:" + hashlib.sha1(spki[-65:]).digest().hex(":"),
]


@pytest.mark.parametrize(
    "made",
    [
        Made("DeviceID", ueid=UEID),
        Made("DeviceID", purposes=[12]),
        Made("DeviceID", purposes=[6, 12]),
        Made("DeviceID", purposes=[6]),
        *(named_by_its_key(of=of) for of in NAMES),
    ],
)
@pytest.mark.parametrize(
    "below", [(ALIAS.measured,), (LAYER.measured, ALIAS.measured), (LAYER, LAYER, ALIAS)]
)
def test_the_topmost_ca_that_shows_it_is_the_chips(made: Made, below: tuple[Made, ...]) -> None:
    assert device(Chain(CA, made, *below)) == 2
    assert device(Chain(made, *below)) == 1
    assert device(Chain(CA, LOWER_CA, made, *below)) == 3


@pytest.mark.parametrize("purpose", [7, 9, 11])
def test_a_key_that_the_same_chip_certified_shows_where_its_issuer_is(purpose: int) -> None:
    alias = Made("CHIP-1", purposes=[purpose])
    assert device(Chain(CA, DEVICE_ID, alias)) == 2
    assert device(Chain(DEVICE_ID, alias)) == 1


def test_without_layers_the_leaf_is_the_chip() -> None:
    assert device(Chain(CA, ALIAS), measures=False) == 2
    assert device(Chain(CA, LOWER_CA, ALIAS), measures=False) == 3
    assert device(Chain(ALIAS), measures=False) == 1
    assert device(Chain(CA, Made("CHIP-1", ueid=UEID)), measures=False) == 2


def test_a_vendors_one_ca_may_certify_measured_leaves() -> None:
    assert device(Chain(CA, ALIAS.measured)) == 2
    assert device(Chain(ALIAS.measured)) == 1


@pytest.mark.parametrize("leaf", [ALIAS.measured, ALIAS, Made("CHIP-1", purposes=[8]).measured])
def test_of_two_cas_that_show_nothing_the_lower_one_may_be_a_chips(leaf: Made) -> None:
    """Also where the layer leaves its measurement out, or says that the vendor certified it."""
    assert device(Chain(CA, DEVICE_ID, leaf)) == 2


@pytest.mark.parametrize("of", NAMES)
def test_a_leaf_that_is_named_by_its_key_is_below_a_layer(of: Callable[[bytes], str]) -> None:
    assert device(Chain(DEVICE_ID, named_by_its_key(of=of).measured)) == 1
    assert device(Chain(DEVICE_ID, named_by_its_key(of=of))) == 1


def test_a_measured_ca_that_is_named_by_its_key_is_below_a_layer() -> None:
    """A DeviceID that shows nothing, and layers that do: their keys move with the firmware."""
    layer = named_by_its_key(of=hexadecimal).measured
    assert device(Chain(DEVICE_ID, layer, ALIAS.measured)) == 1
    assert device(Chain(CA, DEVICE_ID, layer, ALIAS.measured)) == 2
    assert device(Chain(CA, DEVICE_ID, LAYER.measured, ALIAS.measured)) == 2


@pytest.mark.parametrize("leaf", [ALIAS, ALIAS.measured, Made("CHIP-1", purposes=[8]).measured])
@pytest.mark.parametrize("padding", [(LAYER,), (LAYER, Made("Example CA 3"))])
def test_padding_below_a_deviceid_that_shows_nothing_is_refused(
    padding: tuple[Made, ...], leaf: Made
) -> None:
    """The chip chooses these keys: with one build a day it would be a chip a day."""
    for below in ((*padding, leaf), (*padding, LAYER.measured, leaf)):
        chain = Chain(CA, DEVICE_ID, *below)
        with pytest.raises(EvidenceError, match="must say vendor_cas"):
            device(chain)
        assert device(chain, vendor_cas=1) == 2


def test_what_the_product_says_counts() -> None:
    assert device(Chain(DEVICE_ID, ALIAS.measured), vendor_cas=0) == 1
    assert device(Chain(CA, DEVICE_ID, ALIAS.measured), vendor_cas=1) == 2
    assert device(Chain(CA, LOWER_CA, ALIAS.measured), vendor_cas=2) == 3
    # Whatever a layer pads the chain with.
    padded = Chain(CA, DEVICE_ID, LAYER, Made("Example CA 3"), Made("x", ueid=UEID), ALIAS.measured)
    assert device(padded, vendor_cas=1) == 2


@pytest.mark.parametrize(
    "made",
    [
        Made("DeviceID", ueid=UEID),
        Made("DeviceID", purposes=[12]),
        DEVICE_ID.measured,
        named_by_its_key(of=hexadecimal),
    ],
)
def test_a_chip_where_the_product_expects_a_vendors_ca_is_refused(made: Made) -> None:
    with pytest.raises(EvidenceError, match="is a chip's"):
        device(Chain(made, ALIAS.measured), vendor_cas=1)
    with pytest.raises(EvidenceError, match="is a chip's"):
        device(Chain(CA, made, ALIAS.measured), vendor_cas=2)


def test_a_vendors_ca_may_name_the_purposes_of_what_it_certifies() -> None:
    assert device(Chain(Made("Example CA", purposes=[6, 8]), DEVICE_ID, ALIAS), vendor_cas=1) == 2


def test_a_chain_with_fewer_cas_than_the_product_says_is_refused() -> None:
    with pytest.raises(EvidenceError, match="fewer"):
        device(Chain(CA, ALIAS), vendor_cas=2)


def test_padding_below_a_deviceid_moves_nothing() -> None:
    made = Made("DeviceID", ueid=UEID)
    for padding in ((), (CA,), (CA, LOWER_CA), (CA, LOWER_CA, Made("x"))):
        assert device(Chain(CA, made, *padding, ALIAS.measured)) == 2
