"""Starts a daemon with a listening Unix socket, as systemd does for a `.socket` unit (sd_listen_fds(3)).

    python socket_activation.py SOCKET COMMAND [ARGUMENT...]

So pcscd serves a socket of our choice: its own path is compiled in.
"""

from __future__ import annotations

import os
import socket
import sys

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_BACKLOG = 16


def main(path: str, command: list[str]) -> None:
    """Becomes the daemon."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(_BACKLOG)
    if listening.fileno() == _FIRST_DESCRIPTOR:
        os.set_inheritable(_FIRST_DESCRIPTOR, True)  # dup2 on itself would leave it closed on exec
    else:
        os.dup2(listening.fileno(), _FIRST_DESCRIPTOR)
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
