"""An installation as documented, behind a firewall: signerd in one of `TwoNetworks`, and stations in the
other, which dial it by its name. Fixtures of tests/e2e/conftest.py hand both out.

    with named_networks() as networks, networked_installation(networks, folder) as installation:
        station = installation.add_station("plant1", "pc1")
        subprocess.run(networks.at_the_station(COMMANDS / "birthmark-agent", "doctor", "-c", station.config))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.documented import DocumentedInstallation
from harness.installation import SENSOR
from harness.process import COMMANDS
from harness.two_networks import TwoNetworks, no_two_networks

SIGNERD_NAME = "signer.example.com"


@contextmanager
def named_networks() -> Iterator[TwoNetworks]:
    """Two networks whose stations know signerd's name. The test is skipped where there can be none."""
    if missing := no_two_networks():
        pytest.skip(missing)
    with TwoNetworks() as networks:
        networks.name(SIGNERD_NAME, networks.signerd_v4)
        yield networks


@contextmanager
def networked_installation(networks: TwoNetworks, folder: Path) -> Iterator[DocumentedInstallation]:
    """With a product. signerd runs."""
    daemon = networks.at_signerd(COMMANDS / "signerd")
    made = DocumentedInstallation(folder, server_name=SIGNERD_NAME, signerd=daemon, any_port=False)
    with made as installation:
        installation.start_signerd()
        installation.add_product(SENSOR)
        yield installation
