"""One signature, agreement or decryption of each kind with a key of a token, checked, and how long it takes.

What is signed says that it is a probe: no certificate, no CRL and no checkpoint begins so. Signatures are
held against the public key that the token shows beside the private one, agreements and decryptions against
ours.
"""

from __future__ import annotations

import hashlib
import hmac
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11._pkcs11 import DeriveMixin  # type: ignore[attr-defined]  # its types leave it out
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KDF
from pkcs11.util.ec import encode_ecdsa_signature

from signerd.adapters.keyholder.return_values import described
from signerd.adapters.keyholder.token import WrongSettingsError, public_of
from signerd.core.issuer_algorithm import SHA256_DIGEST_INFO

_MESSAGE = b"birthmark token probe"
_MOST_TIMES = 10_000
_HOLDS = "holds"
_UNCHECKED = "not checked: the token shows no public key beside it"
_READABLE = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}  # of the secret agreed on
Trial = Callable[[], str]


class KeyTrials:
    """Of the keys of one session."""

    def __init__(self, session: pkcs11.Session, pin: str, mechanisms: set[str]) -> None:
        self._session = session
        self._pin = pin
        self._mechanisms = mechanisms
        self._worked: Trial | None = None

    def of(self, key: Any) -> Iterator[tuple[str, Trial]]:
        """The mechanisms that a key is for, and a call of each that says whether its outcome holds."""
        kind = attribute_of(key, Attribute.KEY_TYPE)
        trials: dict[Any, list[tuple[str, Callable[[Any], str]]]] = {
            KeyType.EC: [("ECDSA", self._ecdsa), ("ECDH1_DERIVE", self._ecdh)],
            KeyType.EC_EDWARDS: [("EDDSA", self._eddsa)],
            KeyType.RSA: [(self._rsa_mechanism(), self._rsa), ("RSA_PKCS_OAEP", self._oaep)],
            KeyType.GENERIC_SECRET: [("SHA256_HMAC", self._hmac)],
            KeyType.SHA256_HMAC: [("SHA256_HMAC", self._hmac)],
        }
        for name, trial in trials.get(kind, []):
            if name in self._mechanisms and self._is_for(key, name):
                yield name, lambda trial=trial: trial(key)  # type: ignore[misc]

    def _is_for(self, key: Any, name: str) -> bool:
        if name == "RSA_PKCS_OAEP":
            return bool(attribute_of(key, Attribute.DECRYPT))
        if name == "ECDH1_DERIVE" and attribute_of(key, Attribute.DECRYPT):
            return True  # some modules say CKA_DERIVE false of a key that does it (ykcs11)
        return bool(attribute_of(key, Attribute.DERIVE if name == "ECDH1_DERIVE" else Attribute.SIGN))

    def timed(self, name: str, trial: Trial, seconds: float) -> dict[str, object]:
        """Does it again and again for so long, at least once."""
        taken: list[float] = []
        outcome = _HOLDS
        end = time.monotonic() + seconds
        while outcome in (_HOLDS, _UNCHECKED):
            begun = time.monotonic()
            outcome = self._outcome(trial)
            taken.append(time.monotonic() - begun)
            if time.monotonic() >= end or len(taken) >= _MOST_TIMES:
                break
        if outcome in (_HOLDS, _UNCHECKED):
            self._worked = self._worked or trial
        return {
            "mechanism": name,
            "outcome": outcome,
            "times": len(taken),
            "per_second": round(len(taken) / sum(taken), 1),
            "median_ms": round(1_000 * statistics.median(taken), 2),
            "slowest_ms": round(1_000 * max(taken), 2),
        }

    def once(self) -> None:
        """Uses the session: by what worked before, else by asking for random bytes. Raises PKCS11Error."""
        if self._worked is None:
            self._session.generate_random(64)
        else:
            self._worked()

    def _outcome(self, trial: Trial) -> str:
        try:
            return trial()
        except PKCS11Error as error:
            return described(error)
        except (InvalidSignature, ValueError):
            return "does not hold"

    def _sign(self, key: Any, data: bytes, mechanism: Mechanism) -> bytes:
        always = bool(attribute_of(key, Attribute.ALWAYS_AUTHENTICATE))
        given = {"pin": self._pin} if always else {}
        signature: bytes = key.sign(data, mechanism=mechanism, **given)
        return signature

    def _ecdsa(self, key: Any) -> str:
        digest = hashlib.sha256(_MESSAGE).digest()
        signature = encode_ecdsa_signature(self._sign(key, digest, Mechanism.ECDSA))
        public = self._public(key)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return _UNCHECKED
        public.verify(signature, _MESSAGE, ec.ECDSA(hashes.SHA256()))
        return _HOLDS

    def _eddsa(self, key: Any) -> str:
        signature = self._sign(key, _MESSAGE, Mechanism.EDDSA)
        public = self._public(key)
        if not isinstance(public, ed25519.Ed25519PublicKey):
            return _UNCHECKED
        public.verify(signature, _MESSAGE)
        return _HOLDS

    def _rsa(self, key: Any) -> str:
        if self._rsa_mechanism() == "RSA_PKCS":  # pads what it is given (PKCS #11 §2.1.6)
            padded = SHA256_DIGEST_INFO + hashlib.sha256(_MESSAGE).digest()
            signature = self._sign(key, padded, Mechanism.RSA_PKCS)
        else:
            signature = self._sign(key, _MESSAGE, Mechanism.SHA256_RSA_PKCS)
        public = self._public(key)
        if not isinstance(public, rsa.RSAPublicKey):
            return _UNCHECKED
        public.verify(signature, _MESSAGE, padding.PKCS1v15(), hashes.SHA256())
        return _HOLDS

    def _rsa_mechanism(self) -> str:
        return "SHA256_RSA_PKCS" if "SHA256_RSA_PKCS" in self._mechanisms else "RSA_PKCS"

    def _hmac(self, key: Any) -> str:
        first, second = (self._sign(key, _MESSAGE, Mechanism.SHA256_HMAC) for _ in range(2))
        return _HOLDS if len(first) == 32 and hmac.compare_digest(first, second) else "does not hold"

    def _ecdh(self, key: Any) -> str:
        public = self._public(key)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return _UNCHECKED
        ours = ec.generate_private_key(public.curve)
        point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        # As a function: python-pkcs11 leaves the method out where a module says CKA_DERIVE false.
        secret = DeriveMixin.derive_key(
            key,
            KeyType.GENERIC_SECRET,
            8 * ((public.curve.key_size + 7) // 8),
            mechanism=Mechanism.ECDH1_DERIVE,
            mechanism_param=(KDF.NULL, None, point),
            store=False,
            template=_READABLE,
        )
        agreed: bytes = secret[Attribute.VALUE]
        secret.destroy()
        return _HOLDS if hmac.compare_digest(agreed, ours.exchange(ec.ECDH(), public)) else "does not hold"

    def _oaep(self, key: Any) -> str:
        public = self._public(key)
        if not isinstance(public, rsa.RSAPublicKey):
            return _UNCHECKED
        digest = hashes.SHA256()
        sealed = public.encrypt(_MESSAGE, padding.OAEP(padding.MGF1(digest), digest, None))
        parameters = (Mechanism.SHA256, MGF.SHA256, None)
        opened = key.decrypt(sealed, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters)
        return _HOLDS if hmac.compare_digest(opened, _MESSAGE) else "does not hold"

    def _public(self, key: Any) -> object:
        """The public key beside a private one (PKCS #11, section 4.6: of the same CKA_ID). An id that is
        empty pairs nothing: then it is the label."""
        name = Attribute.ID if attribute_of(key, Attribute.ID) else Attribute.LABEL
        beside = {name: attribute_of(key, name)}
        for kind in (ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE):
            for found in self._session.get_objects({Attribute.CLASS: kind, **beside}):
                try:
                    return public_of(found, kind)
                except (PKCS11Error, WrongSettingsError):
                    continue
        return None


def attribute_of(key: Any, attribute: Attribute) -> Any:
    """An attribute, or None where the token does not say."""
    try:
        return key[attribute]
    except (PKCS11Error, ValueError, NotImplementedError):
        return None
