from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.attesters.psa_token import PsaVendor
from harness.edge import Edge
from harness.installation import SENSOR, Installation


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Runs for all files of commands: each test brings names of its own."""
    with Edge(tmp_path_factory.mktemp("cli")) as edge:
        edge.start()
        edge.add_sensor()
        yield edge


@pytest.fixture(scope="session")
def gateway(edge: Edge) -> Edge:
    """With a product whose chips have imported keys."""
    text = SENSOR.replace('"sensor"', '"gateway"', 1).replace('["hmac-sha256"]', '["psa-token"]', 1)
    edge.installation.add_product(f"{text}\n{PsaVendor().product_section()}")
    return edge


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path / "fresh") as installation:
        yield installation


@pytest.fixture(scope="session")
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Never started: its tests leave it as they found it."""
    with Installation(tmp_path_factory.mktemp("unstarted") / "fresh") as installation:
        yield installation
