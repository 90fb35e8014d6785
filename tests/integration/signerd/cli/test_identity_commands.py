"""`signerd chips import-identities`."""

from __future__ import annotations

import base64
import json
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from birthmark.v1 import admin_pb2
from harness.edge import TIMEOUT_S, Edge, new_key
from harness.process import wait_until
from harness.signerd_commands import SIGNERD, signerd

IMPORT = ("chips", "import-identities", "--product", "gateway", "--method", "psa-token")


def identity_line(chip: str, *, number: int, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    public = (key or new_key()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    members = {
        "chip_id": chip,
        "key_id": "01" + number.to_bytes(32, "big").hex(),
        "public_key": base64.b64encode(spki).decode(),
    }
    return json.dumps(members) + "\n"


def imported(edge: Edge) -> list[dict[str, Any]]:
    return [each for each in edge.entries() if each["type"] == "identities_imported"]


def test_identities_are_imported_and_again_count_nothing(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    lines = [identity_line(f"again:{number}", number=number) for number in range(1, 1102)]
    file.write_text("\n".join(lines), "utf-8")  # with empty lines between
    said = gateway.installation.admin(*IMPORT, file, "--by", "ann@example.com")
    assert "1101 of 1101 identities are new for gateway, method psa-token" in said
    assert "lines/s" in said
    again = json.loads(gateway.installation.admin(*IMPORT, file, "--json"))
    assert again == {"product": "gateway", "method": "psa-token", "lines": 1101, "added": 0}
    file.write_text(file.read_text("utf-8") + identity_line("again:new", number=5000), "utf-8")
    assert "1 of 1102" in gateway.installation.admin(*IMPORT, file)
    wait_until(lambda: len(imported(gateway)) >= 6, "the entries to be published")
    entries = imported(gateway)[:2]
    assert [each["count"] for each in entries] == [1000, 101]
    assert {(each["by"], each["product"], each["method"]) for each in entries} == {
        ("ann@example.com", "gateway", "psa-token")
    }


def test_who_imports_is_the_caller_unless_told(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"

    def noted(chip: str, number: int, **environment: str) -> str:
        file.write_text(identity_line(chip, number=number), "utf-8")
        before = len(imported(gateway))
        command = [str(SIGNERD), *IMPORT, str(file), "-c", str(gateway.installation.config)]
        bare = {name: value for name, value in os.environ.items() if name not in {"SUDO_USER", "USER"}}
        subprocess.run(command, env=bare | environment, check=True, timeout=60, capture_output=True)
        wait_until(lambda: len(imported(gateway)) > before, "the entry to be published")
        return str(imported(gateway)[-1]["by"])

    assert noted("by:1", 6001, SUDO_USER="ann", USER="root") == "ann"
    assert noted("by:2", 6002, USER="bob") == "bob"
    assert noted("by:3", 6003) == pwd.getpwuid(os.getuid()).pw_name


Key = ec.EllipticCurvePrivateKey


def private_key_line(key: Key) -> str:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"chip_id": "a", "key_id": "00", "public_key": text})


@pytest.mark.parametrize(
    ("line", "named"),
    [
        pytest.param(lambda _: "{", "line 3: not a line of JSON", marks=pytest.mark.check),
        pytest.param(
            lambda _: identity_line("bad:1", number=7001)[:-2] + ', "chip_id": "b"}\n',
            "a member appears twice",
            marks=pytest.mark.check,
        ),
        pytest.param(
            lambda _: identity_line("bad:1", number=7001).replace('"01', '"0-1'),
            "two digits a byte",
            marks=pytest.mark.check,
        ),
        (private_key_line, "line 3: a private key"),
        (
            lambda _: identity_line("Bad:0", number=7001),
            "line 3: chip Bad:0: it and bad:0 differ by letter case alone",
        ),
        pytest.param(
            lambda _: identity_line("7C:DF:A1:00:00:01", number=7001),
            "line 3: chip 7C:DF:A1:00:00:01: 7C:DF:A1:00:00:01 is a MAC address in another spelling",
            marks=pytest.mark.check,
        ),
        (
            lambda _: identity_line("bad:1", number=7001, key=ec.derive_private_key(1, ec.SECP256R1())),
            "line 3: chip bad:1: the public key: the private key can be guessed",
        ),
        pytest.param(
            lambda _: identity_line("bad:1", number=7001).replace('"01', '"02'),
            "line 3: chip bad:1: key_id is not",
            marks=pytest.mark.check,
        ),
        pytest.param(
            lambda _: identity_line("bad:0", number=7001),
            "line 3: chip bad:0: it was imported before, with another key id",
            marks=pytest.mark.check,
        ),
        (
            lambda _: identity_line("bad:1", number=7000),
            "line 3: chip bad:1: its key id was imported before, for chip bad:0",
        ),
        pytest.param(
            lambda key: identity_line("bad:1", number=7001, key=key),
            "line 3: chip bad:1: its public key was imported before, for chip bad:0",
            marks=pytest.mark.check,
        ),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_its_call_is_entered(
    gateway: Edge, tmp_path: Path, line: Callable[[Key], str], named: str
) -> None:
    file, key = tmp_path / "identities.jsonl", new_key()
    file.write_text("\n" + identity_line("bad:0", number=7000, key=key) + line(key), "utf-8")
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, named in said) == (1, True), said
    assert "BEGIN" not in said
    assert "are entered" not in said
    file.write_text(identity_line(f"free:{uuid4()}", number=uuid4().int, key=key), "utf-8")
    assert "1 of 1" in gateway.installation.admin(*IMPORT, file)  # its key is not taken


def test_what_was_entered_before_a_bad_line_is_told(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    lines = "".join(identity_line(f"half:{number}", number=8000 + number) for number in range(1000))
    file.write_text(lines + "{}\n", "utf-8")
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, "line 1001" in said, "1000 identities of the lines before are entered" in said) == (
        1,
        True,
        True,
    )
    file.write_text(lines, "utf-8")
    assert "0 of 1000" in gateway.installation.admin(*IMPORT, file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"--product": "nothing"}, "no product 'nothing'"),
        pytest.param(
            {"--method": "nrf91"},
            "nor an open work order of it accepts nrf91. The newest revision accepts: psa-token",
            marks=pytest.mark.check,
        ),
        ({"--method": "x509"}, "uses no imported keys"),
        ({"--by": "ann smith"}, "by must be"),
        pytest.param({"--by": "a" * 65}, "by must be", marks=pytest.mark.check),
    ],
)
def test_an_import_that_means_nothing(
    gateway: Edge, tmp_path: Path, change: dict[str, str], named: str
) -> None:
    file = tmp_path / "identities.jsonl"
    file.write_text(identity_line("none:1", number=9001), "utf-8")
    options = {"--product": "gateway", "--method": "psa-token", "--by": "ann"} | change
    arguments = [part for option in options.items() for part in option]
    code, said = signerd(gateway.installation, "chips", "import-identities", *arguments, file)
    assert (code, named in said) == (1, True), said


