"""How many verifications of evidence one core does in a second, method by method.

Writes its result as JSON to standard output. The token's own signature rate, from the same run, stands
beside it in the report.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from harness.evidence_samples import VENDORS, EvidenceSample, make_sample

SECONDS = 1.5  # a method
AT_ONCE = 50  # verifications between two looks at the clock


async def per_s(sample: EvidenceSample) -> float:
    """Verifications a second, one after another. Chips of one product share their trust, as in signerd."""
    for _ in range(AT_ONCE):
        await sample.verified()
    done, begun = 0, time.perf_counter()
    while (seconds := time.perf_counter() - begun) < SECONDS:
        for _ in range(AT_ONCE):
            await sample.verified()
        done += AT_ONCE
    return done / seconds


def main() -> None:
    """Measures all methods."""
    rates = {method: round(asyncio.run(per_s(make_sample(method)))) for method in VENDORS}
    json.dump(rates, sys.stdout)


if __name__ == "__main__":
    main()
