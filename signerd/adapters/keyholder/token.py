"""The module that loads PKCS#11. It runs in a key holder process or the probe's alone, in one thread.

python-pkcs11 calls `C_Initialize(NULL)`: the module is told that there are no threads. One process has one
module, one session, and dies with either; nothing here tries to mend a session.

Keys are made SENSITIVE and not EXTRACTABLE, for signing alone, and neither changed nor copied afterwards;
a key that says otherwise is not used (deploy/hsm/README.md has the table with reasons).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11._pkcs11 import DeriveMixin  # type: ignore[attr-defined]  # its types leave it out
from pkcs11.exceptions import (
    AttributeTypeInvalid,
    MultipleObjectsReturned,
    NoSuchKey,
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
)
from pkcs11.mechanisms import KDF
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from signerd.adapters.keyholder.key_templates import first_taken, pair_templates, secret_templates
from signerd.adapters.keyholder.return_values import described
from signerd.adapters.keyholder.token_search import NoTokenError, OtherTokensError, find_token, name_of
from signerd.core.issuer_algorithm import (
    ALGORITHMS,
    RSA_BITS,
    SHA256_DIGEST_INFO,
    IssuerAlgorithm,
    IssuerKey,
    issuer_key,
)
from signerd.core.pkcs11_uri import KeyName, TokenName, key_name, slot_hint
from signerd.core.recipient import Recipient, RsaRecipient, SealingError
from signerd.core.sealing import SEALING, KeyRole
from signerd.core.token_choice import TokenChoice, token_choice

_ED25519_PARAMETERS = bytes.fromhex("06032b6570")  # id-Ed25519 (RFC 8410 §3)
_CURVES = {"p256": "secp256r1", "p384": "secp384r1"}
_MASTER_KEY_BITS = 256
_SIGNS = MechanismFlag.SIGN | MechanismFlag.VERIFY
_DECRYPTS = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
_SHARED_SECRET = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}  # of one ECDH, for HKDF
_OFFERS = {
    KeyRole.CHECKPOINT.value: {Mechanism.EC_EDWARDS_KEY_PAIR_GEN, Mechanism.EDDSA},
    KeyRole.CHIP_MASTER.value: {Mechanism.GENERIC_SECRET_KEY_GEN, Mechanism.SHA256_HMAC},
}
_SEALS_BY_ECDH = {Mechanism.EC_KEY_PAIR_GEN, Mechanism.ECDH1_DERIVE}
_SEALS_BY_RSA = {Mechanism.RSA_PKCS_KEY_PAIR_GEN, Mechanism.RSA_PKCS_OAEP}
_SEALING_BITS = (3072, 2048)  # of a sealing key, the longer where the token can
_LOADER = "while loading"  # python-pkcs11's words, where the dynamic loader fails
_PASSES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_OAEP = (Mechanism.SHA256, MGF.SHA256, None)  # RFC 8017 §7.1, without a label


class TokenError(Exception):
    """The module, the token or a key does not do what it should. The process ends."""


class WrongSettingsError(TokenError):
    """There is a token, and it does not hold what the settings name: trying again does not help."""


class DamagedSignatureError(TokenError):
    """The keys are the right ones, and what the token gives is no signature of theirs."""


class PinRejectedError(TokenError):
    """The token does not take this PIN, or one more wrong PIN would lock it. Never to be tried again."""


class PinNotAskedError(PinRejectedError):
    """The PIN is locked or expired, or one more wrong one would lock it: whether this is right is open."""


class KeyExistsError(TokenError):
    """A label is taken. Nothing was made or changed."""


def _loading(error: Exception) -> str:
    # The loader's own words name the library that is missing, or the symbol.
    return described(error) if isinstance(error, PKCS11Error) else str(error)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """What the module answers becomes a TokenError that says what was being done."""
    try:
        yield
    except (PinLocked, PinExpired) as error:
        raise PinNotAskedError(f"{doing}: {described(error)}") from error
    except (PinIncorrect, PinInvalid, PinLenRange) as error:
        raise PinRejectedError(f"{doing}: {described(error)}") from error
    except (NoSuchKey, MultipleObjectsReturned) as error:
        raise WrongSettingsError(f"{doing}: {described(error)}") from error
    except PKCS11Error as error:
        raise TokenError(f"{doing}: {described(error)}") from error


def load_module(module: str) -> Any:
    """The module's functions.

    Raises:
        WrongSettingsError: there is no such module, or it is none that this machine loads.
        TokenError: it fails, or the machine has no memory or descriptors for it now.
    """
    try:
        return pkcs11.lib(module)
    except (RuntimeError, OSError, PKCS11Error) as error:
        kind = WrongSettingsError if _never_loads(str(error)) else TokenError
        raise kind(f"cannot load the PKCS#11 module {module}: {_loading(error)}") from error


def _never_loads(said: str) -> bool:
    """By the loader's words: what the module itself answers may pass, as when its service is not up yet."""
    return _LOADER in said and not any(os.strerror(number) in said for number in _PASSES)


