"""Return codes of the TSS as errors that name a remedy."""

from __future__ import annotations

import pytest

from signerd.adapters.tpm_faults import fault_of
from signerd.errors import NotNow

TCTI = "device:/dev/tpmrm0"


@pytest.mark.parametrize(
    ("code", "remedy", "passes"),
    [
        (0x921, "--clear-lockout", True),
        (0x922, "busy", True),
        (0x902, "resource manager", True),
        (0xB0902, "resource manager", True),  # as the kernel's resource manager says it
        (0xC0921, "--clear-lockout", True),
        (0x100, "boot", True),
        (0x128, "changed", True),
        (0xA000A, "see that it is there", True),  # the transport
        (0x99D, "seal the PIN anew", False),  # of session 1
        (0x9D, "seal the PIN anew", False),
        (0x1DF, "altered", False),  # of parameter 1
        (0x2D5, "altered", False),
        (0x9A2, "tpm2_evictcontrol", False),
        (0x98E, "tpm2_evictcontrol", False),
        (0x185, "firmware", False),
        (0x101, "off and on", False),
        (0x143, "tpm2_getcap", False),  # none that is known here
    ],
)
def test_each_code_names_its_remedy(code: int, remedy: str, passes: bool) -> None:
    fault = fault_of(TCTI, code, "as the library says it")
    assert remedy in str(fault)
    assert "as the library says it" in str(fault)
    assert TCTI in str(fault)
    assert isinstance(fault, NotNow) is passes
