"""A token that takes long for each signature: how busy it is kept, and how long stations wait.

    32 stations at 100 ms       each with one board at a time, one after the other
    16 boards at 1.5 s and 5 s  at once, on one station, with the agent's own client and patience

The token is SoftHSM behind `tests/tokens/shim`. Certificates and checkpoints are delayed. The MAC of evidence
is not: it is no signature.

The queue's arithmetic: each station asks again when it has its answer, so that N of them share the token, and
a fair queue gives each one signature in N. It waits N times a signature, 3.2 s: the mean by Little's law, and
the 99th percentile where all wait alike. That leaves nothing for checkpoints, which this token signs too.
With one for each half of the stations it is 34 signatures, 3.4 s.

Left out of both figures: each station's first board, during which 32 lines are made and the queue finds out
how slow the token is; and of the token's work the last round, in which stations that are done leave it idle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from agent.adapters.signer.client import GrpcSigner
from agent.ports import BoardRequest
from agent.steps import Bounds, await_signer
from agent.wiring import SystemClock
from harness.installation import SENSOR, Installation, Peer, order_toml
from harness.paper_board import PaperBoard
from harness.shim import Call, Shim
from signerd.config import load

SIGNATURES = ("C_Sign-1041", "C_Sign-1057")  # CKM_ECDSA, CKM_EDDSA
STATIONS = 32
BOARDS_A_STATION = 8
STATION_MS = 100
AT_ONCE = 16
AT_ONCE_MS = (1500, 5000)


def run_slow_token(folder: Path) -> dict[str, Any]:
    """Both measurements, with an installation of their own."""
    with Installation(folder) as installation:
        shim = Shim.build(installation.directory / "shim", before=load(installation.config).hsm.module)
        shim.before_token_of(installation)
        installation.start_signerd()
        installation.add_product(SENSOR)
        peers = [installation.add_station("plant1", f"pc{number}") for number in range(STATIONS)]
        stations = _line(installation, shim, peers)
        return {
            "stations": stations,
            "at_once": [_at_once(installation, shim, peers[0], ms) for ms in AT_ONCE_MS],
        }


def _boards(installation: Installation, name: str, count: int, stations: Sequence[Peer]) -> list[PaperBoard]:
    chips = [f"{name}-{number}" for number in range(count)]
    keys = installation.personalize(chips)
    uris = [station.uri for station in stations]
    pattern = f"{name}-{{number:06d}}"
    installation.open_order(order_toml(f"WO-{name}", quantity=count, stations=uris, serial_pattern=pattern))
    return [PaperBoard(chip, keys[chip]) for chip in chips]


async def _certify(signer: GrpcSigner, order: str, board: PaperBoard) -> float:
    """As the agent does it; seconds that the certificate took, its waits and retries included."""
    clock, wait_s = SystemClock(), Bounds().signer_wait_s

    def on_wait(_detail: str) -> None:
        """A table would show it."""

    session = await await_signer(
        lambda: signer.open_session(order, board.chip_id), wait_s=wait_s, clock=clock, on_wait=on_wait
    )
    csr = board.csr()
    evidence = board.evidence_for(session.challenge, csr)
    request = BoardRequest(csr, evidence.method, evidence.claims, evidence.evidence)
    begun = time.monotonic()
    await await_signer(
        lambda: signer.sign_csr(session.session, request), wait_s=wait_s, clock=clock, on_wait=on_wait
    )
    return time.monotonic() - begun


async def _on_stations(
    installation: Installation, peers: Sequence[Peer], order: str, boards: Sequence[Sequence[PaperBoard]]
) -> list[list[float]]:
    """Each peer makes its boards, one after the other; what each certificate took, by peers."""
    async with AsyncExitStack() as stack:

        async def work(peer: Peer, own: Sequence[PaperBoard]) -> list[float]:
            signer = await stack.enter_async_context(_signer(installation, peer))
            return [await _certify(signer, order, board) for board in own]

        return await asyncio.gather(*(work(*each) for each in zip(peers, boards, strict=True)))


def _signer(installation: Installation, peer: Peer) -> GrpcSigner:
    return GrpcSigner(
        installation.target,
        operations_ca=peer.operations_ca_file.read_bytes(),
        certificate=peer.certificate_file.read_bytes(),
        key=peer.key_file.read_bytes(),
        deadline_s=10.0,  # the agent's default
        version="",
    )


def _delayed(shim: Shim, ms: int) -> None:
    for name in SIGNATURES:
        shim.rule(name, "delay", ms)


def _signatures(shim: Shim, ms: int, since: int) -> list[Call]:
    """The slow ones among the calls since then, that have ended."""
    calls = shim.calls("C_Sign")[since:]
    return [call for call in calls if call.end_s is not None and call.end_s - call.begin_s >= ms / 1000]


def _line(installation: Installation, shim: Shim, peers: Sequence[Peer]) -> dict[str, Any]:
    boards = _boards(installation, "slow", STATIONS * BOARDS_A_STATION, peers)
    own = [boards[number::STATIONS] for number in range(STATIONS)]
    _delayed(shim, STATION_MS)
    since = len(shim.calls("C_Sign"))
    by_station = asyncio.run(_on_stations(installation, peers, "WO-slow", own))
    took = sorted(seconds for each in by_station for seconds in each[1:])
    calls = _signatures(shim, STATION_MS, since)
    signatures_a_board = len(calls) / len(boards)
    calls = calls[STATIONS:-STATIONS]
    ends = [call.end_s or 0.0 for call in calls]
    busy_s = sum(end - call.begin_s for call, end in zip(calls, ends, strict=True))
    return {
        "busy": round(busy_s / (ends[-1] - calls[0].begin_s), 4),
        "signatures_a_board": round(signatures_a_board, 3),
        "p50_s": round(took[len(took) // 2], 3),
        "p99_s": round(took[len(took) * 99 // 100], 3),
        "arithmetic_s": STATIONS * STATION_MS / 1000,
    }


def _at_once(installation: Installation, shim: Shim, station: Peer, ms: int) -> dict[str, Any]:
    name = f"once{ms}"
    boards = _boards(installation, name, AT_ONCE, [station])
    _delayed(shim, ms)
    logins = len(shim.calls("C_Login"))
    begun = time.monotonic()
    asyncio.run(_on_stations(installation, [station] * AT_ONCE, f"WO-{name}", [[board] for board in boards]))
    _delayed(shim, 0)
    return {
        "sign_ms": ms,
        "boards": AT_ONCE,
        "seconds": round(time.monotonic() - begun, 1),
        "key_holders_killed": len(shim.calls("C_Login")) - logins,
    }
