"""`signerd init` with tokens and keys that the vendor's tool made, by every kind of name. What it cannot take
it names before it makes anything, and ends with the code of what somebody has to mend."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from harness.process import run
from harness.signerd_commands import SIGNERD, run_signerd
from harness.softhsm_token import token_options
from signerd.adapters.installation import softhsm
from signerd.config import load

pytestmark = pytest.mark.check
PIN = "12 34é"  # of blanks, and not of ASCII alone
CA, TWIN = "Werk Ä €", "twin"

# Prints the serial numbers of tokens, and makes keys as a vendor's tool may: without ids, two alike, without
# a public key, with another one's.
VENDOR = """
import json, sys
import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters
module, pin, label = sys.argv[1:]
tokens = [slot.get_token() for slot in pkcs11.lib(module).get_slots()]
print(json.dumps([[token.label, token.serial.decode()] for token in tokens]))
kept = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
with next(token for token in tokens if token.label == label).open(rw=True, user_pin=pin) as session:
    def ec(label, curve="secp256r1", id=b"", kept=kept):
        parameters = encode_named_curve_parameters(curve)
        domain = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: parameters}, local=True)
        pair = domain.generate_keypair(label=label, id=id, store=True, private_template=kept)
        return pair
    ec("Schlüssel", id=bytes([0, 255, 47]))
    ec("no id 1"), ec("no id 2")
    ec("twins", id=b"1"), ec("twins", id=b"2")
    ec("p521", "secp521r1", id=b"521")
    ec("k256", "secp256k1", id=b"256")
    ec("readable", id=b"r", kept={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
    ec("alone", id=b"a")[0].destroy()
    ec("robbed", id=b"x")[0].destroy()
    foreign, private = ec("foreign", id=b"y")
    private.destroy()
    foreign.copy({Attribute.ID: b"x", Attribute.LABEL: "robbed"})
    session.generate_keypair(KeyType.RSA, 1024, label="rsa1024", id=b"10", store=True, private_template=kept)
    public, _ = session.generate_keypair(
        KeyType.RSA, 2048, label="rsa2048", id=b"20", store=True, private_template=kept
    )
    public.destroy()
"""


class Vendor:
    """A SoftHSM with tokens: one of a name of many letters, two of one name, and keys in the first."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.module = softhsm.find_module()
        (directory / "tokens").mkdir()
        configuration = directory / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\n", encoding="utf-8")
        self.environment = {"SOFTHSM2_CONF": str(configuration)}
        for label in (CA, TWIN, TWIN):
            new = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678"]
            run([*new, "--pin", PIN], environment=self.environment)
        told = self._python(VENDOR, str(self.module), PIN, CA)
        self.serials = [serial for label, serial in told if label == TWIN]
        (self.serial,) = [serial for label, serial in told if label == CA]
        self.pin_file = directory / "pin"

    def options(self, token: str, pin: str = PIN) -> Sequence[str | Path]:
        self.pin_file.unlink(missing_ok=True)
        return token_options(self.module, token, f"{pin}\n".encode(), self.pin_file, self.environment)

    def labels(self) -> list[str]:
        """Of all that is in the token with keys."""
        return sorted(
            self._python(
                "import json, pkcs11, sys\n"
                "token = next(t for t in pkcs11.lib(sys.argv[1]).get_tokens(token_label=sys.argv[3]))\n"
                "with token.open(user_pin=sys.argv[2]) as session:\n"
                "    print(json.dumps([each.label for each in session.get_objects()]))\n",
                str(self.module),
                PIN,
                CA,
            )
        )

    def _python(self, program: str, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.mktemp("vendor") / "hsm")


def init(vendor: Vendor, home: Path, token: str, *more: str, pin: str = PIN) -> tuple[int, str]:
    """Its exit code, and what it said. What is sealed needs no key but the CA's and the sealing one."""
    names = ("--deployment", "example", "--server-name", "127.0.0.1")
    return run_signerd("init", home, *vendor.options(token, pin), *names, *more)


SEALED = ("--checkpoint-key", "sealed", "--master-key", "none", "--no-spare")


@pytest.mark.parametrize(
    "key",
    [
        "Schlüssel",
        "id:00ff2f",
        "pkcs11:id=%00%ff/".replace("/", "%2f"),
        "pkcs11:token=Werk%20%C3%84%20%E2%82%AC;model=SoftHSM%20v2;object=Schl%C3%BCssel;type=private",
        "no id 2",
        "rsa2048",
    ],
)
def test_a_key_is_taken_by_any_of_its_names(vendor: Vendor, tmp_path: Path, key: str) -> None:
    taken = (*SEALED, "--ca-key", key, "--sealing-key", "id:00ff2f")
    code, said = init(vendor, tmp_path / "home", CA, *taken)
    assert code == 0, said
    request = x509.load_pem_x509_csr((tmp_path / "home" / "ca" / "sub-ca.csr.pem").read_bytes())
    assert request.is_signature_valid
    assert not [label for label in vendor.labels() if label.startswith("birthmark-")]


REFUSED = {
    "missing": (("--ca-key", "missing"), "the token holds no key of this name"),
    "two alike": (("--ca-key", "twins"), "several keys have this name"),
    "another curve": (("--ca-key", "p521"), "must be P-256, P-384, or RSA of 2048, 3072 or 4096 bits"),
    "Bitcoin's curve": (("--ca-key", "k256"), "must be P-256, P-384, or RSA"),
    "a short RSA key": (("--ca-key", "rsa1024"), "must be P-256, P-384, or RSA"),
    "a key that can leave": (("--ca-key", "readable"), "can be read out of the token"),
    "no public half": (("--ca-key", "alone"), "neither a public key nor a certificate"),
    "in another token": (("--ca-key", "pkcs11:token=other;object=twins"), "in another token"),
    "a sealing key that is missing": (
        ("--ca-key", "id:31", "--sealing-key", "missing"),
        "no key of this name",
    ),
    "a slot of no PIV card": (("--ca-key", "9c"), "named slot:9c"),
    "a sealing key of another curve": (
        ("--ca-key", "id:31", "--sealing-key", "p521"),
        "secrets are sealed to",
    ),
    "a PIN in the URI": (("--ca-key", "pkcs11:id=1?pin-value=1234"), "never stands in clear"),
}


@pytest.mark.parametrize(("more", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_is_named_before_anything_is_made(
    vendor: Vendor, tmp_path: Path, more: tuple[str, ...], reason: str
) -> None:
    before = vendor.labels()
    code, said = init(vendor, tmp_path / "home", CA, *SEALED, *more)
    assert (code, reason in said) == (3, True), said
    assert "remove what is there of" not in said
    assert vendor.labels() == before


def test_a_public_key_that_is_anothers_is_noticed(vendor: Vendor, tmp_path: Path) -> None:
    """Else the root certifies a key that signs nothing."""
    taken = (*SEALED, "--ca-key", "robbed", "--sealing-key", "id:00ff2f")
    code, said = init(vendor, tmp_path / "home", CA, *taken)
    assert (code, "is another key's" in said) == (75, True), said


@pytest.mark.parametrize(
    "name", ["{serial}", "pkcs11:serial={serial}", "PKCS11:token=Werk%20%C3%84%20%E2%82%AC"]
)
def test_a_token_is_taken_by_any_of_its_names(vendor: Vendor, tmp_path: Path, name: str) -> None:
    taken = (*SEALED, "--ca-key", "id:31", "--sealing-key", "id:00ff2f")
    code, said = init(vendor, tmp_path / "home", name.format(serial=vendor.serial), *taken)
    assert code == 0, said


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (TWIN, "name one by its serial number"),
        ("nowhere", "the module has no token 'nowhere'; it has"),
        ("pkcs11:slot-id=0", "the module has no token"),
    ],
)
def test_a_token_that_is_not_one_is_not_asked(
    vendor: Vendor, tmp_path: Path, token: str, reason: str
) -> None:
    code, said = init(vendor, tmp_path / "home", token)
    assert (code, reason in said) == (3, True), said
    assert token != TWIN or all(serial in said for serial in vendor.serials)


def test_one_of_two_that_share_a_label(vendor: Vendor, tmp_path: Path) -> None:
    code, said = init(vendor, tmp_path / "home", f"pkcs11:token={TWIN};serial={vendor.serials[0]}")
    assert code == 0, said


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x01" + bytes(80), b"no module"])
def test_a_file_that_is_no_module_of_this_machine(vendor: Vendor, tmp_path: Path, content: bytes) -> None:
    """Of 32 bits, for example: nothing but another file mends it."""
    module = tmp_path / "module.so"
    module.write_bytes(content)
    vendor_module, vendor.module = vendor.module, module
    try:
        code, said = init(vendor, tmp_path / "home", CA)
    finally:
        vendor.module = vendor_module
    assert (code, f"cannot load the PKCS#11 module {module}" in said) == (3, True), said


def test_variables_of_any_name_reach_the_settings_as_they_are(vendor: Vendor, tmp_path: Path) -> None:
    odd = {"A.B": "c=d", 'two "words"': "", "Ä": "[authority]\nname = 1"}
    given = [f"--hsm-env={name}={value}" for name, value in odd.items()]
    taken = (*SEALED, "--ca-key", "id:31", "--sealing-key", "id:00ff2f")
    code, said = init(vendor, tmp_path / "home", CA, *taken, *given)
    assert code == 0, said
    found = load(tmp_path / "home" / "signerd.toml").hsm.environment
    assert found == vendor.environment | odd


def test_a_module_that_is_named_from_the_folder_at_hand_is_found_from_any_other(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the daemon, which systemd starts in another one, does not find it."""
    module, vendor.module = vendor.module, Path("here/libsofthsm2.so")
    (tmp_path / "here").symlink_to(module.parent)
    monkeypatch.chdir(tmp_path)
    taken = (*SEALED, "--ca-key", "id:31", "--sealing-key", "id:00ff2f")
    try:
        code, said = init(vendor, tmp_path / "home", CA, *taken)
    finally:
        vendor.module = module
    assert code == 0, said
    assert load(tmp_path / "home" / "signerd.toml").hsm.module == tmp_path / "here" / "libsofthsm2.so"


def test_a_rejected_pin_is_not_tried_again_under_another_name_of_the_token(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tries are all that a YubiKey has, and it does not know by which name it is called."""
    wrong = "not the PIN"

    def tried(name: str) -> bool:
        code, said = init(vendor, tmp_path / secrets.token_hex(4), name, pin=wrong)
        assert code == 77, said
        assert ("CKR_PIN_INCORRECT" in said) != ("it is not tried again" in said)
        return "CKR_PIN_INCORRECT" in said

    first, second = vendor.serials
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "by-label"))
    assert tried(CA)
    assert not any(map(tried, (CA, vendor.serial, f"pkcs11:serial={vendor.serial}")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "by-serial"))
    assert tried(f"pkcs11:serial={vendor.serial}")
    assert not any(map(tried, (vendor.serial, CA, "pkcs11:token=Werk%20%C3%84%20%E2%82%AC")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "twins"))
    assert tried(f"pkcs11:token={TWIN};serial={first}")
    assert tried(f"pkcs11:token={TWIN};serial={second}")  # another token, whose PIN it may be


def test_the_probe_pairs_keys_without_ids_by_their_labels(vendor: Vendor) -> None:
    """Else it says of a good token that it signs falsely."""
    options = [str(option) for option in vendor.options(CA)][2:]  # without the module, which is an argument
    done = subprocess.run(
        [str(SIGNERD), "token", "probe", str(vendor.module), *options, "--seconds", "0", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    tried = json.loads(done.stdout)["tried"]
    outcomes = {each["outcome"] for each in tried if each["key"].startswith("no id")}
    assert outcomes == {"holds"}
    # The one whose public key is another's is found out, and alone.
    assert {each["key"] for each in tried if each["outcome"] == "does not hold"} == {"robbed"}
    assert done.returncode == 1, done.stderr
