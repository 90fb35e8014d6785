"""What is wrong with an approval, in words for administrators."""

from __future__ import annotations


class ApprovalError(ValueError):
    """It does not hold. The text says why, and what to do."""
