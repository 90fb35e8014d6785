"""Where the PIN comes from: a descriptor, a file, one sealed under the TPM, a systemd credential, a prompt.
The bucket's secret comes from a file or a credential.

Never from the configuration, the environment or the command line: those are seen by backups, child
processes and `ps`. The caller wipes the bytearray when it is done with it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import stat
import sys
from pathlib import Path

from signerd.adapters.sealed_pin_file import open_pin, read_file
from signerd.adapters.start_faults import from_system
from signerd.config import AnyTokenSettings
from signerd.core.sealed_pin import MAX_PIN
from signerd.core.tpm_reference import tpm_source
from signerd.errors import ConfigError


def read_pin(source: str, base: Path, of: str = "the HSM token") -> bytearray:
    """Reads the PIN from `fd:N`, `file:PATH`, `tpm:PATH`, `credential:NAME` or `prompt`.

    A newline at the end does not belong to it. A relative PATH is relative to `base`; a prompt asks for the
    PIN `of` this token.

    Raises:
        ConfigError: it cannot be read, or others could read it too; the text names the remedy.
    """
    kind, _, rest = source.partition(":")
    match kind:
        case "fd" if rest.isdecimal():
            return _checked(_from_descriptor(int(rest)), source)
        case "file" if rest:
            return _checked(_from_file(base / rest), source)
        case "tpm" if rest:
            return _checked(_from_tpm(rest, base), source)
        case "credential" if rest:
            return _checked(_from_credential(rest), source)
        case "prompt" if not rest:
            return _checked(_from_prompt(of), source)
        case _:
            raise ConfigError(
                'a PIN source is "fd:NUMBER", "file:PATH", "tpm:PATH", "credential:NAME" or "prompt"'
            )


def read_secret(source: str, base: Path, what: str) -> bytearray:
    """Another secret, `what`, from `file:PATH` or `credential:NAME`. As `read_pin` else.

    Raises:
        ConfigError: it cannot be read, or others could read it too; the text names the remedy.
    """
    kind, _, rest = source.partition(":")
    match kind:
        case "file" if rest:
            return _checked(_from_file(base / rest, what), source, what)
        case "credential" if rest:
            return _checked(_from_credential(rest, command="signerd's service alone has it"), source, what)
        case _:
            raise ConfigError(f'the {what} comes from "file:PATH" or "credential:NAME"')


def pin_of(token: AnyTokenSettings, base: Path) -> bytearray:
    """The PIN of a token; empty where a service has the token, and with it the PIN. Raises as `read_pin`."""
    return bytearray() if token.service is not None else read_pin(token.pin, base)


def check_pin_file(source: str, base: Path) -> str:
    """What is known of the source before a start, which alone asks for a PIN and has credentials.

    Raises:
        ConfigError: it is a file that `read_pin` would refuse.
    """
    kind, _, rest = source.partition(":")
    if kind not in ("file", "tpm"):
        return f"{source}, looked at when signerd starts"
    pin = read_pin(source, base)
    pin[:] = bytes(len(pin))
    if kind == "file":
        return f"{source}, readable by signerd's user alone"
    pcrs = read_file(base / tpm_source(rest)[0]).key.pcrs
    return f"{source}, opened by this machine's TPM{_bound_to(pcrs)}"


def file_of(source: str) -> str | None:
    """The path in a source of the kinds `file` and `tpm`."""
    kind, _, rest = source.partition(":")
    if kind == "tpm":
        return tpm_source(rest)[0]
    return rest if kind == "file" else None


def with_file(source: str, path: Path) -> str:
    """The same source of such a kind, with its file elsewhere."""
    kind, _, rest = source.partition(":")
    return f"{kind}:{path}{rest.removeprefix(file_of(source) or '')}"


def absolute(source: str) -> str:
    """The source with its path, if it has one, seen from this process' folder."""
    try:
        name = file_of(source)
    except ValueError:  # who reads it says what is wrong
        return source
    return with_file(source, Path(name).absolute()) if name else source


def _bound_to(pcrs: tuple[int, ...]) -> str:
    if not pcrs:
        return ""
    return f" while PCR {', '.join(map(str, pcrs))} is as it was; seal it anew when that changes"


def _checked(pin: bytearray, source: str, what: str = "PIN") -> bytearray:
    while pin and pin[-1] in b"\r\n":
        pin.pop()
    if not pin:
        raise ConfigError(f"the {what} from {source} is empty")
    if len(pin) > MAX_PIN or 0 in pin:
        raise ConfigError(f"what {source} gives is no {what}: longer than {MAX_PIN} bytes, or binary")
    try:
        pin.decode()
    except UnicodeDecodeError as error:
        # Not chained: the original carries the bytes.
        del error
        raise ConfigError(f"the {what} from {source} is not UTF-8") from None
    return pin


def _read(descriptor: int) -> bytearray:
    pin = bytearray()
    while len(pin) <= MAX_PIN + 2:
        data = os.read(descriptor, MAX_PIN)
        if not data:
            break
        pin += data
    return pin


def _from_descriptor(descriptor: int) -> bytearray:
    try:
        return _read(descriptor)
    except OSError as error:
        raise ConfigError(
            f"cannot read the PIN from descriptor {descriptor}: {error.strerror}; open it for signerd,"
            f" for example: signerd run -c FILE {descriptor}< PIN-FILE"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it was not open, and the read has said so
            os.close(descriptor)


def _from_file(path: Path, what: str = "PIN") -> bytearray:
    try:
        # O_NONBLOCK: a FIFO in its place must not hang us; the type is looked at below.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise from_system(
            f"cannot read the {what} file {path}: {error.strerror}; it must be a file of mode 0400, no link",
            error,
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"the {what} file {path} is not a regular file")
        if found.st_uid != os.geteuid():
            raise ConfigError(
                f"the {what} file {path} belongs to another user: chown it to the one signerd runs as"
            )
        if stat.S_IMODE(found.st_mode) != 0o400:
            raise ConfigError(f"the {what} file {path} must have mode 0400: chmod 0400 {path}")
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _from_tpm(rest: str, base: Path) -> bytearray:
    try:
        path, tcti = tpm_source(rest)
    except ValueError as error:
        raise ConfigError(f"PIN source tpm:{rest}: {error}") from error
    return open_pin(base / path, tcti)


def _from_credential(name: str, command: str = "a command takes --pin prompt") -> bytearray:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None or "/" in name or name in (".", ".."):
        raise ConfigError(
            f"there is no credential {name!r}: {command}; start signerd by systemd with"
            f" LoadCredential={name}:/path or"
            f" LoadCredentialEncrypted={name}:/path"
        )
    # systemd itself keeps the directory to this service; the file's owner and mode are its choice.
    path = Path(directory) / name
    try:
        with path.open("rb", buffering=0) as file:
            return _read(file.fileno())
    except OSError as error:
        raise ConfigError(f"cannot read the credential {name!r}: {error.strerror}") from error


def _from_prompt(of: str) -> bytearray:
    if not sys.stdin.isatty():
        raise ConfigError(
            'PIN source "prompt" needs a terminal: for a service use "credential:NAME", "tpm:PATH",'
            ' "file:PATH" or "fd:N"'
        )
    try:
        return bytearray(getpass.getpass(f"PIN of {of}: ").encode())
    except EOFError as error:
        raise ConfigError("no PIN was entered") from error
