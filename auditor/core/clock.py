"""How far times may be apart before it is a finding."""

from __future__ import annotations

from datetime import timedelta

# Clocks of signerd's host and of the auditor, and entries that concurrent calls commit in another order.
SKEW = timedelta(seconds=120)
# An issuance that passed its checks is finished although its order is closed or its station revoked
# meanwhile. The bound is that of signerd's slowest allowed token, with room for a retry.
IN_FLIGHT = timedelta(seconds=300)
