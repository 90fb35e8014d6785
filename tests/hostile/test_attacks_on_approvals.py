"""Attacks on approvals: by an administrator who is let to the socket, and by whoever has signerd's files.

Administrators have keys in software, whose signatures OpenSSH takes too
(tests/integration/signerd/test_ssh_keygen.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from birthmark.v1 import admin_pb2
from harness.administrator import Administrator
from harness.approvals import Administrators, changed
from harness.audited import Audited
from harness.further_issuers import signed_by_own_root
from harness.installation import DEPLOYMENT, SENSOR, order_toml
from harness.sealed_installation import SealedInstallation
from harness.ssh_signing import SshSigner, armor
from signerd.core.approval.administrators import namespace_of
from signerd.core.approval.statement import Statement, parse_statement

pytestmark = pytest.mark.check

PEOPLE = Administrators.of(DEPLOYMENT, 2, "ann", "bob", "carol")
SECOND = "main-2"
LINE = 'approvals = { threshold = 2, administrators = "administrators" }\n'
TIMEOUT_S = 90.0
Action = admin_pb2.PrepareApprovalRequest.Action


class Guarded(Audited):
    """An installation whose settings ask two of three; the attacker has its socket and its files."""

    def __init__(self, directory: Path) -> None:
        self.installation: SealedInstallation = SealedInstallation(directory)
        self.home = self.installation.home
        self.installation.start_signerd()
        self.station = self.installation.add_station("plant1", "pc1")
        self.auditor = self.installation.add_auditor("customer")
        self.installation.add_product(SENSOR)
        self._add_an_issuer(directory)
        self.names = iter(range(1, 1_000))
        (self.home / "administrators").write_text(PEOPLE.file, "utf-8")
        config = self.installation.config
        config.write_text(LINE + config.read_text("utf-8"), "utf-8")
        self.restart()

    def _add_an_issuer(self, directory: Path) -> None:
        """On standby; its key answers once signerd was restarted."""
        admin = self.installation.admin
        request = Path(json.loads(admin("ca", "request", SECOND, "--json"))["request"])
        made = signed_by_own_root(self.installation, request, directory / "second.pem")
        admin("ca", "add", SECOND, "--certificate", made, "--root", self.home / "root" / "root.pem")

    def restart(self) -> None:
        self.installation.process.stop()
        self.installation.start_signerd()
        self.calls = Administrator(self.home).calls

    def order(self, **terms: Any) -> admin_pb2.OpenWorkOrderRequest:
        """A new one, with serial numbers of its own."""
        number = next(self.names)
        text = order_toml(
            f"WO-{number}",
            **{
                "quantity": 5,
                "stations": [self.station.uri],
                "serial_pattern": f"W{number}-{{number:04d}}",
                **terms,
            },
        )
        return admin_pb2.OpenWorkOrderRequest(work_order_toml=text)

    def open(self, request: admin_pb2.OpenWorkOrderRequest) -> str:
        return code_of(lambda: self.calls.OpenWorkOrder(request, timeout=TIMEOUT_S))

    def prepare(self, action: Action, **options: Any) -> Statement:
        asked = admin_pb2.PrepareApprovalRequest(actions=[action], valid_days=7, **options)
        answer = self.calls.PrepareApproval(asked, timeout=TIMEOUT_S)
        return parse_statement(answer.statement)

    def size(self) -> int:
        """Entries that are in the database, but for signerd's starts and stops."""
        with sqlite3.connect(f"file:{self.home / 'signerd.sqlite'}?mode=ro", uri=True) as connection:
            entries = [json.loads(data) for (data,) in connection.execute("SELECT data FROM entries")]
        return sum(entry["type"] not in {"signerd_started", "signerd_stopped"} for entry in entries)


def code_of(call: Callable[[], Any]) -> str:
    """The code of a refusal on the socket; "" for an answer."""
    try:
        call()
    except grpc.RpcError as error:
        metadata: Any = error.trailing_metadata() if isinstance(error, grpc.Call) else ()
        return str(dict(metadata)["birthmark-code"])
    return ""


