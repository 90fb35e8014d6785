"""A real signerd over real sockets, with peers whose keys the tests have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.edge import Edge


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("edge")) as edge:
        edge.start()
        yield edge
