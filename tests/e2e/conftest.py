"""What the lines of simulated boards share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.factory import Factory


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with Factory(tmp_path_factory.mktemp("factory")) as factory:
        yield factory
