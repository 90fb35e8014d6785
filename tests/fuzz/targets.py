"""What is fuzzed: each parser that a station's bytes reach, whole requests through the twelve steps, bundles,
what a log publishes, and production files.

A target takes any bytes and returns. Domain errors are its answer; whatever else it raises is a finding.
`seeds` are genuine inputs, made anew with keys of their own, so that fuzzing begins behind the first check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz import evidence_targets, firmware_targets, proof_targets, report_targets, request_targets


@dataclass(frozen=True, slots=True)
class Target:
    """One entrance for bytes."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS: dict[str, Target] = {
    name: Target(run, seeds)
    for name, (run, seeds) in (
        evidence_targets.TARGETS
        | request_targets.TARGETS
        | firmware_targets.TARGETS
        | proof_targets.TARGETS
        | report_targets.TARGETS
    ).items()
}
