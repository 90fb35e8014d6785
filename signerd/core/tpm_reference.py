"""How settings and commands name a TPM, its registers, and a PIN that is sealed under one."""

from __future__ import annotations

import re

PCRS = 24  # of a PC (TCG PC Client Platform TPM Profile)
DEFAULT_TCTI = "device:/dev/tpmrm0"  # the kernel's resource manager
# Transports to a TPM. Not `cmd`, which would start programs.
_TCTI = re.compile(r"(device|swtpm|tabrmd)(:[^\0\n]{1,255})?")


def tpm_source(rest: str) -> tuple[str, str]:
    """The path and the transport of `tpm:PATH` and `tpm:PATH?tcti=TRANSPORT`; `rest` begins after the colon.

    Raises ValueError: no path, or a transport that is none of ours.
    """
    path, asked, tcti = rest.partition("?tcti=")
    if not path or "\0" in path:
        raise ValueError('must be "tpm:PATH"')
    return path, checked_tcti(tcti) if asked else DEFAULT_TCTI


def checked_tcti(text: str) -> str:
    """The text. Raises ValueError: it names no transport that is allowed."""
    if not _TCTI.fullmatch(text):
        raise ValueError(f'a TPM is "{DEFAULT_TCTI}", "device:PATH", "tabrmd" or "swtpm:path=SOCKET"')
    return text


def pcr_numbers(text: str) -> tuple[int, ...]:
    """`0,7` as numbers, sorted. Raises ValueError: not of that form, one of them twice, or none of a PC."""
    parts = text.split(",") if text else []
    if not all(re.fullmatch(r"[0-9]{1,2}", part) and int(part) < PCRS for part in parts):
        raise ValueError(f"PCRs are numbers from 0 to {PCRS - 1}, with commas between, such as 7 or 0,7")
    numbers = tuple(sorted(int(part) for part in parts))
    if len(set(numbers)) != len(numbers):
        raise ValueError("a PCR is named twice")
    return numbers
