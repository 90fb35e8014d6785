"""tpm2-pkcs11 on swtpm, as OpenSC sees it."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import ProgramError, run
from tokens import presence, tpm2_token
from tokens.tpm2_token import Tpm2Token

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def token() -> Iterator[Tpm2Token]:
    presence.skip(tpm2_token.missing())
    with Tpm2Token() as found:
        found.add_key("ca", "ecc256")
        yield found


def _sign(token: Tpm2Token, folder: Path) -> bytes:
    message, signature = folder / "message", folder / "signature"
    message.write_bytes(bytes(32))
    command = ["pkcs11-tool", "--module", token.module, "--token-label", token.label, "--login"]
    command += ["--pin", token.pin, "--sign", "--label", "ca", "--mechanism", "ECDSA"]
    files: list[str | Path] = ["--input-file", message, "--output-file", signature]
    run([*command, *files], environment={**os.environ, **token.environment})
    return signature.read_bytes()


def test_signs_is_lost_and_returns(token: Tpm2Token, tmp_path: Path) -> None:
    first = _sign(token, tmp_path)
    token.stop()
    with pytest.raises(ProgramError):
        _sign(token, tmp_path)
    token.start()
    second = _sign(token, tmp_path)
    assert len(first) == len(second) == 64
    assert not hmac.compare_digest(first, second)  # ECDSA is not deterministic
