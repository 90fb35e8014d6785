"""SoftHSM tokens: one for the tests that do not change it, and one each for those that do."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.key_holders import ALL_SEALED, TokenAtHand, make_token
from harness.shim import Shim


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> TokenAtHand:
    """One installation for all."""
    return make_token(tmp_path_factory.mktemp("token") / "dev")


@pytest.fixture(scope="session")
def sealed_token(tmp_path_factory: pytest.TempPathFactory) -> TokenAtHand:
    """One for all in whose token there are the CA key and the sealing key alone."""
    return make_token(tmp_path_factory.mktemp("sealed") / "dev", ALL_SEALED)


@pytest.fixture
def own_token(tmp_path: Path) -> TokenAtHand:
    """An installation for this test alone."""
    return make_token(tmp_path / "dev")


@pytest.fixture
def shim(token: TokenAtHand, tmp_path: Path) -> Shim:
    """Before the module of the token of all, with rules of this test alone."""
    return Shim.build(tmp_path / "shim", before=token.config.hsm.module)
