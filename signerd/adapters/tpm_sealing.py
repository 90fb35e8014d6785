"""Seals a key under this machine's TPM 2.0 and opens it again, by a process of its own for each call.

    key = seal_key(tcti, secret, pcrs=(7,))      # a TpmObject, to be kept outside
    secret = open_key(tcti, key)                 # on this machine alone

A TPM that does not answer, or a library that crashes, costs `deadline_s` and not the caller. Both raise
ConfigError with the remedy, NotNow where the same call may succeed later. `tpm2-pytss` is an extra of its
own, since it has to be built against the system's TSS: only this knows whether it is here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from signerd.adapters.keyholder.hardening import bare_environment
from signerd.adapters.start_faults import from_system
from signerd.adapters.tpm_faults import fault_of, stopped
from signerd.core.sealed_pin import TpmObject
from signerd.core.strict_cbor import CborError, decode, encode
from signerd.errors import ConfigError, NotNow

DEADLINE_S = 60.0  # some TPMs take seconds for a primary key, and wait for others' commands before it
_PROGRAM = (sys.executable, "-P", "-m", "signerd.adapters.tpm_process")
_MAX_ANSWER = 16_384  # bytes
_GONE_S = 5.0  # a killed process may still wait in the driver
_BUS = ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS")  # on which `tabrmd` is found


def seal_key(
    tcti: str, secret: bytes, pcrs: tuple[int, ...] = (), *, deadline_s: float = DEADLINE_S
) -> TpmObject:
    """Has the TPM seal a secret of 32 bytes; with `pcrs`, to their values of now."""
    match _asked(tcti, ["seal", tcti, list(pcrs), secret], deadline_s):
        case [int(handle), bytes(name), bytes(public), bytes(private)]:
            return TpmObject(handle, name, public, private, pcrs)
        case _:
            raise _nonsense(tcti)


def open_key(tcti: str, key: TpmObject, *, deadline_s: float = DEADLINE_S) -> bytes:
    """The secret that `seal_key` was given. The TPM counts no tries."""
    order = ["open", tcti, list(key.pcrs), key.parent_handle, key.parent_name, key.public, key.private]
    match _asked(tcti, order, deadline_s):
        case [bytes(secret)]:
            return secret
        case _:
            raise _nonsense(tcti)


def _asked(tcti: str, order: list[Any], deadline_s: float) -> list[Any]:
    if find_spec("tpm2_pytss") is None:
        raise ConfigError(
            "tpm2-pytss is not installed, and without it signerd speaks to no TPM: docs/operations.md,"
            ' "The PIN, without systemd", has the commands'
        )
    _demand_device(tcti)
    try:
        answer = decode(_run(tcti, encode(order), deadline_s), max_bytes=_MAX_ANSWER)
    except CborError as error:
        raise _nonsense(tcti) from error
    match answer:
        case ["done", *parts]:
            return parts
        case ["stopped", str(why)]:
            raise stopped(tcti, why)
        case ["tpm", int(code), str(text)]:
            raise fault_of(tcti, code, text)
        case _:
            raise _nonsense(tcti)


def _demand_device(tcti: str) -> None:
    """The TSS says of a device only that it cannot be had."""
    kind, _, path = tcti.partition(":")
    if kind != "device":
        return
    try:
        descriptor = os.open(path or "/dev/tpmrm0", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        text = f"cannot open the TPM {path}: {error.strerror}"
        if error.errno == errno.ENOENT:  # its driver may come later in the boot
            remedy = "enable the TPM in the firmware's settings, or give the container the device"
            raise NotNow(f"{text}; {remedy}") from error
        if error.errno == errno.EACCES:
            remedy = "put signerd's user into the group of the device, tss as a rule"
            raise ConfigError(f"{text}; {remedy}") from error
        if error.errno == errno.EBUSY:
            remedy = "another program has it to itself: take /dev/tpmrm0, which many may use"
            raise NotNow(f"{text}; {remedy}") from error
        raise from_system(text, error) from error
    os.close(descriptor)


def _run(tcti: str, order: bytes, deadline_s: float) -> bytes:
    bus = {name: os.environ[name] for name in _BUS if name in os.environ}
    process = subprocess.Popen(  # noqa: S603 # our own program
        _PROGRAM,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**bare_environment(), **bus},
    )
    try:
        answer, said = process.communicate(order, deadline_s)
    except subprocess.TimeoutExpired as error:
        raise NotNow(f"the TPM at {tcti} did not answer within {deadline_s:g} s") from error
    finally:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GONE_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(f"the process that speaks to the TPM at {tcti} failed: {last[:500]}")
    return answer


def _nonsense(tcti: str) -> ConfigError:
    return ConfigError(f"what came back from the TPM at {tcti} is no answer")
