"""A further issuer, in two steps with its root between them: `signerd ca request`, then `signerd ca add`.

`request` makes a CA key in a token, or takes one that is there or that an issuer has, and leaves the request.
`prepare` checks what comes back, and has the token prove that it holds the key. `write_section` makes the
issuer known to the settings. Every file is in `ca/`, beside those of `signerd init`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters.checks import load_issuer
from signerd.adapters.installation.chain_files import arrange, read_certificates
from signerd.adapters.installation.keys import generate_ca_key, prove_keys
from signerd.adapters.installation.layout import PUBLIC, write_new
from signerd.adapters.installed_files import add_to, owned_folder, replace_beside
from signerd.adapters.keyholder.pool import rejected_pins, settings_of_issuer
from signerd.adapters.keyholder.service.settings import KeyHolderConfig
from signerd.adapters.pin import read_pin
from signerd.config import AnyTokenSettings, Config, Keys, TokenSettings, read_settings
from signerd.core.file_problems import FileKind, FileProblem, parse_file
from signerd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Files:
    """Those of one further issuer."""

    directory: Path  # the configuration's
    name: str

    def _of(self, ending: str) -> Path:
        return self.directory / "ca" / f"issuer-{self.name}.{ending}"

    @property
    def request(self) -> Path:
        """For whoever signs."""
        return self._of("csr.pem")

    @property
    def token(self) -> Path:
        """Which token has its key: what becomes `[issuers.hsm]`."""
        return self._of("token.toml")

    @property
    def chain(self) -> Path:
        """The sub-CA's certificate, and those above it without the root."""
        return self._of("pem")

    @property
    def root(self) -> Path:
        """Whatever relying parties pin."""
        return self._of("root.pem")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An issuer that could sign, and what to announce of it."""

    chain: tuple[x509.Certificate, ...]
    root: x509.Certificate
    token: TokenSettings


def request(
    config: Keys,
    files: Files,
    token: TokenSettings,
    *,
    key_type: str,
    taken: bool,
    cn: str,
    pin_source: str | None = None,
) -> Path:
    """Makes the key and leaves the request; returns its path.

    Args:
        config: the installation's.
        files: where to leave it.
        token: with the key's name.
        key_type: as `signerd init` has it; of a key that is made.
        taken: the key is in the token already, and is not made.
        cn: the common name that the request carries.
        pin_source: where the PIN comes from this time, if not as `token` has it.

    Raises:
        ConfigError: an issuer or a request of this name is there, the token has an object of the key's name
            or lacks the one that is taken, or a file cannot be written.
        WrongPin: the token rejected the PIN, now or before.
        Unavailable: the token does not make the key.
    """
    _demand_new(config, files)
    files.request.parent.mkdir(mode=0o700, exist_ok=True)
    # Before the key: a crash from here on leaves at most a file that says where a key may be.
    write_new(files.token, token_text(token).encode(), PUBLIC)
    try:
        pin = read_pin(pin_source or token.pin, files.directory)
        try:
            made = asyncio.run(
                generate_ca_key(
                    token, pin, rejected_pins(config, token), key_type=key_type, common_name=cn, taken=taken
                )
            )
        finally:
            pin[:] = bytes(len(pin))
    except BaseException:
        files.token.unlink()
        raise
    write_new(files.request, made.public_bytes(Encoding.PEM), PUBLIC)
    return files.request


def _demand_new(config: Keys, files: Files) -> None:
    if any(issuer.name == files.name for issuer in config.all_issuers):
        raise ConfigError(f"the settings have an issuer {files.name}: give another name")
    for path in (files.request, files.chain):
        if path.exists():
            raise ConfigError(f"{path} is there already: give another name, or remove it if it leads nowhere")
    with suppress(FileNotFoundError):
        if not files.request.exists():
            files.token.unlink()  # of a request that was cut short


def prepare(
    config: Keys,
    files: Files,
    certificates: Sequence[Path],
    root: Path,
    same_key_as: str | None,
    pin_source: str | None = None,
) -> Prepared:
    """Checks the certificate, and that the token has its key; changes nothing.

    `same_key_as`: an issuer whose key this is a newer certificate of. `pin_source`: where the PIN comes from
    this time, if not as the settings have it.

    Raises:
        ConfigError: no request of this name, or the certificate is not usable; the text lists what fails.
        WrongPin: the token rejected the PIN.
        Unavailable: the token does not answer, or its key is another one.
    """
    token, key = _key_of_request(files) if same_key_as is None else _key_of_issuer(config, same_key_as)
    roots = read_certificates(root)
    if len(roots) != 1:
        raise ConfigError(f"{root} holds {len(roots)} certificates: give the root alone")
    given = [certificate for path in certificates for certificate in read_certificates(path)]
    chain = arrange(given, key, roots[0]).chain
    proven = settings_of_issuer(config, chain[0], token)
    asyncio.run(prove_keys(proven, pin_source or token.pin, files.directory))
    return Prepared(chain, roots[0], token)


def _key_of_request(files: Files) -> tuple[TokenSettings, x509.CertificateSigningRequest]:
    try:
        made = x509.load_pem_x509_csr(files.request.read_bytes())
        return token_of(files.token), made
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no request {files.request}: `signerd ca request {files.name}`, or --same-key-as"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{files.request} or {files.token} cannot be read: {error}") from error


def _key_of_issuer(config: Keys, name: str) -> tuple[TokenSettings, x509.Certificate]:
    for issuer in config.all_issuers:
        if issuer.name == name and issuer.hsm is not None:
            token = TokenSettings.model_validate(
                issuer.hsm.model_dump(include=set(TokenSettings.model_fields))
            )
            return token, load_issuer(config, issuer).certificate
    raise ConfigError(f"the settings have no issuer {name} whose key is here")


def write_section(config: Path, name: str, prepared: Prepared) -> None:
    """The certificates, and then the settings' section. Once more, after a crash, adds what is missing: a
    signerd that starts before that goes on without the issuer, and says so.

    Raises:
        ConfigError: another certificate is there, or the settings cannot be written (and what to add).
    """
    _write_section(config, Files(config.parent, name), prepared, Config, None)


def write_sections(config: Path, held: Path, service: Path, name: str, ca: str, prepared: Prepared) -> None:
    """The same where a key holder's service has the token: it gets the token's section, and signerd its
    socket. A crash between them leaves a service that has an issuer which signerd does not ask for yet.

    Args:
        config: signerd's settings.
        held: the service's.
        service: its socket.
        name: of the issuer.
        ca: that products name it by.
        prepared: as `prepare` gave it.

    Raises:
        ConfigError: as `write_section`.
    """
    _write_section(held, Files(held.parent, name), prepared, KeyHolderConfig, ca)
    asked = replace(prepared, token=TokenSettings(service=service))
    _write_section(config, Files(config.parent, name), asked, Config, None)


def _write_section(config: Path, files: Files, prepared: Prepared, kind: type[Keys], ca: str | None) -> None:
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in prepared.chain)
    owned_folder(config, files.chain.parent)
    for path, content in ((files.chain, chain), (files.root, prepared.root.public_bytes(Encoding.PEM))):
        if not path.exists():
            replace_beside(config, path, content, PUBLIC)
        elif path.read_bytes() != content:
            raise ConfigError(f"{path} is there already, with another certificate")
    if any(issuer.name == files.name for issuer in read_settings(config, kind).issuers):
        return
    add_to(config, _section(files, prepared.token, ca))
    read_settings(config, kind)


def _section(files: Files, token: TokenSettings, ca: str | None) -> str:
    named = "" if ca is None else f"ca = {_string(ca)}\n"
    chain, root = (os.path.relpath(path, files.directory) for path in (files.chain, files.root))
    return f"""
