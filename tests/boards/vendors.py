"""A vendor for each method, and how a chip of each is named.

vendors = make_vendors(["x509", "nrf91"])
attester = vendors["nrf91"].attester(chip_id_of("nrf91", "CHIP-000001"))
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping

from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Vendor

_MAKERS: Mapping[str, Callable[[], Vendor]] = {
    "nrf91": Nrf91Vendor,
}
METHODS = ("hmac-sha256", *_MAKERS, "none")


def make_vendors(methods: Iterable[str], secrets: Mapping[str, bytes] | None = None) -> dict[str, Vendor]:
    """New vendors by method, with keys of their own; `none` has none.

    Args:
        methods: of `METHODS`.
        secrets: what was burned into the chips of `hmac-sha256`, by chip id.

    Raises:
        ValueError: no such method.
    """
    vendors: dict[str, Vendor] = {}
    for method in methods:
        if method == "hmac-sha256":
            vendors[method] = HmacVendor(secrets or {})
        elif method in _MAKERS:
            vendors[method] = _MAKERS[method]()
        elif method != "none":
            raise ValueError(f"no method {method!r}; known: {', '.join(METHODS)}")
    return vendors


def chip_id_of(method: str, name: str) -> str:
    """A chip id of the form that the method's chips have, always the same for a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name)) if method == "nrf91" else name
