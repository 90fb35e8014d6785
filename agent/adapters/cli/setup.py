"""`enroll`, `ports` and `doctor`: what is done before the first board."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from agent.adapters.cli.options import print_result
from agent.adapters.line.serial_port import list_ports
from agent.config import Config
from agent.errors import BadAnswer, Refused, SignerUnavailable

_SHOWN = {True: "ok", False: "BAD", None: "-"}  # `-`: not checked, for another line comes first

if TYPE_CHECKING:
    from agent.adapters.enrolment.renewal import Renewal


def make_request(directory: Path, *, deployment: str, site: str, name: str, as_json: bool) -> None:
    """Makes the station's key and request, and says what to do with the request."""
    from agent.adapters.enrolment import enroll  # noqa: PLC0415 -- the one module that makes keys, loaded for this alone

    path = enroll.request(directory, deployment=deployment, site=site, name=name)
    lines = [
        f"The station's key stays in {directory}.",
        f"Send {path} to signerd's administrator, who runs:",
        f"  signerd station add {path.name} --site {site} --name {name} --out {name}.pem",
    ]
    print_result("\n".join(lines), {"request": str(path)}, as_json=as_json)


def install(
    directory: Path,
    certificate: Path,
    *,
    operations_ca: Path,
    log_vkey: Path,
    device_root: Path,
    address: str,
    witnesses: Path | None,
    witnesses_required: int | None,
    as_json: bool,
) -> None:
    """Takes in what the administrator sent back."""
    from agent.adapters.enrolment import enroll  # noqa: PLC0415 -- as above

    given = enroll.Given(
        certificate, operations_ca, log_vkey, device_root, address, witnesses, witnesses_required
    )
    config = enroll.install(directory, given)
    said = f"Enrolled. Check it with:  birthmark-agent doctor -c {config}"
    print_result(said, {"config": str(config)}, as_json=as_json)


def make_renewal(config: Config, *, as_json: bool) -> None:
    """Asks signerd, if it can be reached. Where it gives no certificate now, makes the request again, and
    says what to do."""
    from agent.adapters.enrolment import enroll  # noqa: PLC0415 -- as above

    renewal, why = asyncio.run(_asked(config))
    if renewal is not None and renewal.outcome == "done":
        said = f"Renewed {renewal.name.uri} until {renewal.until:%F}."
        value = {"state": "done", "uri": renewal.name.uri, "certificate": str(config.signerd.certificate)}
        print_result(said, value, as_json=as_json)
        return
    path, name = enroll.renewal_request(config)
    state = "not_asked" if renewal is None else renewal.outcome.value
    if as_json:
        print(json.dumps({"state": state, "request": str(path), "uri": name.uri}))
        return
    if renewal is None:
        print(f"signerd gave none: {why}")
    elif renewal.outcome == "pending":
        print(f"It waits for signerd's administrator, who runs:  signerd station approve {name.uri}")
        print("Then run this command again; a station that runs takes it up by itself. Or by a file:")
    elif renewal.due_at is not None:
        print(f"signerd renews it from {renewal.due_at:%F} on. Before that, by a file:")
    print(f"Send {path} to signerd's administrator, who runs:")
    print(f"  signerd station renew {path.name} --site {name.site} --name {name.name} --out {name.name}.pem")
    print(f"With what comes back, run:  birthmark-agent renew --install {name.name}.pem")


async def _asked(config: Config) -> tuple[Renewal | None, str]:
    """What came of it; None and why where signerd was not reached or does not know the call."""
    from agent.adapters.enrolment.renewal import renew  # noqa: PLC0415 -- for this alone
    from agent.adapters.parts import signer_of  # noqa: PLC0415 -- as above

    try:
        async with signer_of(config) as signer:
            return await renew(config, signer), ""
    except Refused as error:
        return None, f"it refuses: {error.code}. {error.remedy}"
    except (SignerUnavailable, BadAnswer) as error:
        return None, error.detail


def install_renewed(config: Config, certificate: Path, operations_ca: Path | None, *, as_json: bool) -> None:
    """Takes in the renewed certificate."""
    from agent.adapters.enrolment import enroll  # noqa: PLC0415 -- as above

    name = enroll.install_renewed(config, certificate, operations_ca)
    if as_json:
        print(json.dumps({"certificate": str(config.signerd.certificate), "uri": name.uri}))
    else:
        print(f"Renewed {name.uri}. A station that runs shows it from its next start.")


def show_ports(config: Config, *, as_json: bool) -> None:
    """Lists the ports."""
    found = list_ports(config.ports, discover=not config.ports)
    if as_json:
        print(json.dumps([asdict(port) for port in found]))
        return
    for port in found:
        print(f"{port.device:<20} {port.name:<24} {port.description}")
    if not found:
        print("no serial port; plug one in, or name it under `ports` in the configuration", file=sys.stderr)


def run_doctor(config_path: Path, order: str | None, *, as_json: bool) -> int:
    """Prints each check; returns 1 if one failed."""
    from agent.adapters.checks.station import examine  # noqa: PLC0415 -- its TLS parts are of no use to the others

    findings = asyncio.run(examine(config_path, order))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{_SHOWN[finding.ok]:<4} {finding.check:<14} {finding.detail}")
            if finding.remedy:
                print(f"     {'':<14} {finding.remedy}")
    return 0 if all(finding.ok for finding in findings) else 1
