"""Evidence: why signerd believes that a key was born where it should have been.

Each method is one module here with one class that has a `name` and a `verify`. A new method is a new
module and one line in `METHODS`. `verify` gets the transcript that signerd itself built; what it returns
is a level, never a reason finer than "rejected".
"""

from __future__ import annotations

from signerd.core.evidence.hmac_sha256 import HmacSha256
from signerd.core.evidence.method import Method
from signerd.core.evidence.none import NoEvidence

METHODS: dict[str, Method] = {method.name: method for method in (HmacSha256(), NoEvidence())}