# Made by `signerd ca add`.
[[issuers]]
name = {_string(files.name)}
{named}certificate = {_string(chain)}
root = {_string(root)}

[issuers.hsm]
{token_text(token)}"""


def token_text(token: AnyTokenSettings) -> str:
    """Lines of TOML: what is not the default."""
    return toml_lines(token.model_dump(mode="json", exclude_defaults=True))


def toml_lines(values: Mapping[str, Any]) -> str:
    """Lines of TOML: settings of a token, as JSON has them."""
    names = values.get("environment", {})
    lines = [f"{key} = {_string(value)}" for key, value in values.items() if key != "environment"]
    inline = ", ".join(f"{_string(name)} = {_string(value)}" for name, value in names.items())
    return "".join(f"{line}\n" for line in [*lines, *([f"environment = {{ {inline} }}"] if names else [])])


def token_of(path: Path) -> TokenSettings:
    """Raises ConfigError: it is not what `token_text` wrote; OSError: it cannot be read."""
    name = path.name.removeprefix("issuer-").removesuffix(".token.toml")
    kind = FileKind(
        f"signerd ca request {name}", "signerd's user", "deploy/examples/signerd.toml, [issuers.hsm],"
    )
    try:
        return parse_file(path, path.read_bytes(), TokenSettings, kind, {})
    except FileProblem as error:
        raise ConfigError(str(error)) from error


def _string(value: object) -> str:
    # A JSON string is a TOML basic string, but for DEL, which JSON leaves bare and TOML forbids.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
