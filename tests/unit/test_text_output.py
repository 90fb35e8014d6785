"""What the three programs print never fails by its encoding."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

import agent.adapters.cli.text_output
import auditor.cli.text_output
import signerd.adapters.cli.text_output

PROGRAMS = (agent.adapters.cli.text_output, auditor.cli.text_output, signerd.adapters.cli.text_output)
PAGES = ["ascii", "cp1252", "cp437", "cp932", "utf-8"]
TEXT = "→ Prüfling 板 €\udcff"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("never_fail", [program.never_fail for program in PROGRAMS])
def test_every_text_is_printed(
    never_fail: Callable[[], None], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=page) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    never_fail()
    for stream in streams.values():
        stream.write(TEXT)
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue() == TEXT.encode(page, "backslashreplace")


@pytest.mark.parametrize("page", PAGES)
def test_what_machines_read_is_utf8(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=page)
    monkeypatch.setattr(sys, "stdout", stream)
    agent.adapters.cli.text_output.machine_readable()
    stream.write("板\r\n→\n")
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue() == "板\r\n→\n".encode()