def with_approval(request: Any, text: bytes, *signatures: bytes, part: int = 0) -> Any:
    shown = type(request)()
    shown.CopyFrom(request)
    shown.approval.CopyFrom(admin_pb2.Approval(statement=text, signatures=signatures, part=part))
    return shown


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("approvals")) as made:
        yield made
        made.verify()


@pytest.fixture
def untouched(guarded: Guarded) -> Iterator[Guarded]:
    """Whose ledger an attack leaves as it was."""
    before = guarded.size()
    yield guarded
    assert guarded.size() == before


def test_each_action_without_approval(untouched: Guarded) -> None:
    calls = untouched.calls
    chips = admin_pb2.PersonalizeChipsRequest(
        chip_ids=["c-1"], site="lab", key="hmac-sha256", by="mallory", locked=True
    )
    administrators = Administrators.of(DEPLOYMENT, 1, "mallory")
    attempts: tuple[tuple[Any, Any], ...] = (
        (calls.OpenWorkOrder, untouched.order()),
        (calls.AddProduct, admin_pb2.AddProductRequest(product_toml=SENSOR + "# another revision\n")),
        (calls.PersonalizeChips, chips),
        (
            calls.SetAdministrators,
            admin_pb2.SetAdministratorsRequest(threshold=1, administrators=administrators.file),
        ),
        (calls.SetAdministrators, admin_pb2.SetAdministratorsRequest()),
        (calls.CommitRecipients, admin_pb2.CommitRecipientsRequest(spki_sha256=[bytes(32)])),
        (calls.ActivateIssuer, admin_pb2.ChangeIssuerRequest(name=SECOND)),
        (calls.RetireIssuer, admin_pb2.ChangeIssuerRequest(name=SECOND)),
    )
    for call, request in attempts:
        refused = code_of(partial(call, request, timeout=TIMEOUT_S))
        assert refused == "approval_required", request


def test_the_honest_twin_opens_an_order(guarded: Guarded) -> None:
    request = guarded.order()
    text = guarded.prepare(Action(open_work_order=request)).text()
    assert guarded.open(with_approval(request, text, *PEOPLE.sign(text, "ann", "carol"))) == ""


def signatures_that_do_not_count(text: bytes) -> dict[str, tuple[bytes, ...]]:
    ann, bob, namespace = PEOPLE.signers["ann"], PEOPLE.signers["bob"], namespace_of(DEPLOYMENT)
    (good,) = PEOPLE.sign(text, "ann")
    raw = bob.sign_raw(text, namespace)
    return {
        "one administrator": (good,),
        "one administrator twice": (good, ann.sign(text, namespace)),
        "a key of nobody": (good, SshSigner.ed25519().sign(text, namespace)),
        "bob's key, and not his signature": (good, armor(ann.sign_raw(text, namespace, public=bob.public))),
        "signed for files": (good, bob.sign(text, "file")),
        "signed for another deployment": (good, bob.sign(text, namespace_of("other"))),
        "another text": (good, bob.sign(text.replace(b"quantity: 5", b"quantity: 4"), namespace)),
        "cut": (good, armor(raw[:-1])),
        "a byte too many": (good, armor(raw + b"\0")),
        "changed": (good, armor(raw[:-1] + bytes([raw[-1] ^ 1]))),
        "no signature": (good, b"approved, bob"),
        "a security key nobody touched": (good, SshSigner.sk_ed25519().saying(flags=0).sign(text, namespace)),
        "enough, and one that is wrong": (*PEOPLE.sign(text, "ann", "carol"), armor(raw[:-1])),
    }


def test_signatures_that_do_not_count(untouched: Guarded) -> None:
    request = untouched.order()
    text = untouched.prepare(Action(open_work_order=request)).text()
    for what, signatures in signatures_that_do_not_count(text).items():
        assert untouched.open(with_approval(request, text, *signatures)) == "approval_invalid", what


