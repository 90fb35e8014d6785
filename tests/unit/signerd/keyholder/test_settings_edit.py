"""Files that people edited: a service takes the token's place, and nothing else changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from signerd.adapters.keyholder.service.settings_edit import with_service
from signerd.errors import ConfigError

SOCKET = Path("/run/signerd-key/socket")
SERVICE = {"service": str(SOCKET)}
FACTS = {"checkpoint_key_in": "sealed"}
TOKEN = 'module = "m.so"\ntoken = "line"  # of the plant\npin = "file:hsm.pin"\n'
REST = '\n# who certifies\n[authority]\ncertificate = "ca/sub-ca.pem"  # and above\n'
FIRST = f'deployment = "dev"\n\n[hsm]\n{TOKEN}{REST}'


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        f'deployment = "dev"\n[ "hsm" ]  # the token\n{TOKEN}[hsm.environment]\nA = "1"\n{REST}',
        f'deployment = "dev"\n[hsm.environment]\nA = "1"\n[hsm]\n{TOKEN}{REST}',
        f'hsm = {{ module = "m.so", token = "line", pin = "prompt", environment = {{ A = "1" }} }}\n{REST}',
        f'hsm.module = "m.so"\nhsm.token = "line"\nhsm.pin = "prompt"\nhsm.environment.A = "1"\n{REST}',
        f'[hsm]\n{TOKEN}environment = {{ A = """\n[authority]\n""" }}\n{REST}',
        f'names = [\n"[hsm]",\n"a",\n]\n[hsm]\n{TOKEN}{REST}',
        f"{REST}\n[hsm]\n{TOKEN.rstrip()}",  # no end of line at the end
        FIRST.replace("\n", "\r\n"),
    ],
)
def test_hsm_in_whatever_form(text: str) -> None:
    edited = with_service(text, SOCKET, FACTS)
    assert tomllib.loads(edited) == {**tomllib.loads(text), "hsm": {**SERVICE, **FACTS}}
    assert "# who certifies" in edited
    assert "# and above" in edited
    assert ("\r\n" in text) == ("\r\n" in edited)
    assert "m.so" not in edited


@pytest.mark.parametrize(
    "token",
    [
        f"[issuers.hsm]\n{TOKEN}[issuers.hsm.environment]\nA = '1'\n",
        "hsm = { module = 'm.so', token = 't', pin = 'prompt' }\n",
        "hsm.module = 'm.so'\nhsm.token = 't'\nhsm.pin = 'prompt'\n",
    ],
)
def test_further_issuers_each_in_its_place(token: str) -> None:
    issuers = [f'\n[[issuers]]\nname = "i{number}"\n' for number in range(3)]
    text = f"{FIRST}{issuers[0]}{token}{issuers[1]}{issuers[2]}{token}"
    edited = tomllib.loads(with_service(text, SOCKET, {}))
    assert [each.get("hsm") for each in edited["issuers"]] == [SERVICE, None, SERVICE]
    assert edited["hsm"] == SERVICE


def test_keys_of_the_log_after_the_first() -> None:
    key = f'[[checkpoint_keys]]\nvkey = "a.vkey"\n{TOKEN}[checkpoint_keys.environment]\nA = "1"\n'
    facts = [{"vkey": "/etc/a.vkey", "key_in": "token"}, {"vkey": "/etc/b.vkey", "key_in": "sealed"}]
    edited = tomllib.loads(with_service(f"{key}\n{FIRST}\n{key}", SOCKET, {}, facts))
    assert edited["checkpoint_keys"] == [{**each, **SERVICE} for each in facts]
    assert edited["hsm"] == SERVICE
    assert edited["authority"] == {"certificate": "ca/sub-ca.pem"}


def test_what_is_not_known_here_is_left_to_a_person() -> None:
    text = f'issuers = [{{ name = "a", hsm = {{ module = "m.so" }} }}]\n{FIRST}'
    with pytest.raises(ConfigError, match="nothing was changed"):
        with_service(text, SOCKET, {})
