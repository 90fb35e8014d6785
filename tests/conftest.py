from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine draws examples is no result of a test: the first draw of text in a fresh clone builds
# Unicode tables for seconds.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _notes_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PINs that a test has rejected are no affair of whoever runs it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
