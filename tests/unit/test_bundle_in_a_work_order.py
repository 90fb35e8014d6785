"""The lines that `birthmark-agent bundle show --order` prints are what signerd reads in a work order file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.adapters.cli.bundle import order_lines
from agent.core.bundle_verify import read_unverified
from harness.bundle_samples import Sample, sample, secure_sample
from harness.installation import SENSOR, order_toml
from signerd.core.order import FirmwareBundle
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import parse_product

REVISION = ProductRevision(parse_product(SENSOR), bytes(32))
ORDER = order_toml("WO-1", quantity=1, stations=["birthmark://dev/station/plant1/pc1"])


@pytest.mark.parametrize("make", [sample, secure_sample])
def test_signerd_reads_what_the_agent_prints(make: Callable[[], Sample]) -> None:
    read = read_unverified(make().unsigned())
    order = parse_order_file(f"{ORDER}\n{order_lines(read.manifest, read.digest)}\n", lambda _: REVISION)
    firmware = {
        component: (image.version, image.digest)
        for component, image in read.manifest.final_firmware().items()
    }
    assert firmware
    assert order.bundle == FirmwareBundle(read.digest, firmware)  # type: ignore[arg-type]  # both are there
