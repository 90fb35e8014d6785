"""`signerd init` with a real HSM, in two steps with the offline root between them.

`create` makes the keys in the token and leaves `ca/sub-ca.csr.pem`. The root signs it, wherever it is kept.
`install_certificate` checks what comes back, has the token prove that it holds the key, and opens the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters import device_ca
from signerd.adapters.installation import parts
from signerd.adapters.installation.chain_files import Arranged, arrange, read_certificates, unusable
from signerd.adapters.installation.keys import (
    NewKeys,
    ask_offers,
    demand_key_type,
    generate_keys,
    leftovers,
    prove_keys,
)
from signerd.adapters.installation.layout import PUBLIC, Layout, make_installation_directory, write_new
from signerd.adapters.installation.places import NO_WISHES, Wishes, decide
from signerd.adapters.installation.settings_file import Choices, checked_names, write_settings
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import settings_with
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.adapters.pin import absolute, read_pin
from signerd.config import Config, load
from signerd.errors import ConfigError, Fault, Unavailable


def create(
    directory: Path,
    *,
    module: Path,
    token: str,
    pin_source: str,
    deployment: str,
    server_names: Sequence[str],
    key_type: str = "p256",
    listen: str = "127.0.0.1:8443",
    origin: str | None = None,
    environment: Mapping[str, str] | None = None,
    wishes: Wishes = NO_WISHES,
) -> Path:
    """Makes keys, configuration and operations CA; returns the path of the request for the offline root.

    `server_names`: what stations and auditors dial, at least one. `pin_source` as in the configuration; a
    relative file is relative to the working directory. `origin` is the log's name, by default
    `<deployment>/birthmark`. `environment` is what the module needs to find its own configuration, for
    example YUBIHSM_PKCS11_CONF: a key holder sees little else of ours. `wishes`: where keys are kept that the
    token need not hold.

    Raises:
        ConfigError: the directory is not empty, a value is not of its form, or a file cannot be written;
            the text says what to remove.
        WrongPin: the token rejected the PIN.
        Unavailable: the token does not make the keys.
    """
    demand_key_type(key_type)
    names = checked_names(server_names, listen)
    if not names.dialled:
        raise ConfigError("no name that stations dial was given")
    pin_source = absolute(pin_source)
    layout = make_installation_directory(directory)
    choices = Choices(
        deployment=deployment,
        listen=listen,
        server_names=names.dialled,
        origin=origin or f"{deployment}/birthmark",
        module=module,
        token=token,
        pin_source=pin_source,
        metrics=True,
        environment=environment or {},
        ca_key=wishes.ca_key,
        sealing_key=wishes.sealing_key,
    )
    # The token comes last: what fails before leaves nothing in it.
    try:
        config = write_settings(layout, choices)
        parts.write_operations(layout, deployment, names.certified, datetime.now(UTC).replace(microsecond=0))
        pin = read_pin(pin_source, layout.directory)
    except ConfigError as error:
        raise ConfigError(f"{error}\nremove {layout.directory} before you start again") from error
    choices, keys = _generate(config, choices, layout, pin, key_type, wishes)
    try:
        parts.keep_keys(layout, choices, keys)
        write_new(layout.request, keys.request.public_bytes(Encoding.PEM), PUBLIC)
    except ConfigError as error:
        left = leftovers(config.hsm, choices.places)
        raise ConfigError(f"{error}\n{left}, and {layout.directory}, before you start again") from error
    return layout.request


def _generate(
    config: Config, choices: Choices, layout: Layout, pin: bytearray, key_type: str, wishes: Wishes
) -> tuple[Choices, NewKeys]:
    remedy = f"\nremove {layout.directory} before you start again"
    rejected = RejectedPins.of_user(module=str(config.hsm.module), token=config.hsm.token)
    try:
        places = decide(wishes, asyncio.run(ask_offers(config.hsm, pin, rejected)))
        keys = generate_keys(
            config.hsm,
            pin,
            rejected,
            key_type=key_type,
            common_name=device_ca.sub_ca_common_name(config.deployment),
            origin=config.ledger.origin,
            places=places,
        )
        return replace(choices, places=places), asyncio.run(keys)
    except ConfigError as error:
        raise ConfigError(f"{error}{remedy}") from error
    except WrongPin as error:
        raise WrongPin(f"{error.detail}{remedy}") from error
    except Unavailable as error:
        raise type(error)(f"{error.detail}{remedy}") from error
    except Fault as error:
        raise ConfigError(f"{error.detail}{remedy}") from error
    finally:
        pin[:] = bytes(len(pin))


def install_certificate(
    directory: Path,
    *,
    certificate: Path,
    root: Path,
    chain: Sequence[Path] = (),
    by: str | None = None,
    pin_source: str | None = None,
) -> Arranged:
    """Takes the sub-CA's certificate from the offline root and finishes the installation.

    `certificate` and `chain`: files with the sub-CA's certificate and what stands above it, in any order.
    `root`: the one that relying parties pin; self-signed or not. `by`: who does it, for the ledger.
    `pin_source`: where the PIN comes from this time, if not as the first step was told.
    Everything is checked before anything is written, so that a wrong file can be replaced and tried again.

    Raises:
        ConfigError: there is no request to answer, a file cannot be read, or the certificate is not usable;
            the text lists what fails.
        WrongPin: the token rejected the PIN.
        Unavailable: the token does not answer, or its key is not the certificate's.
    """
    layout = Layout(directory.resolve())
    config = load(layout.config)
    if layout.sub_ca.exists():
        raise ConfigError(f"{layout.sub_ca} is there already: this installation is finished")
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        request = x509.load_pem_x509_csr(layout.request.read_bytes())
        vkey = layout.vkey.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{layout.directory} is not an installation that `signerd init` began") from error
    root_certificate = _root(root)
    arranged = arrange(_read_all(certificate, *chain), request, root_certificate)
    if problems := device_ca.check_sub_ca(arranged.chain, root_certificate, now):
        raise unusable(problems)
    sub_ca = arranged.chain[0]
    source = config.hsm.pin if pin_source is None else absolute(pin_source)
    asyncio.run(prove_keys(settings_with(config, sub_ca, vkey), source, layout.directory))
    try:
        parts.open_ledger(config, layout, vkey, sub_ca, root_certificate, now, by)
        parts.write_device_certificates(layout, arranged.chain, root_certificate)
    except (ConfigError, Fault) as error:
        made = f"the database, {config.ledger.head}, {layout.sub_ca}, chain.pem and root.pem beside it"
        raise ConfigError(f"{error}\nremove what is there of {made}, and repeat this step") from error
    return arranged


def _read_all(*paths: Path) -> list[x509.Certificate]:
    return [certificate for path in paths for certificate in read_certificates(path)]


def _root(path: Path) -> x509.Certificate:
    certificates = read_certificates(path)
    if len(certificates) != 1:
        raise ConfigError(f"{path} holds {len(certificates)} certificates: give the root's alone")
    return certificates[0]
