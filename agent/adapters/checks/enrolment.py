"""Driver, recipe, certificate and key: what is on this PC alone, looked at without a network."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from cryptography import x509

from agent.adapters.checks.finding import Examined
from agent.adapters.drivers.registry import check_tables, find_driver
from agent.adapters.enrolment.credentials import (
    RENEW,
    StationName,
    check_pair,
    check_validity,
    parse_cas,
    parse_certificate,
    parse_key,
    read_file,
    station_name,
)
from agent.adapters.parts import read_recipe
from agent.adapters.private_files import check_private
from agent.config import Config
from agent.errors import ConfigError, NotedError

_SOON = timedelta(days=60)  # as signerd warns its administrators
_KEY = "Put back the key that birthmark-agent enroll made. If it is lost, this station enrolls anew."


async def driver(station: Examined) -> str:
    """It is there, and each table `[drivers.*]` is a driver's, with options of it."""
    return await asyncio.to_thread(_driver, station.config)


async def recipe(station: Examined) -> str:
    """The recipe can be taken with this driver."""
    return (await asyncio.to_thread(read_recipe, station.config)).name


async def certificate(station: Examined) -> str:
    """It can be read, is a station's, of this deployment, and in its time.

    Raises NotedError where that ends soon: until then, boards go on."""
    return await asyncio.to_thread(_certificate, station.config)


async def key(station: Examined) -> str:
    """It can be read, by this account alone, and is the certificate's."""
    return await asyncio.to_thread(_key, station.config)


def _driver(config: Config) -> str:
    find_driver(config.driver)
    check_tables(config.drivers, config.driver)
    return config.driver


def own_name(config: Config) -> StationName:
    """What the station is called by its certificate. Raises ConfigError."""
    return station_name(_read(config))


def _read(config: Config) -> x509.Certificate:
    return parse_certificate(read_file(config.signerd.certificate), str(config.signerd.certificate))


def _certificate(config: Config) -> str:
    held = _read(config)
    parse_cas(read_file(config.signerd.operations_ca), str(config.signerd.operations_ca))
    _check_no_ca(held, config)
    name = station_name(held)
    if name.deployment != config.deployment:
        detail = f"the certificate is for deployment {name.deployment}, agent.toml says {config.deployment}"
        raise ConfigError(detail, remedy=f'Set in agent.toml: deployment = "{name.deployment}"')
    check_validity(held)
    end = held.not_valid_after_utc
    if end - datetime.now(UTC) < _SOON:
        raise NotedError(f"{name.uri} ends {end:%F %T}", remedy=RENEW)
    return f"{name.uri} until {end:%F}"


def _check_no_ca(held: x509.Certificate, config: Config) -> None:
    try:
        ca = held.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return
    if ca:
        remedy = "Mend signerd.certificate and signerd.operations_ca in agent.toml: were they exchanged?"
        raise ConfigError(f"{config.signerd.certificate} is a CA's certificate, no station's", remedy=remedy)


def _key(config: Config) -> str:
    path = config.signerd.key
    pem = read_file(path, _KEY)
    parse_key(pem, str(path), _KEY)
    check_private(path)
    check_pair(_read(config), pem)
    return "belongs to the certificate"
