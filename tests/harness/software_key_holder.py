"""`signerd.ports.KeyHolder` with software keys in this process, behind the same guard as the real one.

    authority = make_device_tree()
    holder = SoftwareKeyHolder(authority.sub_ca, authority.sub_ca_key)
    chain = (authority.sub_ca,)

It keeps the contract of the key holder process (tests/integration/signerd/keyholder/test_contract.py runs
over both), and can be made unavailable.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters import device_ca
from signerd.adapters.keyholder import guard
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.core.chip_key import KEY_BYTES, derive_chip_key
from signerd.core.issuer_algorithm import ThrowawayKey, issuer_key
from signerd.core.leaf import Leaf
from signerd.core.names import MacKey, MacQuestion
from signerd.core.note import VerifierKey
from signerd.errors import Unavailable

ORIGIN = "test.birthmark.example/line"


@dataclass(frozen=True, slots=True)
class DeviceTree:
    """A root and a sub-CA with software keys."""

    root: x509.Certificate
    root_key: ec.EllipticCurvePrivateKey
    sub_ca: x509.Certificate
    sub_ca_key: ThrowawayKey


def make_device_tree(
    *,
    deployment: str = "test",
    curve: ec.EllipticCurve | None = None,
    key: ThrowawayKey | None = None,
    now: datetime | None = None,
) -> DeviceTree:
    """A device tree that is valid from `now`; the sub-CA's key is P-256 unless `curve` or `key` say
    otherwise."""
    moment = now or datetime.now(UTC).replace(microsecond=0)
    root, root_key = device_ca.create_root(deployment, moment)
    key = key or ec.generate_private_key(curve or ec.SECP256R1())
    common_name = device_ca.sub_ca_common_name(deployment)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
        .sign(key, hashes.SHA256())
    )
    return DeviceTree(root, root_key, device_ca.sign_sub_ca(request, root, root_key, moment), key)


class SoftwareKeyHolder:
    """Set `available` to False for a key holder that does not answer; `now` is its clock."""

    def __init__(
        self,
        sub_ca: x509.Certificate,
        sub_ca_key: ThrowawayKey,
        *,
        origin: str = ORIGIN,
        max_validity_days: int = 10_950,
        allow_no_expiry: bool = True,
        master_key: bytes | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.available = True
        self._key = sub_ca_key
        _, self._algorithm = issuer_key(sub_ca_key.public_key())
        self._checkpoint_key = Ed25519PrivateKey.generate()
        self._master_key = master_key or secrets.token_bytes(32)
        self._now = now
        self.log = VerifierKey(origin, self._checkpoint_key.public_key().public_bytes_raw())
        self._guard = guard.Guard(
            guard.Authority.from_certificate(sub_ca.public_bytes(Encoding.DER)),
            guard.Limits(timedelta(days=max_validity_days), allow_no_expiry),
            self.log,
        )

    @property
    def vkey(self) -> str:
        """The log's verifier key, C2SP signed-note text."""
        return self.log.text()

    def chip_key(self, chip_id: str, key: MacKey = MacKey.CHIP, hash_name: str = "sha256") -> bytes:
        """What a trusted personalization would burn into this chip."""

        def mac(message: bytes) -> bytes:
            return hmac.digest(self._master_key, message, "sha256")

        return derive_chip_key(mac, chip_id, key, hash_name)

    async def sign_certificate(self, tbs: bytes, _leaf: Leaf | None = None) -> bytes:
        """See the port."""
        self._look(lambda: self._guard.check_certificate(tbs, self._now()))
        return self._algorithm.sign(self._key, tbs)

    async def sign_crl(self, tbs: bytes) -> bytes:
        """See the port."""
        self._look(lambda: self._guard.check_crl(tbs, self._now()))
        return self._algorithm.sign(self._key, tbs)

    async def sign_checkpoint(self, body: bytes) -> bytes:
        """See the port."""
        self._look(lambda: self._guard.check_checkpoint(body))
        return self._checkpoint_key.sign(body)

    async def check_chip_mac(self, question: MacQuestion) -> bool:
        """See the port."""
        if len(question.mac) != KEY_BYTES.get(question.hash):
            return False
        self._look(lambda: guard.check_chip_id(question.chip_id))
        self._look(lambda: guard.check_chip_key(question.key, question.hash))
        self._look(lambda: guard.check_message(question.message))
        key = self.chip_key(question.chip_id, question.key, question.hash)
        return hmac.compare_digest(hmac.digest(key, question.message, question.hash), question.mac)

    def _look(self, check: Callable[[], object]) -> None:
        if not self.available:
            raise Unavailable("the software key holder was made unavailable")
        try:
            check()
        except guard.SigningRefusedError as error:
            raise KeyHolderRefusal(f"the key holder refuses: {error}") from error
