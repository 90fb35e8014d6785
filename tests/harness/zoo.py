"""The silicon zoo: one folder a family in `tests/vectors/silicon/`, with a verdict for each item.

    for item in silicon():
        signerd, auditor = both(item.case())
        assert (signerd.accepted, signerd.level) == (item.accepted, item.level)

An item is one of four:

- genuine: `certificates` and `root` name files of the folder, or `token` and `key` do. The private key is in
  the chip: nothing here signs for our session, and the item is accepted if that alone is refused;
- rebuilt from a description, `[[item.certificate]]`, the root first;
- `like` another one, with the last `cut` certificates left out;
- made by a simulated chip: `vendor`, and what is `wrong` with it.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificates

from boards import keys
from boards.attesters.certificate_writer import Key, spki_of
from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Attester, Wrong
from boards.attesters.x509 import X509Attester
from harness.both_sides import Case, product_text, transcript_of
from harness.rebuilt import Template, build, described, key_of
from signerd.core.evidence.method import IdentityKey

FOLDER = Path(__file__).parents[1] / "vectors" / "silicon"
BOARD_KEY = 999  # number of the key that boards make here


def families() -> list[str]:
    """All folders of the zoo."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def items(family: str) -> dict[str, dict[str, Any]]:
    """The items of a family, by name."""
    file = tomllib.loads((FOLDER / family / "items.toml").read_text("utf-8"))
    return {item.get("name") or Path(item["file"]).stem: item for item in file["item"]}


def content(family: str, item: dict[str, Any]) -> bytes:
    """The bytes of an item's file."""
    name: str = item["file"]
    return (FOLDER / family / name).read_bytes()


def silicon() -> list[Item]:
    """All items that are evidence."""
    return [
        Item(folder, name, item)
        for folder in families()
        if folder != "csr"
        for name, item in items(folder).items()
    ]


def named_in_the_table() -> dict[str, list[Item]]:
    """By the name of the family in docs/evidence.md."""
    found: dict[str, list[Item]] = {}
    for item in silicon():
        file = tomllib.loads((FOLDER / item.folder / "items.toml").read_text("utf-8"))
        found.setdefault(item.description.get("family", file["family"]), []).append(item)
    return found


@dataclass(frozen=True, slots=True)
class Item:
    """One item, and what it must get."""

    folder: str
    name: str
    description: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def method(self) -> str:
        """The evidence method."""
        return str(self.description["method"])

    @property
    def chip_id(self) -> str:
        """Of the session."""
        return str(self.description["chip_id"])

    @property
    def accepted(self) -> bool:
        """The verdict."""
        return bool(self.description["verdict"] == "accepted")

    @property
    def level(self) -> str:
        """Of the verdict; empty where refused, or where no chip signs."""
        return str(self.description.get("level", ""))

    @property
    def reason(self) -> str:
        """Class of the refusal: of a genuine item that holds, of the signature that no chip made."""
        return str(self.description.get("reason", ""))

    def templates(self) -> list[Template]:
        """The description of a rebuilt chain, the root first; none for other items."""
        one = self.description
        if "like" in one:
            one = items(self.folder)[one["like"]]
        found = [described(each) for each in one.get("certificate", ())]
        return found[: len(found) - self.description.get("cut", 0)]

    def path(self) -> tuple[tuple[bytes, ...], bytes, Key]:
        """Certificates, leaf first, the root's, and the key that signs."""
        templates = self.templates()
        if templates:
            chain = build(templates)
            return chain.certificates, chain.root, chain.key
        files = [*self.description["certificates"], self.description["root"]]
        *path, root = (certificate(FOLDER / self.folder / name) for name in files)
        return tuple(path), root, key_of("p256", BOARD_KEY)

    def case(self) -> Case:
        """What signerd and the auditor are shown."""
        if "vendor" in self.description:
            return self._by_a_vendor()
        if "token" in self.description:
            return self._token()
        certificates, root, key = self.path()
        csr, spki = csr_of(key if self.description.get("csr") == "leaf" else key_of("p256", BOARD_KEY))
        transcript = transcript_of(self.chip_id, csr)
        attester = _attester(self, certificates, key)
        return Case(
            method=self.method,
            product=product_text(self.method, section_for(self, root)),
            chip_id=self.chip_id,
            csr=csr,
            spki=spki,
            evidence=attester.attest(transcript, csr),
            attester=spki_of(key),
            story=str(self),
        )

    def _by_a_vendor(self) -> Case:
        csr, spki = csr_of(key_of("p256", BOARD_KEY))
        if self.method == "none":
            return Case("none", product_text("none", ""), self.chip_id, csr, spki, b"", story=str(self))
        vendor = _vendor(self)
        attester = vendor.attester(self.chip_id, **self.description.get("wrong", {}))
        identity = _identity(attester.identity())
        return Case(
            method=self.method,
            product=product_text(self.method, vendor.product_section()),
            chip_id=self.chip_id,
            csr=csr,
            spki=spki,
            evidence=attester.attest(transcript_of(self.chip_id, csr), csr),
            identity=identity,
            attester=identity.spki if identity else b"",
            story=str(self),
        )

    def _token(self) -> Case:
        csr, spki = csr_of(key_of("p256", BOARD_KEY))
        folder = FOLDER / self.folder
        if self.description.get("csr") == "keygen":  # of the modem's own
            csr = csr_of_keygen(folder / self.description["token"])
        key_id, attester = _imported(folder / self.description["key"], self.description["key_id"])
        return Case(
            method=self.method,
            product=product_text(self.method, section_for(self)),
            chip_id=self.chip_id,
            csr=csr,
            spki=spki,
            evidence=_evidence(folder / self.description["token"]),
            identity=IdentityKey(key_id, attester),
            attester=attester,
            story=str(self),
        )


