"""The PIV applet of a YubiKey 5, in software: command APDUs in, response APDUs out. No reader, no thread.

    card = PivCard(serial=11)
    card.transmit(bytes.fromhex("00a4040005a000000308"))   # SELECT

Written from NIST SP 800-73-4 (part 2, section 3) and from Yubico's published list of its own instructions.
It has what Yubico's tools and PKCS#11 module ask for: slots 9a, 9c, 9d, 9e and 82 to 95; P-256, P-384,
RSA-2048; signatures, key agreement and decryption; PIN and touch policies; retries of PIN and PUK; the
management key (Triple DES); data objects, metadata and attestation. As firmware before 5.7 it has no
Ed25519. PIV has no HMAC.

Keys are private to the object, as they are to the chip. What is secret here is known to everybody: PIN
123456, PUK 12345678, Yubico's default management key.
"""

from __future__ import annotations

import datetime
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.serialization import Encoding

from tokens import tlv
from tokens.piv_keys import Algorithm, HeldKey, Policy, Secret, Status, StatusError

ATR = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")  # of a YubiKey 5 NFC
PIN, PUK = b"123456", b"12345678"
MANAGEMENT_KEY = bytes.fromhex("010203040506070801020304050607080102030405060708")
_AID = bytes.fromhex("a000000308")
_APPLICATION = tlv.encode(0x4F, bytes.fromhex("00001000 0100")) + tlv.encode(0x79, tlv.encode(0x4F, _AID))
_DISCOVERY = tlv.encode(0x4F, bytes.fromhex("a000000308000010000100")) + tlv.encode(0x5F2F, b"\x40\x00")
_ATTESTATION_SLOT, _ATTESTATION_OBJECT = 0xF9, 0x5FFF01
_SLOTS = {0x9A, 0x9C, 0x9D, 0x9E, *range(0x82, 0x96)}
_PIN_REFERENCE, _PUK_REFERENCE, _MANAGEMENT_REFERENCE = 0x80, 0x81, 0x9B
_PIN_LENGTH = 8
_CHALLENGE = 8  # a block of Triple DES
_YEARS = datetime.timedelta(days=3650)


@dataclass(slots=True)
class _Session:
    """What the card forgets without power, and at each SELECT."""

    chained: bytes = b""
    rest: bytes = b""
    pin_given: bool = False
    pin_fresh: bool = False  # no private operation since the PIN
    managed: bool = False
    witness: bytes = b""
    challenge: bytes = b""


@dataclass(slots=True)
class Uses:
    """What was asked of the card since it was made."""

    pins: int = 0  # VERIFY with a PIN, right or wrong
    private: int = 0  # signatures, agreements, decryptions


