"""A factory whose keys a key holder's service has, and whose orders administrators sign.

    with HeldFactory(directory) as factory:
        factory.open("WO-1", quantity=4)
        line = Line(factory.service_socket, factory.issuer)         # what whoever has signerd's user can do

Made as docs/key-holder.md says: an installation, administrators, `signerd key-holder take-over`.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.factory import Factory, Run
from harness.installation import DEPLOYMENT, order_toml
from harness.process import Program, or_ended, run, wait_until
from harness.ssh_signing import SshSigner
from signerd.adapters.keyholder.protocol import SERVICE_FORM, Operation, Outcome
from signerd.core.approval.administrators import namespace_of

NOT_APPROVED = 5
ADMINISTRATORS = ("ann", "bob", "carol")
_LENGTH = struct.Struct(">I")


class HeldFactory(Factory):
    """Two of three administrators approve. `WORK_ORDER` was opened before, and counts as approved."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.signers = {name: SshSigner.ed25519() for name in ADMINISTRATORS}
        self.settings = directory / "key-holder" / "keyholder.toml"
        self.notes = directory / "notes" / "notes.sqlite"
        self.service_socket = directory / "s"
        with or_ended(self.installation.close):
            self._hand_over()

    def _hand_over(self) -> None:
        """The keys go to the service."""
        home, config = self.installation.home, self.installation.config
        lines = (f"{name} {signer.public_text}\n" for name, signer in self.signers.items())
        (home / "administrators").write_text("".join(lines))
        asked = '\n[approvals]\nthreshold = 2\nadministrators = "administrators"\n'
        config.write_text(config.read_text("utf-8") + asked, "utf-8")
        self.installation.process.stop()
        self.take_over()
        self.start_service()
        self.installation.start_signerd()

    def take_over(self, *options: str | Path, expect: int = 0) -> str:
        """`signerd key-holder take-over`."""
        where = ("--to", self.settings, "--state", self.notes.parent, "--socket", self.service_socket)
        return self.installation.admin(
            "key-holder", "take-over", *where, "--client", "root", *options, expect=expect
        )

    def start_service(self, *dying: str | Path) -> Program:
        """Returns when it serves. `dying` is the command of one that dies, if not that of all commands."""
        command = [*(dying or (self.installation.commands / "signerd",)), "key-holder", "run"]
        tests = {"PYTHONPATH": str(Path(__file__).parents[1])} if dying else None
        self.service = self.installation.start([*command, "-c", self.settings], "key-holder", tests)
        said = len(self.service.output())
        wait_until(lambda: "serves" in self.service.output()[said:], "the service", program=self.service)
        return self.service

    def restart(self) -> None:
        """Both, the service first."""
        self.installation.process.stop()
        self.service.stop()
        self.start_service()
        self.installation.start_signerd()

    def status(self) -> Any:
        """`signerd key-holder status --json`."""
        command: list[str | Path] = [self.installation.commands / "signerd"]
        return json.loads(run([*command, "key-holder", "status", "-c", self.settings, "--json"]))

    @property
    def issuer(self) -> bytes:
        """SHA-256 of the sub-CA's certificate."""
        chain = (self.installation.home / "ca" / "sub-ca.pem").read_bytes()
        certificate = x509.load_pem_x509_certificates(chain)[0]
        return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()

    def prepared(self, *command: str | Path) -> Path:
        """What administrators are to sign."""
        said = json.loads(self.installation.admin(*command, "--json", expect=NOT_APPROVED))
        return Path(said["request"])

    def approved(self, *command: str | Path, by: Sequence[str] = ("ann", "bob"), expect: int = 0) -> str:
        """A command that administrators sign."""
        request = self.installation.directory / f"request-{len(list(self.installation.directory.iterdir()))}"
        self.installation.admin(*command, "--request", request, expect=NOT_APPROVED)
        text = request.read_bytes()
        given: list[str | Path] = []
        for name in by:
            file = request.with_name(f"{request.name}.{name}.sig")
            file.write_bytes(self.signers[name].sign(text, namespace_of(DEPLOYMENT)))
            given += ["--signature", file]
        return self.installation.admin(*command, "--approval", request, *given, expect=expect)

    def order(self, work_order: str, *, quantity: int, **terms: Any) -> Path:
        """A file of an order of the sensor."""
        named = {"serial_pattern": f"{work_order}-{{number:04d}}", "stations": [self.station.uri], **terms}
        path = self.installation.directory / f"{work_order}.toml"
        path.write_text(order_toml(work_order, quantity=quantity, **named), "utf-8")
        return path

    def open(self, work_order: str, *, quantity: int, **terms: Any) -> None:
        """An order that two administrators approve."""
        self.approved("order", "open", self.order(work_order, quantity=quantity, **terms))

    def run_of(self, work_order: str, *, boards: int) -> Run:
        """Fresh boards of an order."""
        line = self.new_run(boards=boards)
        return Run(line.installation, line.station, line.farm, work_order)


class Line:
    """The service's protocol by hand, as the user that signerd runs as."""

    def __init__(self, path: Path, issuer: bytes, *, hello: object = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(30.0)
        self._socket.connect(str(path))
        self._number = 0
        self.send({"form": SERVICE_FORM, "key": issuer} if hello is None else hello)
        self.greeting = self._greeting()

    def send(self, item: object) -> None:
        body = cbor2.dumps(item)
        self.send_bytes(_LENGTH.pack(len(body)) + body)

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def limit(self, timeout_s: float) -> None:
        """How long each call may take from here on."""
        self._socket.settimeout(timeout_s)

    def ask(self, operation: Operation | str, *arguments: object) -> tuple[Outcome, Any]:
        """Outcome and value. Raises ConnectionError where the service ends the line."""
        self._number += 1
        self.send([self._number, str(operation), *arguments])
        number, outcome, value = self.read()
        assert number == self._number
        return Outcome(outcome), value

    def read(self) -> Any:
        return cbor2.loads(self._exactly(_LENGTH.unpack(self._exactly(_LENGTH.size))[0]))

    def arrived(self) -> int:
        """Reads the answers that are here already; how many."""
        count = 0
        while select.select([self._socket], [], [], 0)[0]:
            self.read()
            count += 1
        return count

    def _greeting(self) -> tuple[Outcome, str] | None:
        """None: the service ended the line."""
        try:
            begun, _ = self.read()
            assert begun == Outcome.BEGUN
            outcome, text = self.read()
        except ConnectionError:
            return None
        return Outcome(outcome), text

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the service ended the line")
            data += more
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
