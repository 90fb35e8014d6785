"""What a worker answers is taken for what was asked only where it has its form and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.adapters.drivers.esp32.loader import Loader
from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.esp32.plan import Region
from agent.adapters.drivers.esp32.worker_process import Worker
from agent.core.bundle import Burn
from agent.errors import LineError

REGIONS = (Region(0, 16), Region(16, 16))
BURNS = (Burn("DIS_DIRECT_BOOT", 1, after_first_boot=False),)


class Answers(Worker):
    """Starts no process, and answers this."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(())
        self._said = answer

    async def ask(self, command: str, fields: Mapping[str, object], *_: Any) -> dict[str, Any]:  # noqa: ARG002
        return self._said


def loader(answer: dict[str, Any]) -> Loader:
    return Loader("/nowhere", Esp32Options(), Answers(answer))


async def test_what_has_its_form_is_taken() -> None:
    assert await loader({"data": "00" * 4}).read(0, 4) == bytes(4)
    assert await loader({"md5": ["0" * 32] * 2}).digests(REGIONS) == ["0" * 32] * 2
    assert await loader({"burned": [True]}).burned(BURNS) == [True]


@pytest.mark.parametrize("data", ["", "00" * 3, "00" * 5, "0", "xx" * 4, None, 0])
async def test_a_read_of_another_size(data: object) -> None:
    """A head that is cut off would hide which version is installed."""
    with pytest.raises(LineError) as raised:
        await loader({"data": data}).read(0, 4)
    assert raised.value.code == "worker_junk"


@pytest.mark.parametrize("md5", [[], ["0" * 32], ["0" * 32, "0" * 31], ["0" * 32, None], "0" * 64, None])
async def test_other_digests_than_were_asked_for(md5: object) -> None:
    with pytest.raises(LineError) as raised:
        await loader({"md5": md5}).digests(REGIONS)
    assert raised.value.code == "worker_junk"


async def test_only_true_is_a_burn_that_stands() -> None:
    for answer in (1, "yes", None, [True]):
        assert await loader({"burned": [answer]}).burned(BURNS) == [False]
    with pytest.raises(LineError):
        await loader({"burned": []}).burned(BURNS)
