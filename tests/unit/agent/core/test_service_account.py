"""The SID of a service follows from its name, as Windows has it."""

from __future__ import annotations

from agent.core.service_account import ACCOUNT, SERVICE, sid_of_service

# Known on every Windows: `sc showsid TrustedInstaller`.
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"


def test_the_sid_is_windows_own() -> None:
    assert sid_of_service("TrustedInstaller") == TRUSTED_INSTALLER
    assert sid_of_service("trustedinstaller") == TRUSTED_INSTALLER


def test_another_service_has_another() -> None:
    assert sid_of_service(SERVICE) != sid_of_service(f"{SERVICE}2")
    assert ACCOUNT.endswith(SERVICE)
