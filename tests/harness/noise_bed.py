"""Two honest stations at work, in quiet, under all noise at once, in quiet again; what came of it, as JSON.

    python -m harness.noise_bed JSON       # with the folder `tests` on PYTHONPATH

    {"directory": …, "quiet_s": 120, "noise_s": 120, "idle": 20000, "listen": "127.0.0.1:0"}

In a network namespace of its own it measures what firewall rules do. Noise is made by processes that keep
to half a core together (`harness.noise`). signerd's log is a pipe whose reader stalls for the middle third.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psutil
from cryptography.hazmat.primitives.serialization import Encoding

from harness.edge import key_pem
from harness.hostile_line import HostileLine, Station, code_of
from harness.installation import Installation, Peer
from harness.paper_board import PaperBoard
from harness.process import COMMANDS, ProgramError, or_ended, wait_until
from signerd.adapters.descriptors import A_KEY_HOLDER, RESERVE
from signerd.adapters.device_ca import create_root

PACE_S = 0.3  # a board of each station
BACK_S = 30.0  # within which a station that reconnects gets in
ATTACKS = 10
ROOM = 1000  # connections beyond the idle ones, where the machine allows them
# Of one core, together a half.
SHARES = {"idle": 0.16, "handshakes": 0.06, "empty": 0.06, "calls": 0.06}
IDLE_PROCESSES = 2


@dataclass(slots=True)
class Work:
    """What a station's boards took, and what went wrong."""

    boards: list[float] = field(default_factory=list)
    connecting: list[float] = field(default_factory=list)  # before each board, where it connects anew
    problems: list[str] = field(default_factory=list)

    def add(self, more: Work) -> None:
        """The same station's, at another time."""
        self.boards += more.boards
        self.connecting += more.connecting
        self.problems += more.problems

    def report(self) -> dict[str, Any]:
        """For the outcome."""
        return {
            "boards": _times(self.boards),
            "with_connecting": _times([a + b for a, b in zip(self.connecting, self.boards, strict=True)]),
            "problems": self.problems[:10],
        }


def _times(seconds: list[float]) -> dict[str, float]:
    return {
        "count": len(seconds),
        "p50_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * statistics.quantiles(seconds, n=100)[98], 1),
        "worst_ms": round(1000 * max(seconds), 1),
    }


