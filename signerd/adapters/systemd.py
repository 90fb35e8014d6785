"""What systemd wants to hear of a service of Type=notify (sd_notify(3)); nothing where nobody listens."""

from __future__ import annotations

import os
import socket

import structlog

READY = "READY=1"
STOPPING = "STOPPING=1"

_log = structlog.get_logger(__name__)


def notify(state: str) -> None:
    """Sends one datagram to NOTIFY_SOCKET. That it cannot be sent is logged: the service works without."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    # A leading @ stands for the abstract namespace, whose names begin with a zero byte (unix(7)).
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        _log.warning("systemd_not_notified", detail=str(error))
