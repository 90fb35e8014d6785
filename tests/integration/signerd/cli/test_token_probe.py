"""`signerd token probe`: what a token is, holds and does; and modules that hang, crash or lie."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.installation import Installation
from harness.process import run
from harness.shim import CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKR_SESSION_HANDLE_INVALID, Shim
from harness.signerd_commands import SIGNERD
from signerd.adapters.keyholder.pool import rejected_pins
from signerd.config import load
from tokens import presence, tpm2_token, yubikey
from tokens.piv_card import PivCard
from tokens.tpm2_token import Tpm2Token
from tokens.yubikey import VirtualYubiKey

pytestmark = pytest.mark.check
_ONCE = ("--seconds", "0")
_PIN = "123456"


def _probe(
    module: str | Path, *arguments: str, environment: Mapping[str, str], timeout_s: float = 90
) -> tuple[int, str, str]:
    variables = [part for item in environment.items() for part in ("--hsm-env", "=".join(item))]
    done = subprocess.run(
        [str(SIGNERD), "token", "probe", str(module), *variables, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _document(module: str | Path, *arguments: str, environment: Mapping[str, str]) -> dict[str, Any]:
    code, printed, said = _probe(module, "--json", *arguments, environment=environment)
    assert code == 0, said
    document: dict[str, Any] = json.loads(printed)
    return document


@pytest.fixture
def pin(tmp_path: Path) -> str:
    """Of the tokens here that have no installation."""
    return _pin_file(tmp_path, _PIN)


def _pin_file(folder: Path, pin: str) -> str:
    path = folder / "probe.pin"
    path.write_text(pin)
    path.chmod(0o400)
    return f"file:{path}"


class Bed:
    """The token of an installation, which is left as it is, behind the shim."""

    def __init__(self, installation: Installation, shim: Shim) -> None:
        hsm = load(installation.config).hsm
        self.shim, self.token = shim, hsm.token
        self.environment = {**hsm.environment, **shim.environment}
        self.pin = f"file:{installation.home / hsm.pin.removeprefix('file:')}"

    def probe(self, *arguments: str) -> tuple[int, str, str]:
        return _probe(self.shim.module, "--token", self.token, *arguments, environment=self.environment)


@pytest.fixture
def bed(unstarted: Installation, tmp_path: Path) -> Bed:
    return Bed(unstarted, Shim.build(tmp_path / "shim", before=load(unstarted.config).hsm.module))


@pytest.fixture
def empty(tmp_path: Path) -> Mapping[str, str]:
    """A SoftHSM token without keys, whose label an enemy chose."""
    (tmp_path / "tokens").mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    environment = {"SOFTHSM2_CONF": str(settings)}
    command = [
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        "\x1b[2Jred",
        "--pin",
        _PIN,
        "--so-pin",
        _PIN,
    ]
    run(command, environment={**os.environ, **environment})
    return environment


def test_an_installations_token_holds_all_its_keys(bed: Bed) -> None:
    code, printed, said = bed.probe("--pin", bed.pin, *_ONCE, "--json")
    assert code == 0, said
    document = json.loads(printed)
    tried = {(each["key"], each["mechanism"]): each["outcome"] for each in document["tried"]}
    assert tried == {
        ("birthmark-ca", "ECDSA"): "holds",
        ("birthmark-checkpoint", "EDDSA"): "holds",
        ("birthmark-master", "SHA256_HMAC"): "holds",
    }
    assert {each["where"] for each in document["roles"]} == {"token"}
    assert document["sealed"] == []
    facts = {each["label"]: each for each in document["keys"]}["birthmark-ca"]
    assert (facts["type"], facts["sensitive"], facts["extractable"]) == ("EC P-256", True, False)
    assert facts["always_authenticate"] is False
    assert len(bed.shim.calls("C_Login")) == 1


def test_the_table_says_the_same(bed: Bed) -> None:
    code, printed, _ = bed.probe("--pin", bed.pin, *_ONCE)
    assert code == 0
    assert "birthmark-checkpoint" in printed
    assert "CKM_EDDSA" in printed
    assert "not extractable" in printed


def test_without_a_pin_it_does_not_log_in(bed: Bed) -> None:
    code, printed, _ = bed.probe("--json")
    assert code == 0
    assert bed.shim.calls("C_Login") == []
    assert json.loads(printed)["keys"] == []  # they are private


def test_a_module_that_hangs_is_ended_and_the_rest_is_told(bed: Bed) -> None:
    bed.shim.rule("C_Login", "hang")
    code, printed, said = bed.probe("--pin", bed.pin, "--deadline", "2", "--json")
    assert code == 75
    assert "did not come back within 2 s while logging in" in said
    assert json.loads(printed)["mechanisms"]


def test_a_module_that_crashes_is_named(bed: Bed) -> None:
    bed.shim.rule("C_Sign", "crash")
    code, printed, said = bed.probe("--pin", bed.pin)
    assert code == 75
    assert "the module crashed while trying ECDSA with the key 'birthmark-ca' (SIG" in said
    assert "birthmark-ca" in printed


def test_signatures_that_do_not_hold_are_a_failure(bed: Bed) -> None:
    bed.shim.rule("C_Sign", "garble")
    code, printed, said = bed.probe("--pin", bed.pin, *_ONCE)
    assert code == 1
    assert "does not hold" in printed
    assert "do not use it" in said


def test_a_wrong_pin_is_tried_once(empty: Mapping[str, str], tmp_path: Path, unstarted: Installation) -> None:
    shim = Shim.build(tmp_path / "shim", before=load(unstarted.config).hsm.module)
    wrong = ("--pin", _pin_file(tmp_path, "654321"))
    code, printed, said = _probe(shim.module, *wrong, environment={**empty, **shim.environment})
    assert code == 77
    assert "CKR_PIN_INCORRECT" in said
    assert "CKM_ECDSA" in printed
    assert len(shim.calls("C_Login")) == 1


@pytest.mark.parametrize(
    ("flag", "state"), [(CKF_USER_PIN_FINAL_TRY, "one try left"), (CKF_USER_PIN_LOCKED, "locked")]
)
def test_a_token_with_one_try_left_is_left_alone(bed: Bed, flag: int, state: str) -> None:
    bed.shim.rule("C_GetTokenInfo", "flags", flag)
    code, printed, _ = bed.probe("--pin", bed.pin, "--json")
    assert code == 77
    assert json.loads(printed)["token"]["pin"] == state
    assert bed.shim.calls("C_Login") == []


def test_what_a_module_calls_itself_does_not_reach_the_terminal(
    empty: Mapping[str, str], unstarted: Installation, pin: str
) -> None:
    code, printed, said = _probe(load(unstarted.config).hsm.module, "--pin", pin, environment=empty)
    assert code == 0, said
    assert "\x1b" not in printed + said
    assert "[2Jred" in printed


def test_a_session_that_idleness_ends_is_told(
    empty: Mapping[str, str], unstarted: Installation, pin: str, tmp_path: Path
) -> None:
    shim = Shim.build(tmp_path / "shim", before=load(unstarted.config).hsm.module)
    idle = ("--pin", pin, "--idle", "0.1")
    environment = {**empty, **shim.environment}
    assert _document(shim.module, *idle, environment=environment)["idle"]["outcome"] == "the session lives"
    shim.rule("C_GenerateRandom", "fail", CKR_SESSION_HANDLE_INVALID)
    lost = _document(shim.module, *idle, environment=environment)["idle"]["outcome"]
    assert lost.startswith("CKR_SESSION_HANDLE_INVALID: the session is gone")


def test_modules_and_tokens_that_are_not_there(empty: Mapping[str, str], unstarted: Installation) -> None:
    module = load(unstarted.config).hsm.module
    code, _, said = _probe("/nowhere/module.so", environment={})
    assert (code, "cannot load the PKCS#11 module /nowhere/module.so" in said) == (3, True)
    code, _, said = _probe(__file__, environment={})
    assert (code, f"cannot load the PKCS#11 module {__file__}: " in said) == (3, True)
    code, _, said = _probe(module, "--token", "other", environment=empty)
    assert (code, "has no token 'other'; it has" in said) == (3, True)
    code, _, said = _probe(module, "--token", "pkcs11:colour=red", environment=empty)
    assert (code, "colour" in said) == (2, True)


@pytest.fixture(scope="module")
def yubikeys() -> Iterator[VirtualYubiKey]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=21), PivCard(serial=22)) as keys:
        for slot, algorithm in (("9a", "ECCP256"), ("9c", "ECCP384"), ("9d", "ECCP256"), ("82", "RSA2048")):
            keys.generate(slot, algorithm)
        yield keys


def test_a_yubikey(yubikeys: VirtualYubiKey, pin: str) -> None:
    chosen = ("--token", "21", "--pin", pin, *_ONCE)
    document = _document(yubikeys.module, *chosen, environment=yubikeys.environment)
    outcomes = {(each["id"], each["mechanism"]): each["outcome"] for each in document["tried"]}
    uses = {("01", "ECDSA"), ("02", "ECDSA"), ("03", "ECDH1_DERIVE"), ("05", "SHA256_RSA_PKCS")}
    assert {outcomes[use] for use in uses} == {"holds"}
    assert [each["id"] for each in document["keys"] if each["always_authenticate"]] == ["02"]
    assert document["sealed"] == ["checkpoint", "chip master"]


def test_two_yubikeys_are_told_apart(yubikeys: VirtualYubiKey) -> None:
    code, _, said = _probe(yubikeys.module, environment=yubikeys.environment)
    assert code == 3
    assert "several tokens: name one by its serial number" in said
    for choice in ("22", "YubiKey PIV #22", "pkcs11:serial=22"):
        found = _document(yubikeys.module, "--token", choice, environment=yubikeys.environment)
        assert found["token"]["serial"] == "22"


def test_a_yubikey_with_one_try_left_keeps_it(pin: str) -> None:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=23)) as key:
        (card,) = key.cards
        card.pin.left = 1
        code, _, said = _probe(key.module, "--pin", pin, environment=key.environment)
        assert (code, card.pin.left, card.uses.pins) == (77, 1, 0)
        assert "one more wrong PIN would lock" in said


def test_a_tpm(pin: str) -> None:
    presence.skip(tpm2_token.missing())
    with Tpm2Token() as token:
        token.add_key("ca", "ecc256")
        token.add_key("master", "hmac:sha256")
        chosen = ("--token", token.label, "--pin", pin, *_ONCE)
        document = _document(token.module, *chosen, environment=token.environment)
    outcomes = {(each["key"], each["mechanism"]): each["outcome"] for each in document["tried"]}
    assert outcomes == {("ca", "ECDSA"): "holds", ("master", "SHA256_HMAC"): "holds"}
    places = {each["key"]: each["where"] for each in document["roles"]}
    assert (places["chip master"], places["checkpoint"]) == (
        "token",
        "sealed",
    )  # neither Ed25519 nor ECDH: to an RSA key


def test_a_pin_that_an_installation_saw_rejected_is_not_tried(tmp_path: Path, fresh: Installation) -> None:
    hsm = load(fresh.config).hsm
    given = ("--token", hsm.token, "--config", str(fresh.config), *_ONCE)
    right = ("--pin", f"file:{fresh.home / 'hsm.pin'}")
    wrong = ("--pin", _pin_file(tmp_path, "not-the-pin"))
    rejected_pins(load(fresh.config)).add(b"not-the-pin")
    code, printed, said = _probe(hsm.module, *given, *wrong, environment=hsm.environment)
    assert (code, printed, "it was not asked" in said) == (77, "", True)
    code, _, said = _probe(hsm.module, *given, *right, environment=hsm.environment)
    assert code == 0, said
