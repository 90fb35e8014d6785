"""Approval of an action by administrators' SSH keys (docs/formats.md, "Approvals"). Pure: no clock, no file.

What is signed is a text that holds the very ledger entries that the action will leave. `statement` writes and
reads it, `administrators` says whose keys count and how many are needed, `verify` puts both together.

    approved = verify_approval(text, signatures, administrators, deployment=…, log=…, now=…)
    approved.demand(entry_members, part=0)
"""
