"""Evidence: why signerd believes that a key was born where it should have been.

Each method is one module here with one class: a pure `verify`, and `traits`, which say what it rests on and
proves. A new method is a new module, a line in `METHODS`, and its trust material as a section in `rules`;
everything else asks the traits. `verify` gets the transcript that signerd itself built; what it returns is a
level, never a reason finer than "rejected".
"""

from __future__ import annotations

from signerd.core.evidence.hmac_sha256 import HmacSha256
from signerd.core.evidence.method import Entered, Method
from signerd.core.evidence.none import NoEvidence
from signerd.core.evidence.nrf91 import Nrf91
from signerd.core.evidence.psa_token import PsaToken
from signerd.core.evidence.tpm2 import Tpm2
from signerd.core.evidence.x509 import X509Attestation

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        HmacSha256(),
        Nrf91(),
        PsaToken(),
        Tpm2(),
        X509Attestation(),
        NoEvidence(),
    )
}


def methods_with(entered: Entered) -> frozenset[str]:
    """Methods that rest on what an administrator entered in this way."""
    return frozenset(name for name, method in METHODS.items() if entered in method.traits.entered)