class LogReader:
    """Reads a pipe, and counts; stalls when it is told to."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self._descriptor = os.open(pipe, os.O_RDWR)  # both ends: opening waits for nobody
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.read = bytearray()
        threading.Thread(target=self._always, daemon=True).start()

    def _always(self) -> None:
        while True:
            self.goes_on.wait()
            self.read += os.read(self._descriptor, 65_536)


class Bed(HostileLine):
    """The installation, with room for so many connections as the machine allows."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self._settings = settings
        self.log = LogReader(directory / "log.pipe")
        shell = f'ulimit -n $(ulimit -Hn) && exec "$0" "$@" 2>{directory / "log.pipe"}'
        command = ("/bin/sh", "-c", shell, COMMANDS / "signerd")
        installation = Installation(directory / "installation", signerd=command)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.connections = min(settings["idle"] + ROOM, hard - RESERVE - A_KEY_HOLDER)
        text = installation.config.read_text("utf-8").replace('"127.0.0.1:0"', f'"{settings["listen"]}"')
        installation.config.write_text(f"{text}\n[limits]\nconnections = {self.connections}\n", "utf-8")
        with or_ended(installation.close):
            try:
                super().__init__(installation)
            except ProgramError as error:  # its log is here, and not where it is looked for
                raise ProgramError(f"{error}\n{self.log.read[-2_000:].decode(errors='replace')}") from error
        boards = int(4 * (settings["quiet_s"] + settings["noise_s"]) / PACE_S)
        self._chips = iter(installation.personalize([f"noise:{n}" for n in range(boards)]).items())
        self.order = self.open_order(quantity=boards)
        self._turn = threading.Lock()

    def next_board(self) -> PaperBoard:
        """For any of the threads."""
        with self._turn:
            return self.board()

    def work(self, seconds: float, *, reconnects: bool) -> Work:
        """Boards of one station at an even pace, the first one not counted."""
        work, until = Work(), time.monotonic() + seconds
        station = self.pc2 if reconnects else self.pc1
        station.certify(self.order, self.next_board())
        while (began := time.monotonic()) < until:
            board = self.next_board()
            try:
                if reconnects:
                    station = self._reconnected()
                connected = time.monotonic()
                session, signed = station.certify(self.order, board)
                station.stamp(board, session, signed)
            except Exception as error:  # noqa: BLE001 -- what went wrong is the result
                work.problems.append(repr(error)[:300])
            else:
                work.connecting.append(connected - began)
                work.boards.append(time.monotonic() - connected)
            time.sleep(max(0.0, PACE_S - (time.monotonic() - began)))
        return work

    def _reconnected(self) -> Station:
        """On a new connection. signerd closes it where it has no free place; gRPC then tries again."""
        station = self.pc2 = self.pc2.reopened(self.installation.target)
        grpc.channel_ready_future(station.channel).result(timeout=BACK_S)
        return station

    def both(self, seconds: float) -> dict[str, Work]:
        """The station that stays, and the one that connects anew for each board."""
        done: dict[str, Work] = {}

        def run(name: str, reconnects: bool) -> None:
            done[name] = self.work(seconds, reconnects=reconnects)

        threads = [
            threading.Thread(target=run, args=("stays", False)),
            threading.Thread(target=run, args=("reconnects", True)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done

    def mallory(self) -> tuple[dict[str, str], dict[str, str], Station]:
        """A station that was revoked and enrolled anew: files of the old key and the new one; the new one."""
        installation = self.installation
        old = _kept(installation.add_station("plant1", "mallory"), installation.directory / "old")
        (installation.directory / "station-plant1-mallory").rename(installation.directory / "old" / "station")
        (installation.directory / "station-plant1-mallory.pem").unlink()
        installation.admin("station", "revoke", "birthmark://dev/station/plant1/mallory")
        peer = installation.add_station("plant1", "mallory")
        return old, _kept(peer, installation.directory / "new"), Station.enrolled(peer, installation.target)

    def attack(self, station: Station, order: str) -> list[tuple[str, str]]:
        """Ten boards whose evidence is not theirs; chip id and digest of the CSR of each."""
        planted: list[tuple[str, str]] = []
        for _ in range(ATTACKS):
            board, other = self.next_board(), self.next_board()
            wait_until(
                partial(self._attacked, station, order, board, other, planted),
                "an attack's refusal",
                timeout_s=60,
            )
        return planted

    def _attacked(
        self,
        station: Station,
        order: str,
        board: PaperBoard,
        other: PaperBoard,
        planted: list[tuple[str, str]],
    ) -> bool:
        """One attack, noted if it came as far as the evidence; the empty calls use up the station's rate."""
        csr = board.csr()

        def attempt() -> object:
            session = station.open(order, board.chip_id)
            return station.sign(session, csr, other.evidence_for(session.challenge, csr))

        if code_of(attempt) != "evidence_rejected":
            return False
        planted.append((board.chip_id, hashlib.sha256(csr).hexdigest()))
        return True


def _kept(peer: Peer, directory: Path) -> dict[str, str]:
    directory.mkdir()
    for name, file in (
        ("root", peer.operations_ca_file),
        ("key", peer.key_file),
        ("cert", peer.certificate_file),
    ):
        shutil.copy(file, directory / name)
    return {name: str(directory / name) for name in ("root", "key", "cert")}


class Generators:
    """The noise."""

    def __init__(
        self, directory: Path, target: str, idle: int, old: dict[str, str], new: dict[str, str]
    ) -> None:
        stranger = directory / "stranger.pem"
        certificate, key = create_root("stranger", datetime.now(UTC).replace(microsecond=0))
        stranger.write_bytes(certificate.public_bytes(Encoding.PEM) + key_pem(key))
        self._processes: list[tuple[str, psutil.Popen]] = []
        self._used: dict[int, float] = {}
        for number in range(IDLE_PROCESSES):
            count, share = idle // IDLE_PROCESSES, SHARES["idle"]
            self._start("idle", target, share=share, count=count, first=100 * number)
        self._start("handshakes", target, share=SHARES["handshakes"], certificate=str(stranger))
        self._start("empty", target, share=SHARES["empty"], **new)
        self._start("calls", target, share=SHARES["calls"], **old)
        self._began = time.monotonic()

    def _start(self, kind: str, target: str, **settings: Any) -> None:
        asked = json.dumps({"target": target, **settings})
        process = psutil.Popen(
            [sys.executable, "-m", "harness.noise", kind, asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append((kind, process))

    def marked(self) -> None:
        """Their share of the processor counts from here."""
        self._began = time.monotonic()
        self._used = {process.pid: sum(process.cpu_times()[:2]) for _, process in self._processes}

    def share(self) -> float:
        """Of one core, since `marked`."""
        used = sum(sum(process.cpu_times()[:2]) - self._used[process.pid] for _, process in self._processes)
        return used / (time.monotonic() - self._began)

    def end(self) -> list[dict[str, Any]]:
        """What each did."""
        for _, process in self._processes:
            process.stdin.close()
        return [{"kind": kind, **json.loads(process.stdout.readline())} for kind, process in self._processes]

    def kill(self) -> None:
        """Whatever is left of them."""
        for _, process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def sampled(signerd: psutil.Process, until: threading.Event, samples: list[tuple[float, int, int]]) -> None:
    """Seconds, descriptors and resident bytes, every two seconds."""
    began = time.monotonic()
    while not until.wait(2.0):
        samples.append((time.monotonic() - began, signerd.num_fds(), signerd.memory_info().rss))


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """The whole."""
    directory = Path(settings["directory"])
    with ExitStack() as ending:
        bed = Bed(directory, settings)
        ending.enter_context(bed.installation)
        ending.callback(bed.close)
        old, new, mallory = bed.mallory()
        order = bed.open_order(stations=(mallory.uri,), quantity=ATTACKS)
        signerd = psutil.Process(bed.installation.process.pid)
        # Half of the quiet before, half after: a machine gets faster and slower by itself.
        quiet = bed.both(settings["quiet_s"] / 2)
        own = signerd.num_fds()
        logged = len(bed.log.read)
        generators = Generators(directory, bed.installation.target, settings["idle"], old, new)
        ending.callback(generators.kill)
        samples: list[tuple[float, int, int]] = []
        over = threading.Event()
        sampling = threading.Thread(target=sampled, args=(signerd, over, samples))
        sampling.start()
        generators.marked()
        cpu = sum(signerd.cpu_times()[:2])
        stalls = _stalls(bed.log, settings["noise_s"])
        planted: list[tuple[str, str]] = []
        attacks = threading.Thread(target=lambda: planted.extend(bed.attack(mallory, order)))
        attacks.start()
        began = time.monotonic()
        noisy = bed.both(settings["noise_s"])
        took = time.monotonic() - began
        cpu = (sum(signerd.cpu_times()[:2]) - cpu) / took
        attacks.join()
        share = generators.share()
        did = generators.end()
        over.set()
        sampling.join()
        stalls.join()
        named = _named(bed, planted)
        logged_in_all = len(bed.log.read)
        wait_until(lambda: signerd.num_fds() < own + 100, "the end of the noise's connections")
        for name, work in bed.both(settings["quiet_s"] / 2).items():
            quiet[name].add(work)
        wait_until(lambda: len(bed.log.read) > logged, "lines of the log")
        return {
            "quiet": {name: work.report() for name, work in quiet.items()},
            "noisy": {name: work.report() for name, work in noisy.items()},
            "places": bed.connections,
            "sockets_most": max(fds for _, fds, _ in samples) - own,
            "sockets_median": statistics.median(fds for _, fds, _ in samples) - own,
            "samples": [(round(at), fds - own, rss >> 20) for at, fds, rss in samples],
            "generators_share": round(share, 3),
            "generators": did,
            "signerd_cores": round(cpu, 2),
            "log_bytes_a_minute": round((logged_in_all - logged) * 60 / took),
            "log_lines_dropped": bed.log.read.count(b"log_lines_dropped"),
            "attacks": len(planted),
            "attacks_named": named,
        }


def _stalls(log: LogReader, seconds: float) -> threading.Thread:
    def stall() -> None:
        time.sleep(seconds / 3)
        log.goes_on.clear()
        time.sleep(seconds / 3)
        log.goes_on.set()

    thread = threading.Thread(target=stall)
    thread.start()
    return thread


def _named(bed: Bed, planted: Sequence[tuple[str, str]]) -> int:
    """How many of the planted attacks the ledger names, with chip and CSR."""

    def found() -> set[tuple[str, str]]:
        return {
            (entry["chip_id"], entry["csr_sha256"])
            for entry in bed.entries()
            if entry["type"] == "refused" and entry["code"] == "evidence_rejected"
        }

    deadline = time.monotonic() + 30
    while not set(planted) <= found() and time.monotonic() < deadline:
        time.sleep(1)
    return len(set(planted) & found())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))) + "\n")