def chosen_token(library: Any, choice: TokenChoice) -> pkcs11.Token:
    """The one token that is meant.

    Raises:
        WrongSettingsError: none of those that are there is meant, or several are.
        TokenError: there is no token now, or the module fails.
    """
    try:
        with translated("looking for tokens"):
            return find_token(library, choice)
    except OtherTokensError as error:
        raise WrongSettingsError(str(error)) from error
    except NoTokenError as error:
        raise TokenError(str(error)) from error


def demand_tries(token: pkcs11.Token) -> None:
    """Raises PinNotAskedError: the PIN is locked, or one more wrong one would lock it."""
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise PinNotAskedError(f"the PIN of the token {token.label!r} is locked")
    if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise PinNotAskedError(
            f"one more wrong PIN would lock the token {token.label!r}: log in once with another tool first"
        )


class _SealedKey(Protocol):
    """A key in the token. python-pkcs11's types leave out what its mix-ins add at run time."""

    @property
    def key_type(self) -> KeyType: ...

    def __getitem__(self, attribute: Attribute) -> Any: ...  # a value of any PKCS#11 type

    def sign(self, data: bytes, *, mechanism: Mechanism, pin: str | None = None) -> bytes: ...

    def decrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: object) -> bytes: ...


@dataclass(frozen=True, slots=True)
class CaKey:
    """The sub-CA's key: ECDSA with the hash that belongs to its curve, or RSASSA-PKCS1-v1_5 with SHA-256."""

    _key: _SealedKey
    _algorithm: IssuerAlgorithm
    _pin: str | None = field(repr=False)  # where the key wants it before each signature

    def sign(self, message: bytes) -> bytes:
        """Over `message`: DER `Ecdsa-Sig-Value`, or as many bytes as the modulus has."""
        return self.encoded(self.sign_input(self.input_of(message)))

    def input_of(self, message: bytes) -> bytes:
        """What the token is given."""
        digest = hashlib.new(self._algorithm.hash.name, message).digest()
        # CKM_RSA_PKCS pads what it is given (PKCS #11 §2.1.6); every module has it.
        return SHA256_DIGEST_INFO + digest if self._rsa else digest

    def sign_input(self, data: bytes) -> bytes:
        """What the token gives, and nothing beside: it is to begin the next one when this one has ended."""
        # CKM_ECDSA takes the digest and returns r ‖ s (PKCS #11 §2.3.6); every module has it.
        mechanism = Mechanism.RSA_PKCS if self._rsa else Mechanism.ECDSA
        with translated("signing with the CA key"):
            return self._key.sign(data, mechanism=mechanism, pin=self._pin)

    def encoded(self, signature: bytes) -> bytes:
        """As certificates have it."""
        if self._rsa:
            return signature
        half = len(signature) // 2
        return encode_dss_signature(
            int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        )

    @property
    def _rsa(self) -> bool:
        return self._algorithm.key_type in RSA_BITS


