"""What a PKCS#11 module writes to standard error becomes lines of signerd's log, and waits for nobody."""

from __future__ import annotations

from dataclasses import replace

from structlog.testing import capture_logs

from harness.key_holders import Changes, TokenAtHand, running
from harness.signing_samples import leaf_tbs
from signerd.adapters.keyholder.channel import MAX_SAID

# Python itself then writes some 300 KB: more than a pipe holds, and than the log takes.
LOUD = {"PYTHONVERBOSE": "1"}


async def test_a_loud_key_holder_serves_and_the_log_takes_a_part_of_it(token: TokenAtHand) -> None:
    settings = replace(token.settings, environment={**token.settings.environment, **LOUD})
    with capture_logs() as lines:
        async with running(settings, token.pin, Changes()) as holder:
            assert await holder.sign_certificate(leaf_tbs(token.sub_ca))
    said = "".join(line["text"] for line in lines if line["event"] == "key_holder_said")
    assert "import" in said
    assert MAX_SAID // 2 < len(said) <= MAX_SAID + 2_000
