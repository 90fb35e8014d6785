from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.hostile_line import HostileLine
from harness.installation import Installation


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("line")) as installation:
        hostile = HostileLine(installation)
        yield hostile
        hostile.close()
