"""Attacks on what makes a chip one board: names that move with firmware, two rules, two methods, padding."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from boards.attesters.certificate_writer import make_key, pem, root_authority, spki_of
from boards.attesters.x509 import FWID, X509Attester
from harness.attempts import Attempts
from harness.chip_chains import Chain, Made
from harness.hostile_line import HostileLine
from harness.installation import product_toml
from harness.paper_board import PaperBoard

pytestmark = pytest.mark.check

_numbers = itertools.count(1)
RELEASES = [FWID, *(hashlib.sha256(b"release %d" % number).digest() for number in (2, 3))]
OWN = [hashlib.sha256(b"own build %d" % number).digest() for number in range(6)]


class DiceVendor:
    """A vendor with one CA below its root, whose chips have a DeviceID each."""

    def __init__(self) -> None:
        self.root = root_authority("Example Silicon Root", make_key("p256"))
        self.ca = Made("Example CA 1", key=make_key("p256"))

    def section(self, *terms: str) -> str:
        digests = ", ".join(
            f'{{ component = "app", version = "1.2.0", digest = "{digest.hex()}" }}' for digest in RELEASES
        )
        roots = f'roots = ["""{pem(self.root.certificate)}"""]'
        return "\n".join(["[evidence.x509]", roots, f"measurements = [{digests}]", *terms])

    def chip(self, **shown: object) -> Made:
        """A DeviceID's certificate: with a UEID of its own, unless something else is said."""
        number = next(_numbers)
        if not shown:
            shown = {"ueid": b"\x02" + number.to_bytes(16, "big")}
        return replace(Made(f"DEV-{number}", key=make_key("p256")), **shown)  # type: ignore[arg-type]

    def board(self, device: Made, leaf: Made, *between: Made, chip_id: str | None = None) -> PaperBoard:
        """A board with this chip; its chip id is the leaf's name unless another is said."""
        chain = Chain(self.ca, device, *between, leaf, root=self.root)
        attester = X509Attester(chain.key, chain.certificates)
        return PaperBoard(chip_id or str(leaf.name), attester=attester)


def alias(digest: bytes) -> Made:
    """What a layer certifies, named by its key as Caliptra's are."""
    key = make_key("p256")
    return Made(hashlib.sha256(spki_of(key)).hexdigest(), digest=digest, key=key)


@pytest.fixture(scope="module")
def vendor() -> DiceVendor:
    return DiceVendor()


def order_of(line: HostileLine, section: str, *, level: str = "chip", **terms: str) -> str:
    name = f"anchored-{next(_numbers)}"
    line.installation.add_product(product_toml(name, methods=["x509"], sections=[section], **terms))  # type: ignore[arg-type]
    return line.open_order(product=name, level=level)


def one_board(line: HostileLine, order: str, boards: Sequence[PaperBoard]) -> None:
    """The first of them gets a certificate, and no other does."""
    first, *others = boards
    line.pc1.certify(order, first)
    for board in others:
        line.refused("chip_already_certified", partial(line.pc1.certify, order, board))
    assert line.counts(order).places == 1


def test_one_chip_with_six_builds_of_its_own_firmware(attempts: Attempts, vendor: DiceVendor) -> None:
    device = vendor.chip()
    boards = [vendor.board(device, alias(digest)) for digest in OWN]
    one_board(attempts.line, order_of(attempts.line, vendor.section()), boards)


def test_one_chip_with_three_accepted_releases(attempts: Attempts, vendor: DiceVendor) -> None:
    device = vendor.chip()
    boards = [vendor.board(device, alias(digest)) for digest in RELEASES]
    one_board(attempts.line, order_of(attempts.line, vendor.section(), level="key"), boards)