def test_an_empty_list_and_none(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, "No such file" in said) == (1, True)
    file.write_text("\n \n", "utf-8")
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, "holds no identity" in said) == (1, True)


def identities_request(*identities: admin_pb2.Identity) -> admin_pb2.ImportIdentitiesRequest:
    return admin_pb2.ImportIdentitiesRequest(
        product="gateway", method="psa-token", by="ann", identities=identities
    )


def test_a_call_that_the_command_would_not_send(gateway: Edge) -> None:
    spki = new_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = admin_pb2.Identity(chip_id="raw:1", key_id=b"\x01" * 33, spki=spki)
    send = gateway.admin.ImportIdentities
    assert send(identities_request(good), timeout=TIMEOUT_S).added == 1
    assert send(identities_request(*[good] * 1000), timeout=TIMEOUT_S).added == 0
    wrong = [
        identities_request(*[good] * 1001),
        identities_request(),
    ]
    for change in (
        {"chip_id": "a\nb"},
        {"chip_id": ""},
        {"spki": b""},
        {"spki": bytes(10**6)},
        {"key_id": b""},
    ):
        changed = admin_pb2.Identity(chip_id=good.chip_id, key_id=good.key_id, spki=good.spki)
        for name, value in change.items():
            setattr(changed, name, value)
        wrong.append(identities_request(changed))
    for request in wrong:
        with pytest.raises(grpc.RpcError) as refused:
            send(request, timeout=TIMEOUT_S)
        assert isinstance(refused.value, grpc.Call)
        said = refused.value.details() or ""
        code = "request_malformed" if request in wrong[:2] else "invalid"
        assert said.startswith(f"{code}: ")
