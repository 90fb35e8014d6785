"""The lines of a PEM file: what gRPC's reader takes is taken, and what it silently refuses is named."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest

from agent.core.pem_text import PemError, check_lines

BODY = base64.b64encode(bytes(range(96))).decode()
PEM = f"-----BEGIN CERTIFICATE-----\n{BODY[:64]}\n{BODY[64:]}\n-----END CERTIFICATE-----\n"
ALONE = "must stand alone on its line"

GOOD: dict[str, str] = {
    "one": PEM,
    "two": PEM + PEM,
    "two kinds": PEM + PEM.replace("CERTIFICATE", "PRIVATE KEY"),
    "CR LF": PEM.replace("\n", "\r\n"),
    "text around": f"Issuer: Büro\n\n{PEM}\nBag Attributes\n    localKeyID: 01\n{PEM}the end",
    "blanks at ends": PEM.replace("\n", " \t\n"),
    "no line break at the end": PEM.rstrip(),
    "one long line": PEM.replace(f"{BODY[:64]}\n", BODY[:64]),
    "no PEM": "garbage",  # its parser's to say
    "nothing": "",
}
WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "blank before": (lambda pem: f" {pem}", f"line 1: a -----BEGIN or -----END {ALONE}"),
    "mark before": (lambda pem: f"\N{ZERO WIDTH NO-BREAK SPACE}{pem}", f"line 1: a .* {ALONE}"),
    "quoted in a mail": (lambda pem: pem.replace("-----B", "> -----B"), f"line 1: a .* {ALONE}"),
    "joined": (lambda pem: pem.rstrip() + pem, f"line 4: a .* {ALONE}"),
    "CR alone": (lambda pem: pem.replace("\n", "\r"), f"line 1: a .* {ALONE}"),
    "a dash too many": (lambda pem: f"{pem.rstrip()}-\n", f"line 4: a .* {ALONE}"),
    "header": (
        lambda pem: pem.replace(BODY[64:], "X-Mail: y"),
        "line 3 has something else in it than base64",
    ),
    "cut": (lambda pem: pem[: pem.index("-----END")], "the file ends before -----END"),
    "begun twice": (lambda pem: pem.partition("-----END")[0] + pem, "line 4: a second -----BEGIN"),
    "another end": (lambda pem: pem.replace("END CERT", "END X CERT"), "line 4: this -----END has no"),
    "ended twice": (lambda pem: f"{pem}-----END CERTIFICATE-----", "line 5: this -----END has no"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_every_reader_takes(name: str) -> None:
    check_lines(GOOD[name].encode())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_line_is_named(name: str) -> None:
    makes_wrong, said = WRONG[name]
    with pytest.raises(PemError, match=said):
        check_lines(makes_wrong(PEM).encode())


def test_bytes_of_any_kind_are_refused_in_one_way_or_none() -> None:
    for position in range(len(PEM)):
        for other in (b"\0", b"\xff", b"-", b"\n", b""):
            data = PEM[:position].encode() + other + PEM[position + 1 :].encode()
            try:
                check_lines(data)
            except PemError as error:
                assert re.match(r"line \d+", str(error))  # noqa: PT017 -- it may be refused or not
