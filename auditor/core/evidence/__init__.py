"""Evidence, verified once more: what a record's evidence shows to someone who believes only the product file.

`recheck` takes the evidence of one record. Each method is one module with one function, `check`: what the
evidence is appraised by (`AppraisalInputs`) and the evidence's bytes in, what it shows (`AttestationResult`,
RFC 9334 §8.4) out, or CheckFailed EVIDENCE_FALSE, whatever the bytes. The modules are written from
docs/formats.md and the standards.
"""
