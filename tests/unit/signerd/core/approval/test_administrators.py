"""The file of administrators' keys, and the set that follows from it."""

from __future__ import annotations

import pytest

from harness.ssh_signing import SshSigner
from signerd.core.approval.administrators import (
    MAX_KEYS,
    NOBODY,
    AdministratorSet,
    parse_administrators,
    read_members,
)
from signerd.core.approval.errors import ApprovalError

ANN, BOB, STICK = SshSigner.ed25519(), SshSigner.ecdsa(), SshSigner.sk_ed25519()
CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t"


def test_a_file_of_keys() -> None:
    text = (
        "# the company's\n\n"
        f"ann@acme.example {ANN.public_text} ann's laptop\r\n"
        f'bob verify-required,namespaces="birthmark-approval-v1@acme,file" {STICK.public_text}\n'
        f"bob {BOB.public_text}"
    )
    ann, stick, bob = parse_administrators(text, "acme")
    assert (ann.name, ann.key.blob, ann.verify_required) == ("ann@acme.example", ANN.public, False)
    assert (stick.name, stick.key.blob, stick.verify_required) == ("bob", STICK.public, True)
    assert bob.key.blob == BOB.public
    assert AdministratorSet(2, (ann, stick, bob)).names == ("ann@acme.example", "bob")


WRONG = {
    "ann": "NAME \\[OPTIONS\\] ALGORITHM KEY",
    f"ann {ANN.public_text.split()[0]}": "NAME \\[OPTIONS\\] ALGORITHM KEY",
    f"an*n {ANN.public_text}": "administrator's name",
    f"ann,bob {ANN.public_text}": "administrator's name",
    f"ann verify-required {ANN.public_text}": "keys in security keys",
    f"ann no-touch-required {STICK.public_text}": "no-touch-required",
    f"ann cert-authority {ANN.public_text}": "cert-authority",
    f'ann valid-before="20300101" {ANN.public_text}': "valid-before",
    f'ann namespaces="file" {ANN.public_text}': "without birthmark-approval-v1@acme",
    f"ann {CERTIFICATE}": "is a certificate",
    f"ann ssh-rsa {ANN.public_text.split()[1]}": "stands under 'ssh-rsa'",
    f"ann {ANN.public_text}=": "base64",
    f"ann {ANN.public_text[:-4]}": "cut short|base64",
    "ann ssh-dss AAAAB3NzaC1kc3M=": "'ssh-dss' do not count",
}


@pytest.mark.parametrize(("line", "said"), WRONG.items(), ids=WRONG.values())
def test_a_wrong_line_is_named(line: str, said: str) -> None:
    with pytest.raises(ApprovalError, match=f"line 2: .*({said})"):
        parse_administrators(f"# first\n{line}\n", "acme")


def administrators(*lines: str, threshold: int) -> AdministratorSet:
    return AdministratorSet(threshold, parse_administrators("\n".join(lines), "acme"))


def test_a_threshold_that_nobody_reaches_is_refused() -> None:
    keys = f"ann {ANN.public_text}", f"ann {BOB.public_text}"
    with pytest.raises(ApprovalError, match="threshold of 2, where there are 1"):
        administrators(*keys, threshold=2)
    with pytest.raises(ApprovalError, match="threshold of 0, where there are 1"):
        administrators(*keys, threshold=0)


def test_one_key_is_one_person() -> None:
    with pytest.raises(ApprovalError, match="appears twice"):
        administrators(f"ann {ANN.public_text}", f"bob {ANN.public_text}", threshold=2)


def test_keys_beyond_the_bound_are_refused() -> None:
    lines = [f"a{number} {SshSigner.ed25519().public_text}" for number in range(MAX_KEYS + 1)]
    assert administrators(*lines[1:], threshold=1).asked
    with pytest.raises(ApprovalError, match=f"more than {MAX_KEYS}"):
        administrators(*lines, threshold=1)


def test_members_of_a_ledger_entry_are_read_back() -> None:
    both = administrators(f"bob {BOB.public_text}", f"ann verify-required {STICK.public_text}", threshold=2)
    read = read_members(both.threshold, both.members)
    assert read.same_as(both)
    assert [each.name for each in read.keys] == ["ann", "bob"]
    assert read_members(0, []) == NOBODY
    assert not NOBODY.asked


@pytest.mark.parametrize(
    "administrator",
    [
        None,
        {},
        {"name": "ann", "key": ANN.public_text},
        {"name": "ann", "key": ANN.public_text, "verify_required": 0},
        {"name": 1, "key": ANN.public_text, "verify_required": False},
        {"name": "ann", "key": ANN.public_text + " comment", "verify_required": False},
        {"name": "ann", "key": ANN.public_text, "verify_required": True},
    ],
)
def test_members_of_another_form_are_refused(administrator: object) -> None:
    with pytest.raises(ApprovalError):
        read_members(1, [administrator])
    with pytest.raises(ApprovalError):
        read_members("1", [])
