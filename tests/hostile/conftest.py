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


# What one station may ask holds for all the files of attacks together, and how fast they run is the machine's
# affair. A forgery that met the rate would be refused by it, and by nothing that the test is about: these are
# the bounds of a station that has a day for what the tests do in a minute. The rates have tests of their own
# (test_calls_of_any_look.py, test_noise_over_evidence.py, test_budgets.py).
UNHURRIED = "\n[limits]\nstation_calls_per_s = 1000.0\nstation_burst = 100000\nrefusals_per_h = 100000\n"


@pytest.fixture(scope="session")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempts]:
    """One installation for all attacks on evidence: none of them may leave it in a state of its own."""
    with Installation(tmp_path_factory.mktemp("evidence")) as installation:
        config = installation.config
        config.write_text(config.read_text("utf-8") + UNHURRIED, "utf-8")
        hostile = HostileLine(installation)
        yield Attempts(hostile)
        hostile.close()