@dataclass(frozen=True, slots=True)
class CheckpointKey:
    """The log's Ed25519 key."""

    _key: _SealedKey

    def sign(self, message: bytes) -> bytes:
        """64 bytes (RFC 8032 §5.1.6)."""
        with translated("signing with the checkpoint key"):
            return self._key.sign(message, mechanism=Mechanism.EDDSA)


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The secret from which every chip's key follows."""

    _key: _SealedKey

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256, 32 bytes."""
        with translated("using the master key"):
            return self._key.sign(message, mechanism=Mechanism.SHA256_HMAC)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The key to which secrets are sealed: ECDH on its curve, or OAEP decryption with RSA."""

    _key: _SealedKey
    recipient: Recipient

    def use(self, data: bytes) -> bytes:
        """`PrivateKeyUse` of the recipient."""
        key = self.recipient.key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            return self._exchange(data, (key.key_size + 7) // 8)
        with translated("opening with the sealing key"):
            return self._key.decrypt(data, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_OAEP)

    def _exchange(self, point: bytes, field_bytes: int) -> bytes:
        """The x coordinate of the point that this key and `point` share."""
        with translated("opening with the sealing key"):
            # Called as a function: some modules say CKA_DERIVE false of a key that derives (ykcs11's 9d), and
            # python-pkcs11 then leaves the method out.
            secret = DeriveMixin.derive_key(
                self._key,
                KeyType.GENERIC_SECRET,
                8 * field_bytes,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                store=False,
                template=_SHARED_SECRET,
            )
            shared: bytes = secret[Attribute.VALUE]
            secret.destroy()
        return shared


class Token:
    """A logged-in session."""

    def __init__(self, session: pkcs11.Session, pin: str) -> None:
        self._session = session
        self._pin = pin

    @classmethod
    def open(
        cls,
        module: str,
        label: str,
        pin: str,
        *,
        writable: bool = False,
        found: Callable[[TokenName], None] = lambda _: None,
    ) -> Token:
        """Loads the module, finds the token by its label or URI, and logs in, once. `found` is told which one
        it is before it is asked.

        Raises:
            PinRejectedError: the token refused the PIN, its PIN is locked, or this would be its last try.
            WrongSettingsError: there are tokens, and none of this label; or there is no such module.
            TokenError: anything else, a token that is not there yet among it.
        """
        token = chosen_token(load_module(module), token_choice(label))
        demand_tries(token)
        found(name_of(token))
        with translated(f"logging in to the token {label!r}"):
            return cls(token.open(rw=writable, user_pin=pin), pin)

    def ca_key(self, label: str) -> CaKey:
        """The sub-CA's key."""
        key = self._key(ObjectClass.PRIVATE_KEY, label)
        with translated(f"reading the key {label!r}"):
            name = _issuing_type(key)
            pin = self._pin if _wants_pin_each_time(key) else None
        if name is None:
            raise WrongSettingsError(
                f"the key {label!r} is neither P-256, P-384 nor RSA of 2048, 3072 or 4096 bits"
            )
        return CaKey(key, ALGORITHMS[name], pin)

    def checkpoint_key(self, label: str) -> CheckpointKey:
        """The log's key."""
        return CheckpointKey(self._key(ObjectClass.PRIVATE_KEY, label))

    def master_key(self, label: str) -> MasterKey:
        """The chips' master key."""
        return MasterKey(self._key(ObjectClass.SECRET_KEY, label))

    def sealing_key(self, label: str) -> SealingKey:
        """The key to which secrets are sealed."""
        key = self._key(ObjectClass.PRIVATE_KEY, label)
        recipient = _recipient(self._public_of(key, label))
        with translated(f"reading the key {label!r}"):
            decrypts = not isinstance(recipient, RsaRecipient) or key[Attribute.DECRYPT]
            asks = _wants_pin_each_time(key)
        if asks:
            raise WrongSettingsError(f"the key {label!r} wants its PIN each time: only the CA key may")
        if not decrypts:
            raise WrongSettingsError(f"the key {label!r} is not for decryption: nothing opens with it")
        return SealingKey(key, recipient)

    def public_key(self, label: str) -> IssuerKey:
        """The public half of a key that is there, and can issue."""
        return _issuer_key(self._public_of(self._key(ObjectClass.PRIVATE_KEY, label), label))

    def offers(self) -> list[str]:
        """The roles whose keys the token makes and uses, and `SEALING` where it opens what is sealed."""
        there = self._mechanisms()
        found = [name for name, needed in _OFFERS.items() if needed <= there]
        return [*found, SEALING] if there >= _SEALS_BY_ECDH or there >= _SEALS_BY_RSA else found

    def _mechanisms(self) -> set[Mechanism]:
        with translated("asking what the token can do"):
            return set(self._session.token.slot.get_mechanisms())

    def _public_of(self, private: _SealedKey, label: str) -> object:
        """Beside the private key, or in its certificate: by CKA_ID, by which PKCS #11 pairs them (§4.6), or
        by label, which modules may set as they like. An RSA key has it in itself."""
        with translated(f"reading the key {label!r}"):
            own = private[Attribute.ID]  # empty where the vendor's tool gave none: then it pairs nothing
            for template in ([{Attribute.ID: own}] if own else []) + [_template(label)]:
                for kind in (ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE):
                    for found in self._session.get_objects({Attribute.CLASS: kind, **template}):
                        return public_of(found, kind)
            if private.key_type is KeyType.RSA:
                return public_of(private, ObjectClass.PRIVATE_KEY)
        raise WrongSettingsError(
            f"the token holds neither a public key nor a certificate beside the key {label!r}: add one of"
            " them, with the same CKA_ID, with the vendor's tool"
        )

    def _key(self, object_class: ObjectClass, label: str) -> _SealedKey:
        with translated(f"the key {label!r}"):
            name = key_name(label)
            if not name.token.fits(name_of(self._session.token)):
                raise WrongSettingsError(f"the key {label!r} is said to be in another token than this one")
            try:
                found = self._session.get_key(object_class=object_class, label=name.label, id=name.id)
            except NoSuchKey as error:
                raise WrongSettingsError(
                    f"the key {label!r}: {described(error)}{slot_hint(label)}"
                ) from error
            key = cast("_SealedKey", found)
            sealed = key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
        if not sealed:
            raise WrongSettingsError(f"the key {label!r} can be read out of the token: make another one")
        return key

    def point_is(self, label: str, point: bytes) -> bool | None:
        """Whether the token's public key of this label is that one; None where it holds none."""
        try:
            name = key_name(label)
            key = self._session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=name.label, id=name.id)
            is_rsa = key.key_type is KeyType.RSA
            found: bytes = key[Attribute.MODULUS if is_rsa else Attribute.EC_POINT]
        except PKCS11Error:
            return None
        # PKCS #11 says an OCTET STRING for EC keys and the raw point for Edwards keys; modules do either.
        return found in (point, bytes((0x04, len(point))) + point)

    def demand_unused(self, *labels: str) -> None:
        """Raises KeyExistsError if an object of one of these names exists; WrongSettingsError for a name that
        is no label: nothing can be made of it."""
        for label in labels:
            with translated("looking for keys"):
                taken = list(self._session.get_objects(_template(label)))
            if taken:
                raise KeyExistsError(
                    f"the token holds an object labelled {label!r} already: use another token, or remove it"
                    " once you know that nothing needs it"
                )
            if key_name(label) != KeyName(label, None):
                raise WrongSettingsError(
                    f"a key that is to be made is named by a label, and not by {label!r}"
                )

    def generate_ca_key(self, label: str, key_type: str) -> IssuerKey:
        """Makes the sub-CA's key; `key_type` is one of `KEY_TYPES`."""
        with translated("generating the CA key"):
            if key_type in RSA_BITS:
                rsa_public = self._generate_rsa_pair(label, _SIGNS, (RSA_BITS[key_type],))
                return _issuer_key(public_of(rsa_public, ObjectClass.PUBLIC_KEY))
            parameters = encode_named_curve_parameters(_CURVES[key_type])
            public = self._generate_pair(KeyType.EC, parameters, label, Mechanism.EC_KEY_PAIR_GEN, _SIGNS)
            return _issuer_key(public_of(public, ObjectClass.PUBLIC_KEY))

    def generate_sealing_key(self, label: str) -> None:
        """Makes the key to which secrets are sealed: P-256 and for ECDH alone, or RSA and for decryption
        alone where the token has no ECDH."""
        with translated("generating the sealing key"):
            if not self._mechanisms() >= _SEALS_BY_ECDH:
                self._generate_rsa_pair(label, _DECRYPTS, _SEALING_BITS)
                return
            parameters = encode_named_curve_parameters(_CURVES["p256"])
            self._generate_pair(
                KeyType.EC, parameters, label, Mechanism.EC_KEY_PAIR_GEN, MechanismFlag.DERIVE
            )

    def generate_checkpoint_key(self, label: str) -> bytes:
        """Makes the log's Ed25519 key and returns its public key, 32 bytes."""
        with translated("generating the checkpoint key"):
            public = self._generate_pair(
                KeyType.EC_EDWARDS, _ED25519_PARAMETERS, label, Mechanism.EC_EDWARDS_KEY_PAIR_GEN, _SIGNS
            )
            point: bytes = public[Attribute.EC_POINT]
        # PKCS #11 3.0 says the raw point; most modules wrap it in an OCTET STRING.
        raw = point.removeprefix(b"\x04\x20") if len(point) == 34 else point
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise TokenError("the token gave no usable Ed25519 public key") from error
        return raw

    def generate_master_key(self, label: str) -> None:
        """Makes the chips' master key, which nobody ever sees."""
        with translated("generating the master key"):
            first_taken(
                partial(
                    self._session.generate_key,
                    KeyType.GENERIC_SECRET,
                    _MASTER_KEY_BITS,
                    label=label,
                    id=label.encode(),
                    store=True,
                    capabilities=MechanismFlag.SIGN,
                    template=template,
                )
                for template in secret_templates()
            )

    def _generate_pair(
        self,
        key_type: KeyType,
        parameters: bytes,
        label: str,
        mechanism: Mechanism,
        capabilities: MechanismFlag,
    ) -> pkcs11.PublicKey:
        domain = self._session.create_domain_parameters(
            key_type, {Attribute.EC_PARAMS: parameters}, local=True
        )
        public, _ = first_taken(
            partial(
                domain.generate_keypair,
                label=label,
                id=label.encode(),
                store=True,
                mechanism=mechanism,
                capabilities=capabilities,
                public_template=public,
                private_template=private,
            )
            for public, private in pair_templates(capabilities)
        )
        return public

    def _generate_rsa_pair(
        self, label: str, capabilities: MechanismFlag, sizes: Sequence[int]
    ) -> pkcs11.PublicKey:
        """Of the first size that the token takes."""
        public, _ = first_taken(
            partial(
                self._session.generate_keypair,
                KeyType.RSA,
                bits,
                label=label,
                id=label.encode(),
                store=True,
                mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
                capabilities=capabilities,
                public_template=public,
                private_template=private,
            )
            for bits in sizes
            for public, private in pair_templates(capabilities)
        )
        return public

    def change_pin(self, old: str, new: str) -> None:
        """Sets the user PIN."""
        with translated("changing the PIN"):
            self._session.set_pin(old, new)


