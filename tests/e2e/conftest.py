"""What the lines of simulated boards share, and the tests with a firewall."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.documented import DocumentedInstallation
from harness.factory import Factory
from harness.networked_installation import named_networks, networked_installation
from harness.two_networks import TwoNetworks


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with Factory(tmp_path_factory.mktemp("factory")) as factory:
        yield factory


@pytest.fixture(scope="module")
def networks() -> Iterator[TwoNetworks]:
    with named_networks() as networks:
        yield networks


@pytest.fixture(scope="module")
def installation(
    networks: TwoNetworks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DocumentedInstallation]:
    """Behind the firewall of `networks`."""
    with networked_installation(networks, tmp_path_factory.mktemp("networked")) as installation:
        yield installation