class PivCard:
    """One applet with its keys; they outlive power, not the object."""

    def __init__(self, serial: int = 12345678, *, firmware: tuple[int, int, int] = (5, 4, 3)) -> None:
        self.serial, self.firmware = serial, firmware
        self.uses = Uses()
        self.touched: Callable[[], bool] = lambda: True  # asked where a key's policy wants a touch
        self.before_private: Callable[[], None] = lambda: None  # may take its time, or raise StatusError
        self.garbled = False  # signatures of something else
        self._blank()
        self._session = _Session()

    def _blank(self) -> None:
        self.pin, self.puk = Secret(PIN), Secret(PUK)
        self._management_key = MANAGEMENT_KEY
        self._attester = HeldKey.generate(Algorithm.P256, Policy.NEVER, Policy.NEVER)
        self._keys: dict[int, HeldKey] = {_ATTESTATION_SLOT: self._attester}
        certificate = tlv.encode(0x70, self._certificate(self._attester, "Yubico PIV Attestation"))
        end = tlv.encode(0x71, b"\x00") + tlv.encode(0xFE, b"")
        self._objects: dict[int, bytes] = {_ATTESTATION_OBJECT: certificate + end}

    def take_key(self, other: PivCard, slot: int) -> None:
        """The key that is in this slot of another card too, as where one key is imported into both."""
        self._keys[slot] = other._keys[slot]

    def power_off(self) -> None:
        """The session is gone."""
        self._session = _Session()

    def transmit(self, command: bytes) -> bytes:
        """One command APDU (ISO/IEC 7816-3, section 12.1, short or extended); the response APDU."""
        if len(command) < 4:
            return struct.pack(">H", 0x6700)
        chain, instruction, p1, p2 = command[:4]
        body, expected = _body(command)
        if instruction == 0xC0:
            return self._part(self._session.rest, expected)
        if chain & 0x10:
            self._session.chained += body
            return struct.pack(">H", Status.OK)
        body, self._session.chained = self._session.chained + body, b""
        try:
            return self._part(self._do(instruction, p1, p2, body), expected)
        except StatusError as error:
            return struct.pack(">H", error.word)
        except (ValueError, KeyError, UnsupportedAlgorithm):
            return struct.pack(">H", Status.WRONG_DATA)

    def _part(self, data: bytes, size: int) -> bytes:
        part, self._session.rest = data[:size], data[size:]
        if not self._session.rest:
            return part + struct.pack(">H", Status.OK)
        return part + bytes([0x61, min(len(self._session.rest), 0xFF)])

    def _do(self, instruction: int, p1: int, p2: int, body: bytes) -> bytes:
        commands: dict[int, Callable[[], bytes]] = {
            0xA4: lambda: self._select(body),
            0x20: lambda: self._verify(p1, p2, body),
            0x24: lambda: self._change(p2, body),
            0x2C: lambda: self._unblock(body),
            0x87: lambda: self._authenticate(p1, p2, body),
            0x47: lambda: self._generate(p2, body),
            0xCB: lambda: self._get(body),
            0xDB: lambda: self._put(body),
            # Yubico's own.
            0xF7: lambda: self._metadata(p2),
            0xF8: lambda: self.serial.to_bytes(4, "big"),
            0xF9: lambda: self._attest(p1),
            0xFA: lambda: self._set_tries(p1, p2),
            0xFB: self._reset,
            0xFD: lambda: bytes(self.firmware),
            0xFF: lambda: self._set_management_key(body),
        }
        if instruction not in commands:
            raise StatusError(Status.UNKNOWN_INSTRUCTION)
        return commands[instruction]()

    def _select(self, body: bytes) -> bytes:
        if not body.startswith(_AID):
            raise StatusError(Status.NOT_FOUND)
        self._session = _Session()
        return tlv.encode(0x61, _APPLICATION)

    # PIN, PUK, management key.

    def _verify(self, p1: int, p2: int, body: bytes) -> bytes:
        if p2 != _PIN_REFERENCE:
            raise StatusError(Status.REFERENCE_NOT_FOUND)
        session = self._session
        if p1 == 0xFF:
            session.pin_given = session.pin_fresh = False
            return b""
        if not body:  # asks how many tries are left
            if session.pin_given:
                return b""
            raise StatusError(0x63C0 | self.pin.left if self.pin.left else Status.BLOCKED)
        self.uses.pins += 1
        session.pin_given = session.pin_fresh = False
        self.pin.check(body)
        session.pin_given = session.pin_fresh = True
        return b""

    def _change(self, p2: int, body: bytes) -> bytes:
        secret = {_PIN_REFERENCE: self.pin, _PUK_REFERENCE: self.puk}[p2]
        secret.check(body[:_PIN_LENGTH])
        secret.set(body[_PIN_LENGTH:])
        return b""

    def _unblock(self, body: bytes) -> bytes:
        self.puk.check(body[:_PIN_LENGTH])
        self.pin.set(body[_PIN_LENGTH:])
        return b""

    def _demand_management(self) -> None:
        if not self._session.managed:
            raise StatusError(Status.SECURITY_NOT_SATISFIED)

    def _set_management_key(self, body: bytes) -> bytes:
        self._demand_management()
        self._management_key = body[3 : 3 + body[2]]
        return b""

    def _set_tries(self, pin: int, puk: int) -> bytes:
        self._demand_management()
        if not self._session.pin_given:
            raise StatusError(Status.SECURITY_NOT_SATISFIED)
        self.pin, self.puk = Secret(PIN, pin, pin), Secret(PUK, puk, puk)
        return b""

    def _reset(self) -> bytes:
        if self.pin.left or self.puk.left:
            raise StatusError(Status.CONDITIONS_NOT_SATISFIED)
        self._blank()
        return b""

    def _manage(self, items: dict[int, bytes]) -> bytes:
        """Mutual authentication under the management key (SP 800-73-4 part 2, section 3.2.4)."""
        session = self._session
        encryptor = Cipher(TripleDES(self._management_key), modes.ECB()).encryptor()
        if items.get(0x80) == b"":
            session.witness = os.urandom(_CHALLENGE)
            return tlv.encode(0x7C, tlv.encode(0x80, encryptor.update(session.witness)))
        if items.get(0x81) == b"":
            session.challenge = os.urandom(_CHALLENGE)
            return tlv.encode(0x7C, tlv.encode(0x81, session.challenge))
        witness, session.witness = session.witness, b""
        challenge, session.challenge = session.challenge, b""
        if witness and hmac.compare_digest(items.get(0x80, b""), witness):
            session.managed = True
            return tlv.encode(0x7C, tlv.encode(0x82, encryptor.update(items[0x81])))
        if challenge and hmac.compare_digest(items.get(0x82, b""), encryptor.update(challenge)):
            session.managed = True
            return b""
        raise StatusError(Status.SECURITY_NOT_SATISFIED)

    # Keys.

    def _authenticate(self, algorithm: int, slot: int, body: bytes) -> bytes:
        items = tlv.decode(tlv.decode(body)[0x7C])
        if slot == _MANAGEMENT_REFERENCE:
            return self._manage(items)
        key = self._keys.get(slot)
        if key is None:
            raise StatusError(Status.REFERENCE_NOT_FOUND)
        if algorithm != key.algorithm:
            raise StatusError(Status.WRONG_DATA)
        self._demand_consent(key)
        self.before_private()
        self.uses.private += 1
        if 0x85 in items:
            answer = key.agree(items[0x85])
        else:
            answer = key.sign(items[0x81])
            if self.garbled:
                answer = key.sign(bytes(len(items[0x81])))
        return tlv.encode(0x7C, tlv.encode(0x82, answer))

    def _demand_consent(self, key: HeldKey) -> None:
        session = self._session
        fresh, session.pin_fresh = session.pin_fresh, False
        if (key.pin == Policy.ALWAYS and not fresh) or (key.pin == Policy.ONCE and not session.pin_given):
            raise StatusError(Status.SECURITY_NOT_SATISFIED)
        if key.touch != Policy.NEVER and not self.touched():
            raise StatusError(Status.SECURITY_NOT_SATISFIED)

    def _generate(self, slot: int, body: bytes) -> bytes:
        self._demand_management()
        if slot not in _SLOTS:
            raise StatusError(Status.WRONG_PARAMETERS)
        wanted = tlv.decode(tlv.decode(body)[0xAC])
        usual = {0x9C: Policy.ALWAYS, 0x9E: Policy.NEVER}.get(slot, Policy.ONCE)
        pin = wanted.get(0xAA, b"\x00")[0] or usual
        touch = wanted.get(0xAB, b"\x00")[0] or Policy.NEVER
        algorithm = Algorithm(wanted[0x80][0])
        self._keys[slot] = HeldKey.generate(algorithm, pin, touch)
        return tlv.encode(0x7F49, self._keys[slot].public())

    def _metadata(self, slot: int) -> bytes:
        if self.firmware < (5, 3, 0):
            raise StatusError(Status.UNKNOWN_INSTRUCTION)
        if slot in (_PIN_REFERENCE, _PUK_REFERENCE):
            secret, usual = (self.pin, PIN) if slot == _PIN_REFERENCE else (self.puk, PUK)
            tries = tlv.encode(0x06, bytes([secret.tries, secret.left]))
            return tlv.encode(0x01, b"\xff") + tlv.encode(0x05, bytes([secret.value == usual])) + tries
        if slot == _MANAGEMENT_REFERENCE:
            usual_key = bytes([self._management_key == MANAGEMENT_KEY])
            return tlv.encode(0x01, b"\x03") + tlv.encode(0x02, b"\x00\x01") + tlv.encode(0x05, usual_key)
        key = self._keys.get(slot)
        if key is None:
            raise StatusError(Status.REFERENCE_NOT_FOUND)
        made_here = tlv.encode(0x03, b"\x01") + tlv.encode(0x04, key.public())
        return (
            tlv.encode(0x01, bytes([key.algorithm]))
            + tlv.encode(0x02, bytes([key.pin, key.touch]))
            + made_here
        )

    def _attest(self, slot: int) -> bytes:
        key = self._keys.get(slot)
        if key is None or slot == _ATTESTATION_SLOT:
            raise StatusError(Status.WRONG_DATA)
        return self._certificate(key, f"YubiKey PIV Attestation {slot:02x}")

    def _certificate(self, key: HeldKey, name: str) -> bytes:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("Yubico PIV Attestation"))
        )
        builder = builder.public_key(key.private.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + _YEARS)
        return builder.sign(self._attester.private, hashes.SHA256()).public_bytes(Encoding.DER)

    # Data objects.

    def _get(self, body: bytes) -> bytes:
        tag = int.from_bytes(tlv.decode(body)[0x5C], "big")
        if tag == 0x7E:
            return tlv.encode(0x7E, _DISCOVERY)
        if tag not in self._objects:
            raise StatusError(Status.NOT_FOUND)
        return tlv.encode(0x53, self._objects[tag])

    def _put(self, body: bytes) -> bytes:
        self._demand_management()
        items = tlv.decode(body)
        tag = int.from_bytes(items[0x5C], "big")
        self._objects[tag] = items[0x53]
        if not items[0x53]:
            del self._objects[tag]
        return b""


def _body(command: bytes) -> tuple[bytes, int]:
    """The data of a command, and how many bytes of answer it expects."""
    if len(command) >= 7 and command[4] == 0:
        size = int.from_bytes(command[5:7], "big")
        return command[7 : 7 + size], 65_536
    if len(command) > 5:
        return command[5 : 5 + command[4]], 256
    return b"", 256
