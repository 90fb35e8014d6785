"""signerd and the key holder's service in containers, by podman, as docs/operations.md and docs/key-holder.md
print it: read-only, without capabilities, without root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.container_factory import PIN, ContainerFactory
from harness.containers import no_engine
from harness.software_tpm import SoftwareTpm
from tokens import presence

pytestmark = pytest.mark.soak
_CLOSED = {"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}


@pytest.fixture(scope="module")
def factory() -> Iterator[ContainerFactory]:
    if missing := no_engine():
        pytest.skip(missing)
    with ContainerFactory() as factory:
        yield factory


def _board(factory: ContainerFactory) -> None:
    run = factory.new_run(boards=1)
    agent = run.start_agent()
    assert agent.wait() == 0, agent.describe()
    factory.finished_once(run)


def _closed(factory: ContainerFactory, name: str, user: int) -> None:
    inside = f"podman exec {name}"
    status = dict(
        line.split(":\t", 1) for line in factory.engine.give(f"{inside} cat /proc/1/status").splitlines()
    )
    assert {each: status[each] for each in _CLOSED} == _CLOSED
    assert set(status["Uid"].split()) | set(status["Gid"].split()) == {str(user)}
    for path in ("/etc/passwd", "/opt/birthmark/x", "/usr/x", "/var/lib/x"):
        factory.engine.give(f"{inside} sh -c 'echo x >>{path}'", expect=2)


def _exit_code(factory: ContainerFactory, name: str) -> str:
    return factory.engine.give(f"podman inspect {name} --format '{{{{.State.ExitCode}}}}'").strip()


def test_a_board_and_a_clean_audit(factory: ContainerFactory) -> None:
    _board(factory)
    factory.verify()


def test_closed(factory: ContainerFactory) -> None:
    _closed(factory, "signerd", 10001)


def test_what_the_desk_does_and_a_restart(factory: ContainerFactory) -> None:
    desk = "podman exec signerd signerd"
    factory.engine.give(f"{desk} server renew")
    factory.engine.give(f"{desk} crl --out /etc/signerd/boards.crl")
    factory.engine.give(f"{desk} backup --out /etc/signerd/backup")
    factory.engine.give("podman kill --signal HUP signerd")
    factory.engine.give("podman stop --time 30 signerd")
    assert _exit_code(factory, "signerd") == "0"
    factory.engine.give("podman start signerd")
    factory.installation.serves("signerd")
    _board(factory)


def test_a_pin_that_a_tpm_sealed(factory: ContainerFactory) -> None:
    """The image has the library for devices; this TPM is a program, and has a socket."""
    library = presence.library("libtss2-tcti-swtpm.so.0")
    presence.skip(presence.missing("a TPM in a container", libtss2_tcti_swtpm0=library))
    with SoftwareTpm() as tpm:
        socket = tpm.directory / "socket"
        tpm.directory.chmod(0o755)
        for path in (socket, tpm.directory / "socket.ctrl"):
            path.chmod(0o666)
        container = "podman run --rm -i $closed $volumes"
        given = f"-v {tpm.directory}:{tpm.directory} -v {library}:{library}:ro"
        sealing = f"signerd pin seal /etc/signerd/hsm.pin.tpm --pin fd:0 --tpm swtpm:path={socket}"
        factory.engine.give(f"printf {PIN} | {container} {given} {sealing}")
        config = factory.installation.config
        text = config.read_text("utf-8")
        sealed = f"tpm:/etc/signerd/hsm.pin.tpm?tcti=swtpm:path={socket}"
        config.write_text(text.replace("file:/run/secrets/hsm-pin", sealed), "utf-8")
        try:
            said = factory.engine.give(f"{container} {given} signerd check-config --login")
        finally:
            config.write_text(text, "utf-8")
        assert "login to the token: token 'birthmark' has the keys" in said
        assert "/etc/signerd/hsm.pin.tpm" in said


def test_the_key_holder_in_a_container_of_its_own(factory: ContainerFactory) -> None:
    factory.walk_key_holder()
    _board(factory)
    factory.verify()
    _closed(factory, "signerd-key-holder", 10002)
    _closed(factory, "signerd", 10001)
    for path in ("/run/secrets", "/etc/signerd-key", "/var/lib/signerd-key"):
        factory.engine.give(f"podman exec signerd test ! -e {path}/hsm-pin -a ! -e {path}/notes.sqlite")
    factory.engine.give(
        "podman exec signerd-key-holder python3 -c 'import socket; assert len(socket.if_nameindex()) == 1'"
    )
    factory.engine.give("podman stop --time 30 signerd-key-holder signerd")
    assert (_exit_code(factory, "signerd-key-holder"), _exit_code(factory, "signerd")) == ("0", "0")
    for name in ("signerd-key-holder", "signerd"):
        factory.engine.give(f"podman start {name}")
        factory.installation.serves(name)
    _board(factory)
