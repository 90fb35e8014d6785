"""As `test_every_login.py`, where a key holder's service has the token: its start, and each command that goes
to the token itself with `--key-holder`. What one of them saw rejected, none of them tries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.main import get_command

from harness.further_issuers import signed_by_own_root
from harness.key_holder_service import KeyHolderService
from harness.sealed_installation import SealedInstallation, SpareToken
from harness.shim import CKF_USER_PIN_FINAL_TRY, CKR_PIN_INCORRECT, Shim
from harness.signerd_commands import signerd
from signerd.adapters.cli.app import build_app
from signerd.adapters.installation import softhsm
from signerd.adapters.keyholder.service.settings import load

pytestmark = pytest.mark.check

WRONG_PIN = 77


class Desk:
    """An installation whose service has a token behind the shim, with what is sealed to it."""

    def __init__(self, installation: SealedInstallation, folder: Path) -> None:
        self.installation, self.folder = installation, folder
        self.service = KeyHolderService(installation)
        self.settings = self.service.settings
        self.pin_file = self.settings.parent / "main.pin"
        self.shim = Shim.build(folder / "shim", before=softhsm.find_module())
        self.shim.before_token_of(installation)
        self._seen_by_signerd(b"seen by signerd")
        self.service.take_over()
        self.start()
        self.spare = SpareToken(folder / "spare")
        self.service.admin("recipient", "add", self.spare.public_key)
        request = Path(json.loads(self.service.admin("ca", "request", "second", "--json"))["request"])
        signed_by_own_root(installation, request, folder / "second.pem")
        (folder / "root.pem").write_bytes((installation.home / "root" / "root.pem").read_bytes())
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        (folder / "third.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        (folder / "chips.txt").write_text("c-1\n", encoding="ascii")

    def _seen_by_signerd(self, pin: bytes) -> None:
        """A wrong one, before a service took over."""
        own = self.installation.home / "hsm.pin"
        right = own.read_bytes()
        write(own, pin)
        code, said = signerd(self.installation, "run")
        assert code == WRONG_PIN, said
        write(own, right)

    def start(self) -> None:
        self.service.start()
        self.installation.start_signerd()

    def run(self, name: str) -> tuple[int, str]:
        """A start of the service, or one of the commands: how it ended, and what it said."""
        if name != "key-holder run":
            return self.service.refused(*COMMANDS[name](self))
        said = self.installation.logs / "key-holder.err"
        before = len(said.read_text("utf-8"))
        return self.service.run().wait(), said.read_text("utf-8")[before:]

    def logins(self) -> list[int | None]:
        return [call.rv for call in self.shim.calls("C_Login")]


def write(file: Path, pin: bytes) -> None:
    file.unlink()
    file.write_bytes(pin)
    file.chmod(0o400)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patched, SealedInstallation(folder / "line") as installation:
        patched.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield Desk(installation, folder)


def personalize(desk: Desk) -> list[str | Path]:
    return ["chips", "personalize", desk.folder / "chips.txt", "--site", "lab", "--out", desk.folder / "keys"]


def probe(desk: Desk) -> list[str | Path]:
    hsm = load(desk.settings).hsm
    named = [f"--hsm-env={name}={value}" for name, value in hsm.environment.items()]
    token = ("--token", hsm.token, "--pin", f"file:{desk.pin_file}", "--seconds", "0")
    return ["token", "probe", desk.shim.module, *named, *token]


COMMANDS: dict[str, Callable[[Desk], list[str | Path]]] = {
    "ca request": lambda _: ["ca", "request", "third"],
    "ca add": lambda desk: [
        *("ca", "add", "second", "--certificate", desk.folder / "second.pem"),
        *("--root", desk.folder / "root.pem"),
    ],
    "checkpoint-key add": lambda _: ["checkpoint-key", "add"],
    "recipient add": lambda desk: ["recipient", "add", desk.folder / "third.pem"],
    "recipient remove": lambda desk: ["recipient", "remove", desk.spare.name, "--no-spare"],
    "recipient try": lambda _: ["recipient", "try"],
    "chips personalize": personalize,
    "token probe": probe,
}
ALL = ["key-holder run", *COMMANDS]


def with_a_key_holder(command: Any, name: str = "") -> Iterator[str]:
    for sub, each in getattr(command, "commands", {}).items():
        yield from with_a_key_holder(each, f"{name} {sub}".strip())
    if any("--key-holder" in parameter.opts for parameter in command.params):
        yield name


def test_every_command_with_a_key_holder_is_asked() -> None:
    known = set(with_a_key_holder(get_command(build_app(lambda *_: None))))
    assert known - set(COMMANDS) == {"recipient list"}  # which asks no token


@pytest.fixture
def stopped(desk: Desk, request: pytest.FixtureRequest) -> Iterator[None]:
    """Both, while the service's own start is what is looked at; and the right PIN again at the end."""
    right, stops = desk.pin_file.read_bytes(), request.node.callspec.params["name"] == "key-holder run"
    if stops:
        desk.service.stop()
    yield
    write(desk.pin_file, right)
    if stops:
        desk.start()


@pytest.mark.parametrize("name", ["key-holder run"])
@pytest.mark.usefixtures("stopped")
def test_what_a_command_or_signerd_saw_rejected_the_service_does_not_try(desk: Desk, name: str) -> None:
    """First of all: the note has room for eight."""
    write(desk.pin_file, b"seen by a command")
    assert desk.run("recipient try")[0] == WRONG_PIN
    before = desk.logins()
    for pin in (b"seen by a command", b"seen by signerd"):
        write(desk.pin_file, pin)
        assert desk.run(name)[0] == WRONG_PIN
        assert desk.run("recipient try")[0] == WRONG_PIN
    assert desk.logins() == before


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("stopped")
def test_a_pin_that_was_rejected_is_not_tried_again(desk: Desk, name: str) -> None:
    write(desk.pin_file, f"wrong for {name}".encode())
    before = desk.logins()
    code, said = desk.run(name)
    assert (code, "CKR_PIN_INCORRECT" in said) == (WRONG_PIN, True), said
    assert desk.logins() == [*before, CKR_PIN_INCORRECT]
    code, said = desk.run(name)
    assert (code, "it is not tried again" in " ".join(said.split())) == (WRONG_PIN, True), said
    assert desk.logins() == [*before, CKR_PIN_INCORRECT]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("stopped")
def test_a_token_with_one_try_left_is_left_alone(desk: Desk, name: str) -> None:
    before = desk.logins()
    desk.shim.rule("C_GetTokenInfo", "flags", CKF_USER_PIN_FINAL_TRY)
    try:
        code, said = desk.run(name)
    finally:
        desk.shim.clear("C_GetTokenInfo", "flags")
    assert (code, "lock" in said) == (WRONG_PIN, True), said
    assert desk.logins() == before
