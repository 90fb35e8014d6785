"""Witnesses that a station demands: taken in at enrolment, and shown by doctor."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters.checks import signerd as signerd_checks
from agent.adapters.checks.finding import Examined
from agent.adapters.enrolment import enroll
from agent.adapters.enrolment.credentials import trust_of
from agent.adapters.signer.answers import StationAnswer
from agent.config import load
from agent.errors import ConfigError, NotedError
from birthmark.proof import VerifierKey
from harness.paper_company import PaperCompany
from harness.paper_signer import PaperSigner
from harness.paper_witness import PaperWitness

W1, W2 = PaperWitness("w1.example"), PaperWitness("w2.example")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "station"
    enroll.request(folder, deployment="paper", site="plant1", name="pc1")
    return folder


def given(folder: Path, witnesses: str | None = None, required: int | None = None) -> enroll.Given:
    signer = PaperSigner(PaperCompany())
    files = {
        "station": signer.issue_station((folder / "station.csr.pem").read_bytes()),
        "ca": signer.operations.pem,
        "vkey": signer.company.log.vkey.encode(),
        "root": signer.company.tree.root.public_bytes(Encoding.PEM),
        "witnesses": (witnesses or "").encode(),
    }
    paths = {name: folder.parent / f"given-{name}" for name in files}
    for name, path in paths.items():
        path.write_bytes(files[name])
    return enroll.Given(
        paths["station"],
        paths["ca"],
        paths["vkey"],
        paths["root"],
        "signer.example:8443",
        None if witnesses is None else paths["witnesses"],
        required,
    )


async def shown(config: Path) -> str:
    """The line `trust` of doctor, where signerd is away."""
    return str(await signerd_checks.trust(Examined(load(config), broken={"signerd"})))


async def test_witnesses_that_were_given_are_demanded(folder: Path) -> None:
    config = enroll.install(folder, given(folder, f"# two\n{W1.vkey}\n{W2.vkey}\n", 2))
    cosigners = trust_of(load(config).signerd).log_key.cosigners
    assert ([key.text() for key in cosigners.witnesses], cosigners.at_least) == ([W1.vkey, W2.vkey], 2)
    assert "2 of the witnesses w1.example, w2.example cosign" in await shown(config)


async def test_without_a_number_one_of_them_has_to_cosign(folder: Path) -> None:
    config = enroll.install(folder, given(folder, W1.vkey))
    assert trust_of(load(config).signerd).log_key.cosigners.at_least == 1


async def test_without_witnesses_none_is_demanded(folder: Path) -> None:
    config = enroll.install(folder, given(folder))
    assert trust_of(load(config).signerd).log_key.cosigners.witnesses == ()
    assert "no witness is demanded" in await shown(config)


async def test_a_configuration_that_is_there_has_to_ask_for_them(folder: Path) -> None:
    config = enroll.install(folder, given(folder))
    anew = given(folder, W1.vkey)
    with pytest.raises(ConfigError, match="does not ask for these witnesses") as refused:
        enroll.install(folder, anew)
    added = config.read_text() + 'witnesses = "witnesses.vkey"\nwitnesses_required = 1\n'
    assert 'witnesses = "witnesses.vkey" and witnesses_required = 1' in refused.value.remedy
    config.write_text(added)
    enroll.install(folder, anew)
    assert "1 of the witnesses w1.example" in await shown(config)


@pytest.mark.parametrize(
    ("own", "theirs", "required", "said"),
    [
        (0, 2, 1, "signerd demands 1 witnesses, and this station 0"),
        (1, 2, 2, "signerd demands 2 witnesses, and this station 1"),
        (2, 2, 1, "this station demands 2 witnesses; signerd demands 1"),
        (2, 1, 2, "shows its checkpoints to 1 of this station's"),
        (2, 2, 2, ""),
        (1, 2, 1, ""),
        (0, 2, 0, ""),
        (0, 0, 0, ""),
    ],
)
async def test_doctor_compares_them_with_what_signerd_demands(
    folder: Path, own: int, theirs: int, required: int, said: str
) -> None:
    vkeys = [W1.vkey, W2.vkey]
    config = enroll.install(folder, given(folder, "\n".join(vkeys) if own else None, own or None))
    answer = StationAnswer((), "", required, tuple(vkeys[:theirs]))
    station = Examined(load(config), answer=answer)
    if not said:
        assert "ledger" in str(await signerd_checks.trust(station))
        return
    with pytest.raises(NotedError, match=said) as noted:
        await signerd_checks.trust(station)
    assert "witnesses_required" in noted.value.remedy


@pytest.mark.parametrize(
    ("witnesses", "required", "said"),
    [
        ("", 1, "0 witnesses"),
        (W1.vkey, 2, "1 witnesses, of which 2"),
        (VerifierKey("log.example", bytes(32)).text(), 1, "a log's"),
        ("x" * 70_000, 1, "larger than"),
        (None, 1, "--witnesses-required without --witnesses"),
    ],
    ids=["empty", "too few", "of a log", "huge", "no file"],
)
def test_witnesses_that_are_none(folder: Path, witnesses: str | None, required: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        enroll.install(folder, given(folder, witnesses, required))
    assert not (folder / "agent.toml").exists()  # nothing was written


def test_a_number_wants_the_witnesses(folder: Path) -> None:
    config = enroll.install(folder, given(folder))
    config.write_text(config.read_text() + "witnesses_required = 1\n")
    with pytest.raises(ConfigError, match=r"wants signerd\.witnesses"):
        load(config)


def test_a_file_of_witnesses_that_is_lost_is_named(folder: Path) -> None:
    config = enroll.install(folder, given(folder, W1.vkey))
    (folder / "witnesses.vkey").unlink()
    settings = load(config).signerd
    with pytest.raises(ConfigError, match=r"witnesses\.vkey"):
        trust_of(settings)
