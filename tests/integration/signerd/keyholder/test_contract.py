"""What every `signerd.ports.KeyHolder` keeps: on SoftHSM, a YubiKey, a TPM, in a pool; the tests' fake."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from harness.key_holders import TokenAtHand, make_token, running
from harness.signing_samples import checkpoint, crl_tbs, leaf_tbs
from harness.software_key_holder import SoftwareKeyHolder, make_device_tree
from harness.token_installation import TokenInstallation
from harness.yubikey_key_holders import SEALING_SLOT
from harness.yubikey_key_holders import at_hand as yubikey_at_hand
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.config import load
from signerd.core.issuer_algorithm import RSA_BITS
from signerd.core.names import MacKey, MacQuestion
from signerd.core.note import VerifierKey
from signerd.errors import Code
from signerd.ports import KeyHolder
from tokens import opencryptoki, presence, tpm2_token, yubikey
from tokens.opencryptoki import OpencryptokiToken
from tokens.piv_card import PivCard
from tokens.tpm2_token import Tpm2Token
from tokens.yubikey import VirtualYubiKey

CHIP = "chip-1"
SOFTWARE_RSA = rsa.generate_private_key(65537, 2048)
OTHER_CHIP = "chip-2"
Which = tuple[MacKey, str]
Made = tuple[TokenAtHand, Mapping[tuple[str, tuple[MacKey, str]], bytes]]
KEYS: tuple[Which, ...] = (
    (MacKey.CHIP, "sha256"),
    *((MacKey.PSA_IAK, hash_name) for hash_name in ("sha256", "sha384", "sha512")),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A key holder, and what belongs to its keys."""

    holder: KeyHolder
    sub_ca: x509.Certificate
    log: VerifierKey
    keys: Mapping[tuple[str, Which], bytes]  # of both chips

    def demand_signature(self, signature: bytes, message: bytes) -> None:
        """Raises InvalidSignature."""
        key = self.sub_ca.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            return
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))

    def demand_checkpoint_signature(self, signature: bytes, body: bytes) -> None:
        """Raises InvalidSignature."""
        Ed25519PublicKey.from_public_bytes(self.log.public_key).verify(signature, body)

    def mac(self, message: bytes) -> bytes:
        """As the chip would make it."""
        return self.mac_with((MacKey.CHIP, "sha256"), message)

    def mac_with(self, which: Which, message: bytes, chip_id: str = CHIP) -> bytes:
        """With one of the chip's keys, and its hash."""
        return hmac.digest(self.keys[chip_id, which], message, which[1])


def question(chip_id: str, message: bytes, mac: bytes, which: Which = (MacKey.CHIP, "sha256")) -> MacQuestion:
    return MacQuestion(chip_id, *which, message, mac)


@pytest.fixture(scope="session")
def derived(token: TokenAtHand) -> Mapping[tuple[str, Which], bytes]:
    """Each key of both chips, as a personalization gets them from the token."""
    return derived_by(token)


@pytest.fixture(scope="session")
def derived_by_sealed(sealed_token: TokenAtHand) -> Mapping[tuple[str, Which], bytes]:
    """The same from a master key that is sealed."""
    return derived_by(sealed_token)


def derived_by(token: TokenAtHand) -> Mapping[tuple[str, Which], bytes]:
    keys: dict[tuple[str, Which], bytes] = {}
    for which in KEYS:
        found = asyncio.run(derive_chip_keys(token.config.hsm, token.pin, [CHIP, OTHER_CHIP], *which))
        keys |= {(chip_id, which): key for chip_id, key in found.items()}
    return keys


@pytest.fixture(scope="module")
def yubikey_made() -> Iterator[VirtualYubiKey]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=31)) as key:
        key.generate("9a")
        key.generate(SEALING_SLOT)
        yield key


@pytest.fixture(scope="module")
def yubikey_rsa() -> Iterator[VirtualYubiKey]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=32)) as key:
        key.generate("9a", "RSA2048")
        key.generate(SEALING_SLOT)
        yield key


