"""`birthmark-auditor witness` as a process, and a log of paper that it follows."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

from birthmark.proof import Checkpoint, cosignatures, parse_vkey
from birthmark.proof.checkpoint import checkpoint_text
from harness.process import COMMANDS, Program, wait_until
from harness.store_world import SoftwareLogKey
from signerd.core.cosigning import request_body
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.note import sign_note

NAME = "witness.example/w1"
AUDITOR = COMMANDS / "birthmark-auditor"


class Log:
    """A log of paper."""

    def __init__(self, seed: bytes = b"log") -> None:
        self.key = SoftwareLogKey(seed, origin="example.com/line")
        self.tree = Tree()

    def grow(self, count: int = 1, mark: bytes = b"") -> None:
        for _ in range(count):
            self.tree.append(leaf_hash(mark + self.tree.size.to_bytes(4)))

    def note(self) -> bytes:
        text = checkpoint_text(self.key.verifier.name, self.tree.size, self.tree.root()).encode()
        return sign_note(text, (self.key.verifier, self.key._key.sign(text)))

    def body(self, old: int) -> bytes:
        proof = self.tree.consistency(old, self.tree.size) if 0 < old < self.tree.size else []
        return request_body(old, proof, self.note())


class Witness:
    """One, run as a process; `start` again after `end`."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder, self.log = folder / "witness", log
        self._logs = folder / "out"
        said = command("init", "--name", NAME, "--dir", self.folder, "--json")
        self.vkey = parse_vkey(json.loads(said)["vkey"])
        vkey = folder / "log.vkey"
        vkey.write_text(log.key.verifier.text() + "\n", encoding="ascii")
        command("add-log", vkey, "--dir", self.folder)
        self.start()

    def start(self, *options: str) -> None:
        self._logs.with_suffix(".out").unlink(missing_ok=True)
        line: list[str | Path] = [AUDITOR, "witness", "run", "--dir", self.folder]
        line += ["--listen", "127.0.0.1:0", *options]
        self.process = Program(line, log=self._logs)
        wait_until(lambda: bool(self.events()), "the witness to serve", program=self.process)
        self.port = int(self.events()[0]["port"])

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.process.output().splitlines()]

    def post(self, body: bytes) -> tuple[int, str, bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request("POST", "/add-checkpoint", body)
            answer = line.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()
        finally:
            line.close()

    def cosigns(self, old: int) -> int:
        """It cosigns the log as it is; the time that it says."""
        note = self.log.note()
        status, _, line = self.post(self.log.body(old))
        assert status == 200, line
        size, root = self.log.tree.size, self.log.tree.root()
        (found,) = cosignatures(Checkpoint(self.log.key.verifier.name, size, root, note + line), [self.vkey])
        return found.time

    def cosigns_the_next(self) -> None:
        """It is whole: what comes next is cosigned."""
        size = self.log.tree.size
        self.log.grow()
        self.cosigns(size)

    def size(self) -> int:
        said = json.loads(command("show", "--dir", self.folder, "--json"))
        return int(said["logs"][self.log.key.verifier.name])


def command(*arguments: str | Path, expect: int = 0) -> str:
    done = subprocess.run(
        [AUDITOR, "witness", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr
