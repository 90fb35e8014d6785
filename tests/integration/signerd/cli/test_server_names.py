"""The names that stations dial: asked for by `signerd init`, and compared by `signerd check-config`."""

from __future__ import annotations

import os
import pty
import subprocess
import tomllib
from pathlib import Path

import pytest
from cryptography import x509

from harness.installation import Installation
from harness.process import COMMANDS, wait_until
from harness.signerd_commands import SIGNERD, changed, signerd
from signerd.adapters.installation import softhsm
from signerd.adapters.operations_ca import names_in

pytestmark = pytest.mark.check

REAL = ("--module", "/none.so", "--token", "none", "--pin", "prompt", "--deployment", "example")


def init(directory: Path, *options: str) -> tuple[int, str]:
    """Without a terminal."""
    done = subprocess.run(
        [str(SIGNERD), "init", str(directory), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "250"},
    )
    return done.returncode, done.stdout + done.stderr


def test_init_without_a_name_and_without_a_terminal_is_refused(tmp_path: Path) -> None:
    code, said = init(tmp_path / "signerd", *REAL)
    assert (code, "give --server-name NAME" in said) == (2, True)
    assert not (tmp_path / "signerd").exists()


def test_init_refuses_what_is_no_name_before_anything_is_made(tmp_path: Path) -> None:
    for options in ((*REAL, "--server-name", "*.example.com"), ("--dev", "--server-name", "a.example:8443")):
        code, said = init(tmp_path / "signerd", *options)
        assert (code, "is no name that stations can dial" in said) == (3, True)
        assert not (tmp_path / "signerd").exists()


def test_init_asks_on_a_terminal_until_it_has_a_name(tmp_path: Path) -> None:
    module = softhsm.find_module()
    environment, pin = softhsm.create_token(tmp_path / "softhsm", module)
    pin_file = tmp_path / "pin"
    pin_file.write_bytes(pin)
    pin_file.chmod(0o400)
    home = tmp_path / "signerd"
    token = ("--module", str(module), "--token", softhsm.TOKEN_LABEL, "--pin", f"file:{pin_file}")
    variables = [f"--hsm-env={name}={value}" for name, value in environment.items()]
    ours, theirs = pty.openpty()
    command = [str(COMMANDS / "signerd"), "init", str(home), *token, "--deployment", "example", *variables]
    asked = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""

    def hears(text: bytes) -> bool:
        nonlocal said
        said += os.read(ours, 4096)
        return text in said

    try:
        wait_until(lambda: hears(b"blanks: "), "the question")
        os.write(ours, b"https://signer.example.com\n")
        wait_until(lambda: hears(b"no URL") and said.count(b"blanks: ") == 2, "the question again")
        os.write(ours, b"signer.example.com, 192.0.2.7\n")
        assert asked.wait(timeout=120) == 0
    finally:
        asked.kill()
        asked.wait(timeout=10)
        os.close(ours)
    settings = tomllib.loads((home / "signerd.toml").read_text("utf-8"))
    assert settings["server"]["names"] == ["signer.example.com", "192.0.2.7"]
    certificate = x509.load_pem_x509_certificate((home / "operations" / "server.pem").read_bytes())
    assert set(names_in(certificate)) == {"signer.example.com", "192.0.2.7", "localhost", "127.0.0.1"}


def test_check_config_compares_what_is_dialled(unstarted: Installation) -> None:
    code, said = signerd(unstarted, "check-config", "--dials", "localhost", "--dials", "127.0.0.1")
    assert (code, "ok     server names: localhost, 127.0.0.1" in said) == (0, True)
    code, said = signerd(unstarted, "check-config", "--dials", "signer.example.com")
    assert (code, "signerd server renew --name signer.example.com" in said) == (3, True)
    code, said = signerd(unstarted, "check-config", "--dials", "a.example:1")
    assert (code, "without its port" in said) == (2, True)
    key = 'certificate = "operations/server.pem"'
    with changed(unstarted, key, f'names = ["signer.example.com"]\n{key}'):
        code, said = signerd(unstarted, "check-config")
        assert (code, "stations that dial signer.example.com cannot connect" in said) == (3, True)
    with changed(unstarted, key, f'names = ["LOCALHOST"]\n{key}'):
        assert signerd(unstarted, "check-config")[0] == 0
    with changed(unstarted, key, f'names = ["a.example:1"]\n{key}'):
        code, said = signerd(unstarted, "check-config")
        assert (code, "server.names" in said) == (3, True)


def test_check_config_knows_that_nobody_elsewhere_can_connect(unstarted: Installation) -> None:
    """As installations of before are, whose certificate has the names of the machine itself alone."""
    with changed(unstarted, 'listen = "127.0.0.1:0"', 'listen = "0.0.0.0:0"'):
        code, said = signerd(unstarted, "check-config")
        assert (code, "no station on another machine can connect" in said) == (3, True)
        # Unless that is what they dial: through a tunnel, for example.
        assert signerd(unstarted, "check-config", "--dials", "localhost")[0] == 0
