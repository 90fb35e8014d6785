"""`verify.html` in a real browser: an honest production file holds, each doctored one is refused."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from selenium.webdriver import Chrome

from auditor.adapters.report.making import Subject
from auditor.adapters.report.verifier_page import verifier_page
from auditor.core.report import form
from birthmark.proof import SignatureType, VerifierKey
from birthmark.proof.note import cosigned_message, signature_line
from harness.audit_bench import bench
from harness.doctored_files import DOCTORED, doctored
from harness.paper_certificates import Authority, der
from harness.paper_log import ORDER, PaperLog, vkey
from harness.paper_succession import succeed
from harness.production_files import (
    files_of,
    fitted,
    four_boards,
    made,
    of_a_rogue_issuer,
    pack,
    production_file,
)
from harness.served_page import chromium
from harness.verifier_page import Shown, VerifierPage

pytestmark = pytest.mark.check


@dataclass(frozen=True)
class Given:
    """An honest archive, its log, and the page in the browser."""

    log: PaperLog
    path: Path
    page: VerifierPage
    browser: Chrome

    @property
    def root(self) -> str:
        return sha256(der(self.log.root.certificate)).hexdigest()

    def verify(self, path: Path | None = None, *, key: str = "", root: str | None = None) -> Shown:
        root = self.root if root is None else root
        return self.page.verify(path or self.path, key or vkey(self.log.log_key), root)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    log, folder = four_boards(), tmp_path_factory.mktemp("page")
    (folder / "verify.html").write_bytes(verifier_page())
    path = production_file(log, folder)
    with chromium(1000, 1200) as browser:
        yield Given(log, path, VerifierPage(browser, folder / "verify.html"), browser)


def test_an_honest_archive_holds(given: Given) -> None:
    shown = given.verify()
    assert (shown.state, shown.verdict) == (
        "holds",
        "This archive holds. Order WO-1: 4 boards, 3 stamped, 1 scrapped.",
    )
    assert "4 certificates and 3 stamps are those of the entries" in shown.text
    assert "1 certificates are neither stamped nor revoked." in shown.text
    assert f"SHA-256 of this archive: {sha256(given.path.read_bytes()).hexdigest()}" in shown.text
    assert "are the word of whoever made the file" in shown.text
    assert given.page.complaints() == []


def test_a_whole_one_and_one_of_a_time_hold(given: Given, tmp_path: Path) -> None:
    whole = given.verify(production_file(given.log, tmp_path, Subject(order=ORDER, whole=True)))
    assert whole.state == "holds"
    assert "left out" not in whole.text


def test_another_key_no_key_and_another_root(given: Given) -> None:
    other = given.verify(key=vkey(Ed25519PrivateKey.generate()))
    assert (other.state, "signed by none of the keys given" in other.text) == ("fails", True)
    assert "give the log's verifier key" in given.verify(key=" ").text
    assert "another key id" not in given.verify(key=vkey(given.log.log_key) + "x").text
    root = given.verify(root="00" * 32)
    assert (root.state, "root is not the one that was given" in root.text) == ("fails", True)
    assert given.verify(root="").state == "holds"


def test_a_successor_of_the_log_wants_the_key_of_its_name(given: Given, tmp_path: Path) -> None:
    log, ca = four_boards(), Authority.root("Operations")
    with bench(log, tmp_path / "state", cas=(ca.certificate,)) as verified:
        assert verified.verify().clean
        succeed(log, ca, log.tree.size - 4)
        verified.verify()
        made(verified, tmp_path / "order.zip", Subject(order=ORDER))
    root = sha256(der(log.root.certificate)).hexdigest()
    first = given.verify(tmp_path / "order.zip", key=vkey(log.log_key), root=root)
    assert (first.state, "has another name since" in first.text) == ("fails", True)
    second = given.verify(tmp_path / "order.zip", key=vkey(log.log_key, name=log.origin), root=root)
    assert (second.state, "4 entries of before are lost" in second.text) == ("holds", True)


def test_one_witness_under_two_names_is_one(given: Given, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    names = ("witness.example/a", "witness.example/b")
    both = [VerifierKey(name, public, SignatureType.COSIGNATURE) for name in names]
    files = files_of(given.path)
    text = files[form.CHECKPOINT].rpartition(b"\n\n")[0].decode() + "\n"
    value = (1_800_000_000).to_bytes(8) + key.sign(cosigned_message(text, 1_800_000_000))
    files[form.CHECKPOINT] += b"".join(signature_line(witness, value) for witness in both)
    path = pack(tmp_path / "cosigned.zip", fitted(files))
    keys = "\n".join([vkey(given.log.log_key), *(witness.text() for witness in both)])
    shown = given.verify(path, key=keys)
    assert (shown.state, "It is cosigned by witness.example/a." in shown.text) == ("holds", True)


def test_a_board_s_key_makes_no_issuer(given: Given, tmp_path: Path) -> None:
    log, path = of_a_rogue_issuer(tmp_path)
    shown = given.verify(path, key=vkey(log.log_key), root=sha256(der(log.root.certificate)).hexdigest())
    assert (shown.state, "an issuer's certificate does not lead to its root" in shown.text) == ("fails", True)


def test_each_doctored_archive_is_refused_with_its_reason(given: Given, tmp_path: Path) -> None:
    said = {}
    for name in DOCTORED:
        shown = given.verify(doctored(name, given.path, tmp_path, given.log))
        said[name] = shown
    wrong = {
        name: (shown.state, shown.text)
        for name, shown in said.items()
        if shown.state != "fails" or DOCTORED[name].page_says not in shown.text
    }
    assert wrong == {}
    assert given.verify().state == "holds"  # and nothing of them is left
    assert given.page.complaints() == []


def test_a_page_that_was_changed_does_not_run(given: Given, tmp_path: Path) -> None:
    page = tmp_path / "verify.html"
    page.write_bytes(verifier_page().replace(b"if (fails) conclude", b"if (false) conclude"))
    changed = VerifierPage(given.browser, page)
    shown = changed.verify(given.path, vkey(given.log.log_key), given.root, waits=False)
    assert shown.verdict == "Nothing was verified yet."
    assert any("Content Security Policy" in text for text in changed.complaints())


def test_the_report_is_shown_and_printed_without_a_complaint(given: Given, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_bytes(files_of(given.path)["report.html"])
    given.page.complaints()
    given.browser.get(page.as_uri())
    assert given.browser.title == "Production file: order WO-1"
    assert given.page.complaints() == []
    printed = base64.b64decode(given.browser.print_page())
    assert printed.startswith(b"%PDF")
    wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert given.browser.execute_script(wide)


def test_its_policy_names_its_own_script_and_nothing_of_elsewhere() -> None:
    page = verifier_page().decode()
    for tag in ("script", "style"):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert len(content) == 1
        assert f"{tag}-src 'sha256-{digest}'" in page, f"set {tag}-src to sha256-{digest}"
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|\bsrc=|\bhref=|fetch\(|XMLHttp|innerHTML|import\(", page)
