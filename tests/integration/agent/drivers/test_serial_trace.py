"""`--trace`: what was said on a port, field by field, and nothing of what is secret."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from smp import packet
from smp.header import OP

from agent.adapters.drivers import smp_messages as messages
from agent.adapters.drivers.smp import SmpDriver
from agent.adapters.log.rotating import RotatingFile
from agent.adapters.log.trace import SerialTrace, tracing
from boards.faults import ALWAYS, Fault, Kind
from boards.pty_line import PtyBoard

PASSWORD = "correct horse battery"
SETTINGS = cbor2.dumps({"wifi": {"password": PASSWORD}}, canonical=True)


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def the_trace(path: Path, notices: list[str]) -> SerialTrace:
    return SerialTrace(RotatingFile(path, file_bytes=1 << 20, files=2), notices.append)


@pytest.mark.parametrize(
    "faults",
    [[], [Fault(Kind.NOISE, ALWAYS)], [Fault(Kind.BAD_CRC, 2, "pop")], [Fault(Kind.CUT_ANSWER, 2, "pop")]],
    ids=["plain", "noise", "an answer with a wrong CRC", "an answer that is cut"],
)
async def test_the_dialogue_without_its_secrets(
    make_board: Callable[..., PtyBoard], tmp_path: Path, faults: list[Fault]
) -> None:
    pty = make_board(*faults, pop=True)
    path, notices = tmp_path / "trace.log", list[str]()
    with tracing(the_trace(path, notices)):
        async with SmpDriver(pty.port, {"timeout_s": 0.3}) as driver:
            await driver.identify()
            await driver.configure(SETTINGS)
            code = await driver.pop()
    text = path.read_text(encoding="ascii")
    pop, salt = pty.board.pop() or ("", b"")
    frame = base64.b64encode(pop.encode()).decode().rstrip("=")
    for secret in (PASSWORD, PASSWORD.encode().hex(), pop, pop.encode().hex(), salt.hex(), frame):
        assert secret
        assert secret not in text
    assert code.code == pop
    said = [(line["way"], line.get("command")) for line in read(path) if line["kind"] == "message"]
    assert said[:2] == [(">", "hello"), ("<", "hello")]
    assert said[-1] == ("<", "pop")
    hello = next(line["body"] for line in read(path) if line.get("command") == "hello" and line["way"] == "<")
    assert isinstance(hello, dict)
    assert hello["chip"] == "CHIP-000001"
    assert read(path)[0]["kind"] == "opened"
    assert read(path)[-1]["kind"] == "closed"
    assert notices == []


def test_hostile_bytes_are_escaped_and_what_may_be_a_message_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    trace = the_trace(path, [])
    trace.received(b"boot \x1b[31m\xff\x00 done\r\n" + b"QUJD" * 20 + b"\n" + b"\x06\x09AAAA\n" + b"x" * 5000)
    trace.closed()
    assert path.read_bytes().isascii()
    texts = [line["text"] for line in read(path) if line["kind"] == "text"]
    assert texts[0] == "boot \x1b[31m\\xff\x00 done"
    assert texts[1] == "(80 characters)"
    assert all("AAAA" not in str(text) for text in texts)


def test_a_console_that_echoes_the_code_later_does_not_show_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    trace = the_trace(path, [])

    def frame(operation: OP, command: int, body: dict[str, object]) -> bytes:
        return b"".join(packet.encode(messages.encode_request(operation, command, 1, body), 128))

    trace.sent(frame(OP.READ, messages.POP, {}))
    trace.received(b"echo of abc123\n")
    trace.received(frame(OP.READ_RSP, messages.POP, {"pop": "abc123", "salt": bytes(16)}))
    trace.sent(frame(OP.READ, messages.HELLO, {}))
    trace.received(b"my code is abc123\n")
    text = path.read_text(encoding="ascii")
    assert "abc123" not in text
    assert "my code is (the code)" in text


def test_what_esptool_is_asked_and_answers_without_contents_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    trace = the_trace(path, [])
    secret = b"hunter22".hex()
    for _ in range(50):  # a port that waits is looked at again and again
        trace.asked("alive", {})
        trace.answered({"mac": "aa:bb"}, 0.01)
    pieces = [{"offset": 0, "data": secret}, {"offset": 4096, "path": "/b/app.bin", "start": 0, "end": 9}]
    trace.asked("write", {"mac": "aa:bb", "pieces": pieces})
    trace.answered({"bytes": 17}, 1.25)
    trace.asked("read", {"offset": 0, "size": 8})
    trace.answered({"data": secret, "mac": ["x" * 9000] * 9000, "\x1b[2J": secret}, 0.5)
    trace.asked("read", {"offset": 0, "size": 8})
    trace.answered({"error": "no_answer", "detail": "no chip"}, 3.0)
    text = path.read_text(encoding="ascii")
    assert secret not in text
    assert max(map(len, text.splitlines())) < 60_000
    said = [(line["way"], line["command"]) for line in read(path)]
    assert said == [(way, name) for name in ("alive", "write", "read", "read") for way in "><"]
    _, _, written, _, _, answer, _, failed = read(path)
    assert written["body"] == {
        "mac": "aa:bb",
        "pieces": [{"offset": 0, "data": "(16 bytes, not shown)"}, pieces[1]],
    }
    assert isinstance(answer["body"], dict)
    assert answer["body"]["data"] == "(16 bytes, not shown)"
    assert (failed["seconds"], failed["body"]) == (3.0, {"error": "no_answer", "detail": "no chip"})