@pytest.mark.parametrize(
    "shown",
    [{"purposes": [12]}, {"purposes": [6]}, {"digest": FWID}, {"name": "plain"}],
    ids=["eca", "identityInit", "TcbInfo", "nothing"],
)
def test_a_deviceid_that_shows_itself_in_another_way(
    attempts: Attempts, vendor: DiceVendor, shown: dict[str, object]
) -> None:
    """Or not at all: then the name of the layer, which follows from its key, shows it."""
    device = vendor.chip(**shown)
    boards = [vendor.board(device, alias(digest)) for digest in RELEASES]
    one_board(attempts.line, order_of(attempts.line, vendor.section()), boards)


def test_a_deviceid_that_only_the_product_can_tell(attempts: Attempts, vendor: DiceVendor) -> None:
    """It shows nothing, and its layers have names as a vendor gives them."""
    device = vendor.chip(name="plain")
    boards = [vendor.board(device, Made(f"A-{next(_numbers)}", digest=digest)) for digest in RELEASES]
    one_board(attempts.line, order_of(attempts.line, vendor.section("vendor_cas = 1"), level="key"), boards)


def test_a_chain_padded_with_cas_of_the_chips_own(attempts: Attempts, vendor: DiceVendor) -> None:
    device = vendor.chip()
    padding = [(), (Made("Example CA 2"),), (Made("Example CA 2"), Made("Example CA 3"))]
    boards = [vendor.board(device, alias(OWN[0]), *between) for between in padding]
    one_board(attempts.line, order_of(attempts.line, vendor.section()), boards)
    device = vendor.chip()
    boards = [vendor.board(device, alias(OWN[0]), *between) for between in padding]
    one_board(attempts.line, order_of(attempts.line, vendor.section("vendor_cas = 1")), boards)


def test_a_silent_chain_padded_with_cas_of_the_chips_own(attempts: Attempts, vendor: DiceVendor) -> None:
    """Nothing tells them from the vendor's: they are refused, and the chip is one board without them."""
    order, device = order_of(attempts.line, vendor.section()), vendor.chip(name="plain")
    leaf = replace(alias(OWN[0]), name="BUILD-1")
    attempts.line.pc1.certify(order, vendor.board(device, leaf))
    for number in range(2, 5):
        padding = [Made(f"Example CA {count}") for count in range(2, number + 1)]
        board = vendor.board(device, replace(alias(OWN[number]), name=f"BUILD-{number}"), *padding)
        attempts.refused(order, board, board.request, answered=False)
    assert attempts.line.counts(order).places == 1


def test_a_chip_in_the_place_of_a_vendors_ca(attempts: Attempts, vendor: DiceVendor) -> None:
    """Under a product that says two CAs, a chip's own would be the vendor's."""
    order = order_of(attempts.line, vendor.section("vendor_cas = 2"))
    board = vendor.board(vendor.chip(), alias(OWN[0]), Made("layer 0"))
    attempts.refused(order, board, board.request, answered=False)


def test_one_chip_by_two_rules_of_two_products(attempts: Attempts, vendor: DiceVendor) -> None:
    line, device = attempts.line, vendor.chip()
    leaf = alias(RELEASES[0])
    line.pc1.certify(order_of(line, vendor.section(), level="key"), vendor.board(device, leaf))
    assert device.ueid is not None
    rules = {
        '{ from = "ueid" }': device.ueid.hex(),
        '{ from = "device-id-key" }': hashlib.sha256(spki_of(device.key)).hexdigest(),  # type: ignore[arg-type]
        '{ from = "subject", attribute = "serialNumber", of = "device-id" }': str(device.name),
    }
    for rule, chip_id in rules.items():
        order = order_of(line, vendor.section(f"chip_id = {rule}"), level="key")
        board = vendor.board(device, alias(RELEASES[1]), chip_id=chip_id)
        line.refused("chip_already_certified", partial(line.pc1.certify, order, board))
        assert line.counts(order).places == 0


