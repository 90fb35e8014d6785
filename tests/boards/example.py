"""The worked example of docs/board-protocol.md: `PYTHONPATH=tests python -m boards.example` prints it.

A test compares the page with it, so that the page stays true.
"""

from __future__ import annotations

import hashlib

import cbor2
from smp import packet
from smp.header import OP, Flag, Header, Version

from boards import formats
from boards.faults import COMMANDS
from boards.simulated_board import BoardModel, SimulatedBoard
from boards.smp_server import GROUP, LINE_LENGTH

CHIP_ID = "CHIP-000001"
SECRET = bytes(range(32))
CHALLENGE = bytes(range(0x80, 0xA0))
CSR = b"CSR"  # stands for the DER bytes
CERTIFICATE = b"certificate"  # stands for the DER bytes
SETTINGS = cbor2.dumps({"serial": "BM-000001"}, canonical=True)
FIRMWARE = {"app": ("1.2.0", bytes.fromhex("aa" * 32))}
SEQUENCE = 1


def _message(operation: OP, payload: bytes) -> bytes:
    command = COMMANDS.index("hello")
    header = Header(operation, Version.V2, Flag.UNUSED, len(payload), GROUP, SEQUENCE, command)
    return header.BYTES + payload


def _wrap(data: bytes) -> list[str]:
    text = data.hex()
    return [text[at : at + 96] for at in range(0, len(text), 96)]


def _show(title: str, data: bytes) -> list[str]:
    return [f"{title} ({len(data)} bytes)", *("  " + line for line in _wrap(data)), ""]


def _show_wire(title: str, message: bytes) -> list[str]:
    lines = list(packet.encode(message, LINE_LENGTH))
    shown = []
    for line in lines:
        start, text = line[:2].hex(" "), line[2:-1].decode()
        shown += [f"  {start}  {text[:62]}", *([f"         {text[62:]}"] if text[62:] else []), "  0a"]
    return [f"{title} ({sum(map(len, lines))} bytes, {len(lines)} lines)", *shown, ""]


def example() -> str:
    """The text between the page's markers."""
    model = BoardModel(CHIP_ID, SECRET, firmware=FIRMWARE, key_types=("p256",))
    locks = SimulatedBoard(model).security_state
    hello = SimulatedBoard(model).handle(write=False, command="hello", body={})
    question = _message(OP.READ, cbor2.dumps({}))
    answer = _message(OP.READ_RSP, cbor2.dumps(hello))
    transcript = formats.transcript(CHALLENGE, CHIP_ID, CSR, FIRMWARE, locks)
    stamp = formats.StampFields(
        challenge=CHALLENGE,
        chip_id=CHIP_ID,
        serial_number="BM-000001",
        certificate_digest=hashlib.sha256(CERTIFICATE).digest(),
        settings_digest=hashlib.sha256(SETTINGS).digest(),
        firmware=FIRMWARE,
        security_state={**locks, "debug_closed": True},
        pop_commitment=None,
    ).encode()
    lines = [
        *_show("hello, the station's SMP message", question),
        *_show_wire("the same on the line", question),
        *_show("hello, the board's SMP message", answer),
        *_show_wire("the same on the line", answer),
        *_show("claims", formats.claims(FIRMWARE, locks)),
        *_show("transcript", transcript),
        *_show("evidence: HMAC-SHA-256 of the transcript", formats.evidence(SECRET, transcript)),
        *_show("stamp, sealed, before it is signed", stamp),
    ]
    return "```text\n" + "\n".join(lines).rstrip() + "\n```\n"


if __name__ == "__main__":
    print(example(), end="")