def test_requests_out_of_their_bounds(untouched: Guarded) -> None:
    request = untouched.order()
    text = untouched.prepare(Action(open_work_order=request)).text()
    good = PEOPLE.sign(text, "ann", "bob")
    assert untouched.open(with_approval(request, b"", *good)) == "request_malformed"
    assert untouched.open(with_approval(request, text * 100, *good)) == "request_malformed"
    assert untouched.open(with_approval(request, text, *good * 9)) == "request_malformed"
    assert untouched.open(with_approval(request, text, bytes(1_000_000))) == "request_malformed"
    assert untouched.open(with_approval(request, text, *good, part=1)) == "approval_invalid"
    assert untouched.open(with_approval(request, text, *good, part=2**32 - 1)) == "approval_invalid"


def test_an_order_that_changes_after_it_was_signed(untouched: Guarded) -> None:
    request = untouched.order()
    statement = untouched.prepare(Action(open_work_order=request))
    text = statement.text()
    good = PEOPLE.sign(text, "ann", "bob")
    for old, new in (
        ("quantity = 5", "quantity = 50"),
        ('reissue = "never"', 'reissue = "always"'),
        ("mqtts://example.com", "mqtts://mallory.example"),
        ('level = "chip"', 'level = "chip" # '),
    ):
        raised = admin_pb2.OpenWorkOrderRequest(work_order_toml=request.work_order_toml.replace(old, new, 1))
        assert raised != request
        assert untouched.open(with_approval(raised, text, *good)) == "approval_invalid", new
    # The text itself changed, under the signatures of before.
    forged = changed(statement, quantity=50).text()
    assert untouched.open(with_approval(request, forged, *good)) == "approval_invalid"


def test_approvals_of_another_installation_and_of_another_time(untouched: Guarded) -> None:
    request = untouched.order()
    statement = untouched.prepare(Action(open_work_order=request))
    for other in (
        replace(statement, deployment="other"),
        replace(statement, log=statement.log.replace("+", "+0", 1)),
        replace(statement, expires=statement.expires - timedelta(days=30)),
        replace(statement, expires=statement.expires + timedelta(days=3_650)),
        replace(statement, action="product_added"),
    ):
        text = other.text()
        shown = with_approval(request, text, *PEOPLE.sign(text, "ann", "bob"))
        assert untouched.open(shown) == "approval_invalid"


def test_an_approval_is_used_once_also_after_a_restart(guarded: Guarded) -> None:
    chips = admin_pb2.PersonalizeChipsRequest(
        chip_ids=["once-1"], site="lab", key="hmac-sha256", by="ann", locked=True
    )

    def personalize(*names: str) -> str:
        shown = with_approval(chips, text, *PEOPLE.sign(text, *names))
        return code_of(lambda: guarded.calls.PersonalizeChips(shown, timeout=TIMEOUT_S))

    text = guarded.prepare(Action(personalize_chips=chips)).text()
    assert personalize("ann", "bob") == ""
    assert personalize("ann", "bob") == "already_exists"
    assert personalize("bob", "carol") == "already_exists"
    guarded.restart()
    assert personalize("ann", "bob") == "already_exists"
    # Giving the keys out again is another action, which others may sign.
    text = guarded.prepare(Action(personalize_chips=chips)).text()
    assert personalize("ann", "bob") == ""


def test_what_was_signed_for_one_change_of_an_issuer_is_none_for_another(untouched: Guarded) -> None:
    """Both have one request on the wire: only what is signed tells them apart."""
    change, calls = admin_pb2.ChangeIssuerRequest(name=SECOND), untouched.calls
    text = untouched.prepare(Action(activate_issuer=change)).text()
    shown = with_approval(change, text, *PEOPLE.sign(text, "ann", "bob"))
    assert code_of(lambda: calls.RetireIssuer(shown, timeout=TIMEOUT_S)) == "approval_invalid"