def test_a_layer_that_states_another_chips_ueid(attempts: Attempts, vendor: DiceVendor) -> None:
    """What the vendor certified counts: the layer's word neither names the chip nor takes another's place."""
    line = attempts.line
    honest, hostile = vendor.chip(), vendor.chip()
    assert honest.ueid is not None
    assert hostile.ueid is not None
    order = order_of(line, vendor.section('chip_id = { from = "ueid" }'))
    claimed = replace(alias(OWN[0]), ueid=honest.ueid)
    liar = vendor.board(hostile, claimed, chip_id=honest.ueid.hex())
    attempts.refused(order, liar, liar.request, answered=False)
    line.pc1.certify(order, vendor.board(hostile, claimed, chip_id=hostile.ueid.hex()))
    line.pc1.certify(order, vendor.board(honest, alias(OWN[1]), chip_id=honest.ueid.hex()))
    assert line.counts(order).places == 2


def test_a_layer_that_states_a_listed_chips_name(attempts: Attempts, vendor: DiceVendor) -> None:
    """Firmware of one's own can state any name: it counts as listed only where accepted firmware does."""
    line = attempts.line
    order = order_of(line, vendor.section(), chips="listed")
    name = f"LISTED-{next(_numbers)}"
    line.installation.import_chips(order, [name])
    liar = vendor.board(vendor.chip(), Made(name, digest=OWN[0]))
    attempts.refused(order, liar, liar.request, "chip_unknown", answered=False)
    line.pc1.certify(order, vendor.board(vendor.chip(), Made(name, digest=RELEASES[0])))


def test_a_chip_that_is_listed_by_its_deviceids_key(attempts: Attempts, vendor: DiceVendor) -> None:
    line = attempts.line
    name = f"anchored-{next(_numbers)}"
    text = product_toml(name, methods=["x509"], sections=[vendor.section()], chips="listed")
    line.installation.add_product(
        text.replace('chips = "listed"\n', 'chips = "listed"\nlisted_by = ["key", "ueid"]\n')
    )
    order = line.open_order(product=name, level="chip")
    by_key, by_ueid, stranger = vendor.chip(), vendor.chip(), vendor.chip()
    key = hashlib.sha256(spki_of(by_key.key)).hexdigest()  # type: ignore[arg-type]
    assert by_ueid.ueid is not None
    line.installation.import_chips(order, [f"key={key}", f"ueid={by_ueid.ueid.hex()}"])
    lie = replace(alias(OWN[0]), ueid=by_ueid.ueid)
    other = vendor.board(stranger, lie)
    attempts.refused(order, other, other.request, "chip_unknown", answered=False)
    for device in (by_key, by_ueid):
        one = [vendor.board(device, alias(digest)) for digest in OWN[:3]]
        line.pc1.certify(order, one[0])
        for again in one[1:]:
            line.refused("chip_already_certified", partial(line.pc1.certify, order, again))
    assert line.counts(order).places == 2


def test_two_chips_of_one_vendor_under_one_layers_name(attempts: Attempts, vendor: DiceVendor) -> None:
    """A label is nobody's: a chip that states another one's does not take its place."""
    line, order = attempts.line, order_of(attempts.line, vendor.section())
    name = f"LABEL-{next(_numbers)}"
    line.pc1.certify(order, vendor.board(vendor.chip(), Made(name, digest=OWN[0])))
    line.pc1.certify(order, vendor.board(vendor.chip(), Made(name, digest=OWN[1])))
    assert line.counts(order).places == 2


def test_a_product_of_two_methods_that_share_nothing(attempts: Attempts, vendor: DiceVendor) -> None:
    """A board's secure element and its personalized chip would be two boards: the desk refuses it."""
    line = attempts.line
    for methods in (["x509", "hmac-sha256"], ["x509", "nrf91"], ["hmac-sha256", "x509", "none"]):
        sections = [vendor.section()]
        text = product_toml(f"apart-{next(_numbers)}", methods=methods, sections=sections)
        path = line.installation.directory / "apart.toml"
        path.write_text(text, encoding="utf-8")
        line.installation.admin("product", "add", path, expect=1)
