"""The account of the station's service on Windows: a virtual one, which exists where the service does.

It has no password, and no rights but those that are given to it by name.
"""

from __future__ import annotations

import hashlib
import struct

SERVICE = "birthmark-agent"
ACCOUNT = rf"NT SERVICE\{SERVICE}"


def sid_of_service(name: str) -> str:
    """The SID that Windows gives a service of this name, whether it is there or not.

    S-1-5-80 and the SHA-1 of the name in capitals, as five words; `sc showsid NAME` prints it.
    """
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    return "-".join(("S-1-5-80", *map(str, struct.unpack("<5I", digest))))