def test_a_token_of_the_attacker_s_own_among_the_recipients(untouched: Guarded) -> None:
    """Beside the one that was approved, or in its place."""
    own = untouched.installation.sealed().recipients[0].spki_sha256()
    spare, mallory = bytes([1]) * 32, bytes([2]) * 32
    approved = admin_pb2.CommitRecipientsRequest(spki_sha256=[own, spare])
    text = untouched.prepare(Action(commit_recipients=approved)).text()
    good = PEOPLE.sign(text, "ann", "bob")
    for keys in ([own, mallory], [own, spare, mallory], [own], [spare, own]):
        shown = with_approval(admin_pb2.CommitRecipientsRequest(spki_sha256=keys), text, *good)
        refused = code_of(partial(untouched.calls.CommitRecipients, shown, timeout=TIMEOUT_S))
        assert (keys == [own] and not refused) or refused == "approval_invalid"


def test_one_key_cannot_pass_an_order_off_as_an_emergency(untouched: Guarded) -> None:
    request = untouched.order()
    asked = admin_pb2.PrepareApprovalRequest(
        actions=[Action(open_work_order=request)], valid_days=7, emergency=True
    )
    assert code_of(lambda: untouched.calls.PrepareApproval(asked, timeout=TIMEOUT_S)) == "invalid"
    text = replace(untouched.prepare(Action(open_work_order=request)), emergency=True).text()
    shown = with_approval(request, text, *PEOPLE.sign(text, "ann"))
    assert untouched.open(shown) == "approval_invalid"


def test_settings_of_the_attacker_s_own(untouched: Guarded) -> None:
    mallory = Administrators.of(DEPLOYMENT, 1, "mallory")
    config = untouched.installation.config
    before = config.read_text("utf-8")
    request = untouched.order()
    text = untouched.prepare(Action(open_work_order=request)).text()
    shown = with_approval(request, text, *mallory.sign(text, "mallory"))
    try:
        (untouched.home / "administrators").write_text(mallory.file, "utf-8")
        config.write_text(before.replace("threshold = 2", "threshold = 1"), "utf-8")
        untouched.restart()
        assert untouched.open(shown) == "approval_invalid"
        assert untouched.open(request) == "approval_required"
        assert "THE SETTINGS DIFFER" in untouched.installation.admin("check-config")
        config.write_text(before.replace(LINE, ""), "utf-8")
        untouched.restart()
        assert untouched.open(request) == "approval_required"
    finally:
        (untouched.home / "administrators").write_text(PEOPLE.file, "utf-8")
        config.write_text(before, "utf-8")
        untouched.restart()


def test_an_administrator_who_left_signs_for_nothing_more(tmp_path: Path) -> None:
    """In an installation of its own, whose administrators change."""
    with Guarded(tmp_path / "left") as guarded:
        request = guarded.order()
        waiting = guarded.prepare(Action(open_work_order=request)).text()
        stayed = replace(PEOPLE, signers={name: PEOPLE.signers[name] for name in ("bob", "carol")})
        change = admin_pb2.SetAdministratorsRequest(threshold=2, administrators=stayed.file)
        text = guarded.prepare(Action(set_administrators=change)).text()
        shown = with_approval(change, text, *PEOPLE.sign(text, "bob", "carol"))
        assert code_of(lambda: guarded.calls.SetAdministrators(shown, timeout=TIMEOUT_S)) == ""
        assert guarded.open(with_approval(request, waiting, *PEOPLE.sign(waiting, "ann", "bob"))) == (
            "approval_invalid"
        )
        assert guarded.open(with_approval(request, waiting, *PEOPLE.sign(waiting, "bob", "carol"))) == ""
        guarded.verify()
        _take_away(guarded)
        assert guarded.open(guarded.order()) == "approval_required"
        guarded.verify()


def _take_away(guarded: Guarded) -> None:
    """What whoever can write the database does: its table forgets who is asked. The ledger does not."""
    guarded.installation.process.stop()
    config = guarded.installation.config
    config.write_text(config.read_text("utf-8").replace(LINE, ""), "utf-8")
    connection = sqlite3.connect(guarded.home / "signerd.sqlite")
    connection.execute("DELETE FROM administrator_sets")
    connection.commit()
    connection.close()
    guarded.installation.start_signerd()
    guarded.calls = Administrator(guarded.home).calls
