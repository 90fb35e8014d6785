"""The one exception of evidence: what a method and its readers raise, whatever the bytes."""

from __future__ import annotations


class EvidenceError(ValueError):
    """The evidence does not hold for this request."""


class ClaimsError(EvidenceError):
    """The claims are not of their form: nothing was judged yet."""
