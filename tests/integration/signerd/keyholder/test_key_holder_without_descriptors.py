from __future__ import annotations

import os
import signal
import socket
from typing import Any

import pytest

from harness.key_holders import Changes, TokenAtHand, running
from harness.signing_samples import leaf_tbs
from signerd.adapters.keyholder import channel


async def test_a_key_holder_is_replaced_once_there_are_descriptors_again(
    token: TokenAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, failures = Changes(), [OSError(24, "Too many open files")]

    class Sockets:
        """The socket module, once without descriptors."""

        def __getattr__(self, name: str) -> Any:
            return getattr(socket, name)

        def socketpair(self) -> tuple[socket.socket, socket.socket]:
            if failures:
                raise failures.pop()
            return socket.socketpair()

    async with running(token.settings, token.pin, changes) as holder:
        monkeypatch.setattr(channel, "socket", Sockets())
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        await changes.until(lambda: not holder.serving)
        await changes.until(lambda: holder.serving)
        assert failures == []
        assert await holder.sign_certificate(leaf_tbs(token.sub_ca))