def section_for(item: Item, root: bytes = b"") -> str:
    """`[evidence.<method>]` of the item's product, with this root."""
    roots = f'roots = ["""{_pem(root)}"""]\n' if root else ""
    return f"[evidence.{item.method}]\n{roots}{item.description.get('rules', '')}\n"


def _pem(certificate: bytes) -> str:
    """Also of what the cryptography package does not read."""
    text = base64.encodebytes(certificate).decode("ascii")
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


def _attester(item: Item, certificates: tuple[bytes, ...], key: Key) -> X509Attester | Tpm2Attester:
    if item.method == "x509":
        return X509Attester(key, certificates)
    wrong: dict[str, Any] = {name: tuple(value) for name, value in item.description.get("wrong", {}).items()}
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("an AK here is of an elliptic curve")
    return Tpm2Attester(item.chip_id, key, certificates, "ecdsa", wrong=Wrong(**wrong))


def _vendor(item: Item) -> Vendor:
    options = item.description["vendor"]
    match item.method:
        case "psa-token":
            return PsaVendor(**options)
        case "nrf91":
            return Nrf91Vendor()
        case _:
            return HmacVendor({item.chip_id: bytes(32)})


@cache
def certificate(file: Path) -> bytes:
    """DER of the one in a PEM file."""
    (certificate,) = load_pem_x509_certificates(file.read_bytes())
    return certificate.public_bytes(Encoding.DER)


def csr_of(key: Key) -> tuple[bytes, bytes]:
    """A CSR and its key."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("boards' keys here are of an elliptic curve")
    return keys.make_csr(key, "board"), spki_of(key)


def _identity(line: Mapping[str, str] | None) -> IdentityKey | None:
    if line is None:
        return None
    key = load_pem_public_key(line["public_key"].encode())
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return IdentityKey(bytes.fromhex(line["key_id"]), spki)


def _imported(file: Path, key_id: str) -> tuple[bytes, bytes]:
    key = load_pem_public_key(file.read_bytes())
    return bytes.fromhex(key_id), key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def csr_of_keygen(file: Path) -> bytes:
    keygen: str = json.loads(file.read_text("utf-8"))[0]
    text = keygen.partition(".")[0]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _evidence(file: Path) -> bytes:
    """A token as it stands, or two lines of a modem."""
    if file.suffix == ".json":
        return cbor2.dumps(json.loads(file.read_text("utf-8")), canonical=True)
    return file.read_bytes()