def _template(label: str) -> dict[Attribute, object]:
    name = key_name(label)
    found = {Attribute.LABEL: name.label, Attribute.ID: name.id}
    return {attribute: value for attribute, value in found.items() if value is not None}


def _wants_pin_each_time(key: _SealedKey) -> bool:
    try:
        return bool(key[Attribute.ALWAYS_AUTHENTICATE])
    except AttributeTypeInvalid:  # modules older than PKCS #11 2.20 do not know it
        return False


def public_of(found: Any, kind: ObjectClass) -> object:
    """The public key in an object of a token. Raises WrongSettingsError: it is none that is known here."""
    try:
        if kind is ObjectClass.CERTIFICATE:
            return load_der_x509_certificate(found[Attribute.VALUE]).public_key()
        if found.key_type is KeyType.EC_EDWARDS:
            point: bytes = found[Attribute.EC_POINT]
            return ed25519.Ed25519PublicKey.from_public_bytes(point[-32:])  # raw, or in an OCTET STRING
        if found.key_type is KeyType.RSA:
            modulus, exponent = found[Attribute.MODULUS], found[Attribute.PUBLIC_EXPONENT]
            numbers = (int.from_bytes(each, "big") for each in (exponent, modulus))
            return rsa.RSAPublicNumbers(*numbers).public_key()
        return load_der_public_key(encode_ec_public_key(found))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WrongSettingsError("the token gave no usable public key") from error


def _issuer_key(public: object) -> IssuerKey:
    try:
        return issuer_key(public)[0]
    except ValueError as error:
        raise WrongSettingsError(f"the token gave another key: {error}") from error


def _issuing_type(key: _SealedKey) -> str | None:
    """One of `KEY_TYPES`."""
    if key.key_type is KeyType.RSA:
        bits = int.from_bytes(key[Attribute.MODULUS], "big").bit_length()
        return next((name for name, size in RSA_BITS.items() if size == bits), None)
    parameters = key[Attribute.EC_PARAMS]
    return next(
        (name for name, curve in _CURVES.items() if parameters == encode_named_curve_parameters(curve)), None
    )


def _recipient(public: object) -> Recipient:
    try:
        return Recipient.of(public)
    except SealingError as error:
        raise WrongSettingsError(f"the sealing key: {error}") from error
