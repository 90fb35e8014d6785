from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.attempts import Attempts
from harness.hostile_line import HostileLine
from harness.installation import Installation


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("line")) as installation:
        hostile = HostileLine(installation)
        yield hostile
        hostile.close()


@pytest.fixture(scope="session")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempts]:
    """One installation for all attacks on evidence: none of them may leave it in a state of its own."""
    with Installation(tmp_path_factory.mktemp("evidence")) as installation:
        hostile = HostileLine(installation)
        yield Attempts(hostile)
        hostile.close()
