"""`signerd run`: its start, its end, who waits for it, and what it tells."""

from __future__ import annotations

import socket

import psutil
import pytest

from harness.installation import Installation
from harness.process import wait_until
from harness.signerd_commands import change, signerd

pytestmark = pytest.mark.check


def test_a_command_without_a_daemon(unstarted: Installation) -> None:
    code, said = signerd(unstarted, "order", "list")
    assert (code, "is it running" in said) == (4, True)


def test_sigterm_ends_all_and_the_next_start_works(fresh: Installation) -> None:
    program = fresh.start_signerd()
    children = program.children()
    assert children
    assert program.stop() == 0
    wait_until(lambda: not any(child.is_running() for child in children), "the key holders to end")
    assert not (fresh.home / "admin" / "admin.sock").exists()
    fresh.start_signerd()


@pytest.mark.check
def test_a_killed_daemons_socket_does_not_keep_the_next_from_starting(fresh: Installation) -> None:
    program = fresh.start_signerd()
    orphans: list[psutil.Process] = program.children()
    program.kill()
    assert (fresh.home / "admin" / "admin.sock").exists()
    wait_until(lambda: not any(orphan.is_running() for orphan in orphans), "the key holder to follow")
    fresh.start_signerd()


def test_two_daemons_on_one_installation(fresh: Installation) -> None:
    fresh.start_signerd()
    code, said = signerd(fresh, "run")
    assert (code, "another signerd" in said) == (75, True)
    assert signerd(fresh, "order", "list")[0] == 0


@pytest.mark.check
def test_systemd_hears_of_the_start_and_the_end(fresh: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(fresh.directory / "notify"))
        systemd.settimeout(30)
        program = fresh.start_signerd({"NOTIFY_SOCKET": str(fresh.directory / "notify")})
        assert systemd.recv(100) == b"READY=1"
        assert program.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_metrics_are_served_locally(fresh: Installation) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    change(fresh, "\n[database]", f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n\n[database]')
    fresh.start_signerd()
    fresh.admin("order", "list")

    def scraped() -> str:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: line.recv(65536), b"")).decode("utf-8")

    wait_until(
        lambda: "signerd_ledger_published_size 2.0" in scraped(), "a checkpoint of the opening and the start"
    )
    text = scraped()
    for name in (
        'signerd_calls_total{code="ok",rpc="ListWorkOrders"}',
        "signerd_call_seconds_bucket",
        "signerd_serving 1.0",
        "signerd_resident_bytes",
        "signerd_open_intents 0.0",
        "signerd_key_holder_restarts_total 0.0",
    ):
        assert name in text, text
    fresh.process.stop()
    change(fresh, f"127.0.0.1:{port}", f"0.0.0.0:{port}")
    code, said = signerd(fresh, "run")
    assert (code, "metrics.listen" in said) == (3, True)
