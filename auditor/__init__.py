"""birthmark-auditor: reads the ledger and the records over gRPC, and verifies them with code of its own."""
