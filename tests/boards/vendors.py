"""A vendor for each method, and how a chip of each is named.

vendors = make_vendors(["x509", "nrf91"])
attester = vendors["nrf91"].attester(chip_id_of("nrf91", "CHIP-000001"), swapped=True)

What is wrong with a chip is said by flat keywords of its vendor: fields of the module's `Wrong`, or the
parameters of `attester`.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.nrf91 import Context, Nrf91Attester, Nrf91Vendor, Wrong
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor


class Modems(Nrf91Vendor):
    """nRF91 modems whose `Wrong` is given flat; UUIDs may be text and bytes hexadecimal, as JSON has them."""

    def attester(
        self, chip_id: str, *, context: Context = "bytes", wrong: Wrong | None = None, **members: Any
    ) -> Nrf91Attester:
        said = {name: _of_json(name, value) for name, value in members.items()}
        return super().attester(chip_id, context=context, wrong=dataclasses.replace(wrong or Wrong(), **said))


def _of_json(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name == "encoding":
        return value
    return uuid.UUID(value) if name in {"keygen_uuid", "token_uuid", "firmware"} else bytes.fromhex(value)


_MAKERS: Mapping[str, Callable[[], Vendor]] = {
    "x509": X509Vendor,
    "psa-token": PsaVendor,
    "nrf91": Modems,
    "tpm2": Tpm2Vendor,
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
