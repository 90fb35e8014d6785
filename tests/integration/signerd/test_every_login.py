"""Every command that gives a token a PIN: one that was rejected is not tried again, by a later run of it
either, and a token with one try left is left alone. `tests/unit/signerd/adapters/test_logins.py` has the list
of places in the code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.main import get_command

from harness.further_issuers import signed_by_own_root
from harness.sealed_installation import SealedInstallation, SpareToken
from harness.shim import CKF_USER_PIN_FINAL_TRY, CKR_PIN_INCORRECT, Shim
from harness.signerd_commands import run_signerd
from signerd.adapters.cli.app import build_app
from signerd.adapters.installation import softhsm
from signerd.config import load

pytestmark = pytest.mark.check

WRONG_PIN = 77


@dataclass
class Desk:
    """An installation on a token behind the shim, and a user's home."""

    installation: SealedInstallation
    shim: Shim
    folder: Path
    spare: SpareToken
    made: int = field(default=0)  # directories that `init` was given

    @property
    def home(self) -> Path:
        return self.installation.home

    @property
    def pin_file(self) -> Path:
        return self.home / "hsm.pin"

    def token(self) -> list[str | Path]:
        """Options of commands that know no installation."""
        hsm = load(self.installation.config).hsm
        named = [f"--hsm-env={name}={value}" for name, value in hsm.environment.items()]
        return [*named, "--token", hsm.token, "--pin", f"file:{self.pin_file}"]

    def write_pin(self, pin: bytes) -> None:
        self.pin_file.unlink()
        self.pin_file.write_bytes(pin)
        self.pin_file.chmod(0o400)

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        state = {"XDG_STATE_HOME": str(self.folder / "state")}
        return run_signerd(*arguments, folder=self.folder, environment=state)

    def logins(self) -> list[int | None]:
        """What the token answered."""
        return [call.rv for call in self.shim.calls("C_Login")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    with SealedInstallation(folder / "line") as installation:
        admin, root = installation.admin, installation.home / "root" / "root.pem"
        shim = Shim.build(folder / "shim", before=softhsm.find_module())
        shim.before_token_of(installation)
        installation.start_signerd()
        spare = SpareToken(folder / "spare")
        admin("recipient", "add", spare.public_key)
        request = Path(json.loads(admin("ca", "request", "second", "--json"))["request"])
        signed_by_own_root(installation, request, folder / "second.pem")
        (folder / "root.pem").write_bytes(root.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "third.pem").write_bytes(pem)
        (folder / "chips.txt").write_text("c-1\n", encoding="ascii")
        yield Desk(installation, shim, folder, spare)


def begin(desk: Desk) -> list[str | Path]:
    """The first step of `init`, in a new place each time."""
    desk.made += 1
    names = ("--deployment", "other", "--server-name", "localhost")
    return ["init", desk.folder / f"other-{desk.made}", "--module", desk.shim.module, *desk.token(), *names]


def personalize(desk: Desk) -> list[str | Path]:
    out = desk.folder / "keys.csv"
    return ["chips", "personalize", "chips.txt", "--site", "lab", "--out", out, *of(desk)]


def of(desk: Desk) -> tuple[str, Path]:
    return "--config", desk.installation.config


def probe(desk: Desk) -> list[str | Path]:
    return ["token", "probe", desk.shim.module, *desk.token(), "--seconds", "0"]


def without_token(words: list[str | Path]) -> list[str | Path]:
    """Where the module has this one alone."""
    at = words.index("--token")
    return words[:at] + words[at + 2 :]


COMMANDS: dict[str, Callable[[Desk], list[str | Path]]] = {
    "run": lambda desk: ["run", *of(desk)],
    "check-config --login": lambda desk: ["check-config", "--login", *of(desk)],
    "init": begin,
    "ca request": lambda desk: ["ca", "request", "third", *of(desk)],
    "ca add": lambda desk: [
        *("ca", "add", "second", "--certificate", desk.folder / "second.pem"),
        *("--root", desk.folder / "root.pem", *of(desk)),
    ],
    "checkpoint-key add": lambda desk: ["checkpoint-key", "add", *of(desk)],
    "recipient add": lambda desk: ["recipient", "add", desk.folder / "third.pem", *of(desk)],
    "recipient remove": lambda desk: ["recipient", "remove", desk.spare.name, "--no-spare", *of(desk)],
    "recipient try": lambda desk: ["recipient", "try", *of(desk)],
    "chips personalize": personalize,
    "token probe": probe,
    "token probe, any token": lambda desk: without_token(probe(desk)),
    "token probe --config": lambda desk: [*probe(desk), *of(desk)],
}


def with_a_pin(command: Any, name: str = "") -> Iterator[str]:
    """Commands that take `--pin`."""
    for sub, each in getattr(command, "commands", {}).items():
        yield from with_a_pin(each, f"{name} {sub}".strip())
    if any("--pin" in parameter.opts for parameter in command.params):
        yield name


def test_every_command_that_takes_a_pin_is_asked() -> None:
    taking = set(with_a_pin(get_command(build_app(lambda *_: None))))
    asked = {name.partition(" --")[0].partition(",")[0] for name in COMMANDS}
    assert taking - asked == {"pin seal"}  # which asks no token
    assert asked - taking == {"run"}


@pytest.fixture
def stopped(desk: Desk, request: pytest.FixtureRequest) -> Iterator[None]:
    """The daemon, while its own start is what is looked at; and the right PIN again at the end."""
    right = desk.pin_file.read_bytes()
    stops = request.node.callspec.params["name"] == "run"
    if stops:
        desk.installation.process.stop()
    yield
    desk.write_pin(right)
    if stops:
        desk.installation.start_signerd()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("stopped")
def test_a_pin_that_was_rejected_is_not_tried_again(desk: Desk, name: str) -> None:
    desk.write_pin(f"wrong for {name}".encode())
    before = desk.logins()
    code, said = desk.run(*COMMANDS[name](desk))
    assert (code, "CKR_PIN_INCORRECT" in said) == (WRONG_PIN, True), said
    assert desk.logins() == [*before, CKR_PIN_INCORRECT]
    code, said = desk.run(*COMMANDS[name](desk))
    assert (code, "it is not tried again" in " ".join(said.split())) == (WRONG_PIN, True), said
    assert desk.logins() == [*before, CKR_PIN_INCORRECT]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("stopped")
def test_a_token_with_one_try_left_is_left_alone(desk: Desk, name: str) -> None:
    before = desk.logins()
    desk.shim.rule("C_GetTokenInfo", "flags", CKF_USER_PIN_FINAL_TRY)
    try:
        code, said = desk.run(*COMMANDS[name](desk))
    finally:
        desk.shim.clear("C_GetTokenInfo", "flags")
    assert (code, "lock" in said) == (WRONG_PIN, True), said
    assert desk.logins() == before


def test_what_a_probe_saw_rejected_is_not_tried_by_init_nor_by_the_installation(desk: Desk) -> None:
    right = desk.pin_file.read_bytes()
    try:
        desk.write_pin(b"seen by a probe")
        assert desk.run(*COMMANDS["token probe --config"](desk))[0] == WRONG_PIN
        before = desk.logins()
        for name in ("init", "token probe, any token", "run"):
            assert desk.run(*COMMANDS[name](desk))[0] == WRONG_PIN, name
        assert desk.logins() == before
    finally:
        desk.write_pin(right)


def test_a_note_that_cannot_be_written_is_said(desk: Desk) -> None:
    """And nothing is tried on a note that cannot be read."""
    right, state = desk.pin_file.read_bytes(), desk.folder / "state" / "birthmark"
    try:
        desk.write_pin(b"where to note it")
        kept = state.with_name("kept")
        if state.exists():
            state.rename(kept)
        state.parent.mkdir(exist_ok=True)
        state.write_text("no folder")
        before = desk.logins()
        code, said = desk.run(*COMMANDS["token probe"](desk))
        assert (code, desk.logins()) == (WRONG_PIN, before), said
        assert "remove the file" in said
    finally:
        state.unlink()
        if kept.exists():
            kept.rename(state)
        desk.write_pin(right)