@pytest.fixture(scope="module")
def rsa_made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Of each type of RSA key an installation with such a sub-CA, and each key of both chips."""

    @cache
    def made(key_type: str) -> Made:
        token = make_token(tmp_path_factory.mktemp(key_type) / "dev", key_type=key_type)
        return token, derived_by(token)

    def elsewhere(key_type: str) -> Made:
        with ThreadPoolExecutor(1) as worker:  # made while a test's event loop runs here
            return worker.submit(made, key_type).result()

    return elsewhere


@pytest.fixture(scope="module")
def tpm_made(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TokenAtHand, Mapping[tuple[str, Which], bytes]]]:
    """An installation, and each key of both chips."""
    presence.skip(tpm2_token.missing())
    directory = tmp_path_factory.mktemp("tpm")
    with Tpm2Token() as token, TokenInstallation(directory, token) as installation:
        made = TokenAtHand(installation.home, load(installation.config))
        with ThreadPoolExecutor(1) as elsewhere:  # made while a test's event loop runs here
            derived = elsewhere.submit(derived_by, made).result()
        yield made, derived


@pytest.fixture(scope="module")
def opencryptoki_made(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TokenAtHand, Mapping[tuple[str, Which], bytes]]]:
    """An installation with an RSA issuer, since the token has no EC, and each key of both chips."""
    presence.skip(opencryptoki.missing())
    directory = tmp_path_factory.mktemp("opencryptoki")
    with (
        OpencryptokiToken() as token,
        TokenInstallation(directory, token, key_type="rsa2048") as installation,
    ):
        made = TokenAtHand(installation.home, load(installation.config))
        with ThreadPoolExecutor(1) as elsewhere:  # made while a test's event loop runs here
            derived = elsewhere.submit(derived_by, made).result()
        yield made, derived


@pytest.fixture(
    params=[
        "process",
        "pool",
        pytest.param("all sealed", marks=pytest.mark.check),
        pytest.param("YubiKey", marks=pytest.mark.check),
        pytest.param("YubiKey, RSA", marks=pytest.mark.soak),
        pytest.param("TPM", marks=pytest.mark.check),
        pytest.param("opencryptoki", marks=pytest.mark.check),
        *(  # one size for the mechanism; the others take a minute longer
            pytest.param(key_type, marks=pytest.mark.check if bits == 2048 else pytest.mark.soak)
            for key_type, bits in RSA_BITS.items()
        ),
        "software",
        "software, RSA",
    ]
)
async def subject(
    request: pytest.FixtureRequest,
    token: TokenAtHand,
    sealed_token: TokenAtHand,
    derived: Mapping[tuple[str, Which], bytes],
    derived_by_sealed: Mapping[tuple[str, Which], bytes],
) -> AsyncIterator[Subject]:
    if request.param in ("software", "software, RSA"):
        tree = make_device_tree(key=SOFTWARE_RSA if request.param == "software, RSA" else None)
        holder = SoftwareKeyHolder(tree.sub_ca, tree.sub_ca_key)
        keys = {(chip, which): holder.chip_key(chip, *which) for chip in (CHIP, OTHER_CHIP) for which in KEYS}
        yield Subject(holder, tree.sub_ca, holder.log, keys)
        return
    if request.param in ("YubiKey", "YubiKey, RSA"):
        made = "yubikey_made" if request.param == "YubiKey" else "yubikey_rsa"
        at_hand = yubikey_at_hand(request.getfixturevalue(made), "9a")
        keys = {
            (chip, which): at_hand.chip_key(chip, *which) for chip in (CHIP, OTHER_CHIP) for which in KEYS
        }
        async with running(at_hand.settings, at_hand.pin) as process:
            yield Subject(process, at_hand.sub_ca, at_hand.log, keys)
        return
    if request.param == "TPM":
        token, derived = request.getfixturevalue("tpm_made")
    if request.param == "opencryptoki":
        token, derived = request.getfixturevalue("opencryptoki_made")
    if request.param in RSA_BITS:
        token, derived = request.getfixturevalue("rsa_made")(request.param)
    if request.param == "all sealed":
        token, derived = sealed_token, derived_by_sealed
    if request.param != "pool":
        async with running(token.settings, token.pin) as process:
            yield Subject(process, token.sub_ca, token.log, derived)
        return
    pool = KeyHolderPool(token.settings, 2, on_change=lambda: None)
    await pool.start(token.pin)
    yield Subject(pool, token.sub_ca, token.log, derived)
    await pool.stop()


async def test_signs_a_leaf(subject: Subject) -> None:
    tbs = leaf_tbs(subject.sub_ca)
    signature = await subject.holder.sign_certificate(tbs)
    subject.demand_signature(signature, tbs)
    with pytest.raises(InvalidSignature):
        subject.demand_signature(signature, tbs + b"\x00")


async def test_signs_a_crl(subject: Subject) -> None:
    tbs = crl_tbs(subject.sub_ca)
    subject.demand_signature(await subject.holder.sign_crl(tbs), tbs)


async def test_signs_checkpoints_that_contradict_none_before(subject: Subject) -> None:
    body = checkpoint(subject.log.name, 5)
    signature = await subject.holder.sign_checkpoint(body)
    assert len(signature) == 64
    subject.demand_checkpoint_signature(signature, body)
    assert await subject.holder.sign_checkpoint(body) == signature
    for other in (checkpoint(subject.log.name, 4), checkpoint(subject.log.name, 5, root=b"\x02" * 32)):
        with pytest.raises(KeyHolderRefusal):
            await subject.holder.sign_checkpoint(other)
    await subject.holder.sign_checkpoint(checkpoint(subject.log.name, 6))


async def test_checks_a_chips_mac(subject: Subject) -> None:
    mac = subject.mac(b"transcript")
    changed = bytes([mac[0] ^ 1]) + mac[1:]
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", mac)) is True
    assert await subject.holder.check_chip_mac(question("chip-2", b"transcript", mac)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript!", mac)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", changed)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", mac[:31])) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", b"")) is False


@pytest.mark.parametrize("which", KEYS)
async def test_each_key_of_a_chip_checks_what_was_made_with_it_and_nothing_else(
    subject: Subject, which: Which
) -> None:
    mac = subject.mac_with(which, b"token")
    assert await subject.holder.check_chip_mac(question(CHIP, b"token", mac, which)) is True
    changed = bytes([mac[0] ^ 1]) + mac[1:]
    assert await subject.holder.check_chip_mac(question(CHIP, b"token", changed, which)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"token", mac[:-1], which)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"token", mac + b"\x00", which)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"Token", mac, which)) is False
    assert await subject.holder.check_chip_mac(question(OTHER_CHIP, b"token", mac, which)) is False
    for other in KEYS:
        if other != which:
            # With the other key's own hash, as a board that mixes up its keys would do it.
            mixed = hmac.digest(subject.keys[CHIP, which], b"token", other[1])
            assert await subject.holder.check_chip_mac(question(CHIP, b"token", mixed, other)) is False


async def test_no_two_keys_are_alike(subject: Subject) -> None:
    keys = sorted(subject.keys.values(), key=len)
    assert [len(key) for key in keys] == [32, 32, 32, 32, 48, 48, 64, 64]
    assert len({key[:16] for key in keys}) == len(keys)


@pytest.mark.parametrize("which", [(MacKey.CHIP, "sha384"), (MacKey.CHIP, "sha512")])
async def test_a_key_that_no_chip_has_is_refused(subject: Subject, which: Which) -> None:
    mac = hmac.digest(bytes(32), b"token", which[1])
    with pytest.raises(KeyHolderRefusal, match="no such key"):
        await subject.holder.check_chip_mac(question(CHIP, b"token", mac, which))


async def test_refuses_another_issuers_leaf_and_a_ca(subject: Subject) -> None:
    is_rsa = isinstance(subject.sub_ca.public_key(), rsa.RSAPublicKey)
    other = make_device_tree(deployment="other", key=SOFTWARE_RSA if is_rsa else None)
    with pytest.raises(KeyHolderRefusal, match="another issuer") as refusal:
        await subject.holder.sign_certificate(leaf_tbs(other.sub_ca))
    assert refusal.value.code is Code.INTERNAL
    ca = x509.BasicConstraints(ca=True, path_length=None)
    with pytest.raises(KeyHolderRefusal, match="not a leaf"):
        await subject.holder.sign_certificate(leaf_tbs(subject.sub_ca, extensions={ca.oid: (ca, True)}))
    tbs = leaf_tbs(subject.sub_ca)
    subject.demand_signature(await subject.holder.sign_certificate(tbs), tbs)


async def test_one_kind_is_not_signed_as_another(subject: Subject) -> None:
    with pytest.raises(KeyHolderRefusal):
        await subject.holder.sign_certificate(crl_tbs(subject.sub_ca))
    with pytest.raises(KeyHolderRefusal):
        await subject.holder.sign_crl(leaf_tbs(subject.sub_ca))
    with pytest.raises(KeyHolderRefusal):
        await subject.holder.sign_checkpoint(leaf_tbs(subject.sub_ca))


async def test_refuses_a_mac_out_of_bounds(subject: Subject) -> None:
    mac = subject.mac(b"transcript")
    for chip_id, message in (("", b"m"), ("a b", b"m"), (CHIP, b""), (CHIP, b"x" * 20_000)):
        with pytest.raises(KeyHolderRefusal):
            await subject.holder.check_chip_mac(question(chip_id, message, mac))


async def test_many_at_once_each_get_their_own_answer(subject: Subject) -> None:
    messages = [leaf_tbs(subject.sub_ca) for _ in range(40)]
    macs = [b"message %d" % number for number in range(40)]
    signatures, checks, refusals = await asyncio.gather(
        asyncio.gather(*(subject.holder.sign_certificate(tbs) for tbs in messages)),
        asyncio.gather(
            *(subject.holder.check_chip_mac(question(CHIP, text, subject.mac(text))) for text in macs)
        ),
        asyncio.gather(*(subject.holder.sign_crl(tbs) for tbs in messages), return_exceptions=True),
    )
    for tbs, signature in zip(messages, signatures, strict=True):
        subject.demand_signature(signature, tbs)
    assert checks == [True] * 40
    assert all(isinstance(refusal, KeyHolderRefusal) for refusal in refusals)
