"""The power fails at every eFuse word that is burned, by the chip or by the station, on a running line.

Each chip ends as a finished board or with a verdict, and only finished ones are stamped. Key blocks of the
classic ESP32 have no code against torn writing, so some of them are lost: that is said, and no board is tried
for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from boards.esp32.signing import SigningKey
from harness.esp32_line import BundleFile, Esp32Line
from harness.esp32_operator import finish, settle

pytestmark = pytest.mark.check

# Two burns of the station at seal, one after the first boot, which closes the loader or most of it.
BURNS = {
    "esp32": (
        ("CONSOLE_DEBUG_DISABLE", "seal"),
        ("DISABLE_SDIO_HOST", "seal"),
        ("UART_DOWNLOAD_DIS", "first-boot"),
    ),
    "esp32s3": (
        ("DIS_LEGACY_SPI_BOOT", "seal"),
        ("DIS_USB_OTG_DOWNLOAD_MODE", "seal"),
        ("ENABLE_SECURITY_DOWNLOAD", "first-boot"),
    ),
}
# Torn keys: the digest of secure boot, and the key of flash encryption.
LOST = {"esp32": {"secure_boot_key_torn", "first_boot_failed"}, "esp32s3": set[str]()}


@pytest.fixture(scope="module", params=[pytest.param("esp32", marks=pytest.mark.soak), "esp32s3"])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esp32Line]:
    folder = tmp_path_factory.mktemp(request.param)
    with Esp32Line(folder, request.param, SigningKey.make(folder)) as line:
        yield line


@pytest.fixture(scope="module")
def bundle(line: Esp32Line) -> BundleFile:
    burns = BURNS[line.family]
    tables = "".join(f'\n[[burn]]\nname = "{name}"\nvalue = 1\nwhen = "{when}"\n' for name, when in burns)
    return line.company.bundle("burns", line.images, tables)


@pytest.mark.timeout(900)
def test_at_every_word(line: Esp32Line, bundle: BundleFile) -> None:
    whole = line.new_run(bundle=bundle)
    before = whole.farm.show(0)["efuse_words"]
    finish(line, whole)
    words = whole.farm.show(0)["efuse_words"] - before
    assert words > len(BURNS[line.family])
    run = line.new_run(bundle=bundle, chips=words)
    for number in range(words):
        run.farm.press(number, f"cut efuse {number}")
    operator = settle(line, run)
    verdicts = operator.verdicts
    assert set(verdicts.values()) <= LOST[line.family], verdicts
    assert len(operator.passed) + len(verdicts) == words
    assert len(operator.passed) > words // 3
