"""What can go wrong at a station, and what each failure means for the board on the needle bed.

Every error carries a `code` (for logs, summaries and machines), a `detail` (one sentence for people,
never a secret), a `remedy` (what the operator does now) and a `verdict`.
"""

from __future__ import annotations

from enum import StrEnum

from agent.code_remedies import REMEDIES


class Verdict(StrEnum):
    """What becomes of the board whose step failed."""

    AGAIN = "again"  # the same step may succeed later, unchanged
    REJECT = "reject"  # this board goes to the repair desk; the next one may be fine
    STOP = "stop"  # no board can pass: the order, the station or its configuration must be mended first


# signerd's codes that are about this station: no board is at fault, and none can get on.
STATION_REFUSED = frozenset({"unauthenticated", "peer_revoked", "role_denied"})


class AgentError(Exception):
    """The root of everything that a step of the line may raise."""

    def __init__(self, code: str, detail: str, *, verdict: Verdict, remedy: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.verdict = verdict
        self.remedy = remedy or REMEDIES.get(code, "")

    @property
    def stops_line(self) -> bool:
        """True if no board can pass until something is mended."""
        return self.verdict is Verdict.STOP

    @property
    def retryable(self) -> bool:
        """True if the same step may succeed later without a change."""
        return self.verdict is Verdict.AGAIN


class Refused(AgentError):  # noqa: N818 (a refusal is an outcome, not an error of ours)
    """signerd refused the call. `code` is one of docs/formats.md, "Codes"."""

    def __init__(self, code: str, *, verdict: Verdict = Verdict.REJECT, remedy: str = "") -> None:
        super().__init__(code, "signerd refused", verdict=verdict, remedy=remedy)


class SignerUnavailable(AgentError):  # noqa: N818 (a state of the line)
    """No answer from signerd, or one that says "try again"."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "signer_unavailable",
            detail,
            verdict=Verdict.AGAIN,
            remedy="Check the connection to signerd. Leave the board where it is.",
        )


class SignerLineDown(SignerUnavailable):
    """There is no connection to signerd, and why. Boards on all ports are parked with its code."""

    def __init__(self, code: str, detail: str, remedy: str, verdict: Verdict) -> None:
        AgentError.__init__(self, code, detail, verdict=verdict, remedy=remedy)


class SignerSlow(SignerUnavailable):
    """The line stands, signerd is at work, and has not answered in the time that a call has."""

    def __init__(self, seconds: float) -> None:
        AgentError.__init__(
            self,
            "signer_slow",
            f"signerd has not answered in {seconds:.0f} s, though connected",
            verdict=Verdict.AGAIN,
            remedy="Leave the board where it is. Ask signerd's administrator to look at its token and store.",
        )


class SignerBusy(SignerUnavailable):
    """signerd's token has more to do than this call would wait for: it says when to come back."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"signerd is busy: again in {delay_s:.0f} s")
        self.delay_s = delay_s


class NotCosigned(SignerUnavailable):
    """A receipt proves its entry, and fewer witnesses have cosigned than this station demands.

    Cosignatures come late, so that the call is made again for a while; the board is then parked.
    """

    def __init__(self, detail: str) -> None:
        AgentError.__init__(
            self,
            "not_cosigned",
            f"a receipt of signerd is not cosigned: {detail}",
            verdict=Verdict.AGAIN,
            remedy="Leave the board where it is. Ask signerd's administrator whether the witnesses answer"
            " (signerd witness list), and whether signerd demands as many as this station"
            " (publication.witnesses_required).",
        )


class SignerClockWrong(SignerUnavailable):
    """signerd does not serve while its clock is wrong, and goes on by itself when it is right."""

    def __init__(self) -> None:
        AgentError.__init__(
            self,
            "clock_wrong",
            "signerd's clock is wrong, so it does not serve",
            verdict=Verdict.AGAIN,
            remedy="Ask signerd's administrator to set its clock right (signerd clock show).",
        )


class ClocksApart(AgentError):  # noqa: N818 (named for what is the case)
    """The clocks of signerd and of this PC are further apart than the station's settings allow."""

    def __init__(self, how: str) -> None:
        super().__init__(
            "clocks_apart",
            f"signerd's clock is {how}",
            verdict=Verdict.STOP,
            remedy="Compare with another clock. Set this PC's if it is wrong (Windows: w32tm /resync, Linux:"
            " timedatectl set-ntp true). Else ask signerd's administrator to set signerd's.",
        )


class DriverFaultError(AgentError):
    """A driver raised what no driver may raise. It ends this board's way and no other's."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            "driver_fault",
            f"the driver failed with {kind}",
            verdict=Verdict.REJECT,
            remedy="Try another board. If it fails too, call the driver's maker: agent.log has a traceback.",
        )


class NotedError(AgentError):
    """Something of the station that a person should see to, and that holds no board up."""

    def __init__(self, detail: str, *, remedy: str) -> None:
        super().__init__("noted", detail, verdict=Verdict.AGAIN, remedy=remedy)


class StoppedError(AgentError):
    """The station was asked to stop while a board was on its way."""

    def __init__(self) -> None:
        super().__init__(
            "stopped",
            "the station was stopped",
            verdict=Verdict.AGAIN,
            remedy="Start the station again. The board goes on where it stopped.",
        )


class BadAnswer(AgentError):  # noqa: N818 (named for what signerd sent)
    """signerd answered, and the answer does not hold against the request and the pinned keys.

    A wrong signerd, or answers exchanged on the way: no board is given it, and no other board may go on.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(
            "bad_answer_from_signerd",
            detail,
            verdict=Verdict.STOP,
            remedy="Stop the line and call the company: this is the wrong signerd, or the root is another's.",
        )


class BadSuccession(BadAnswer):
    """signerd's log has another name, and its succession does not hold, or says less than this station saw.

    A wrong signerd, or a loss of which the company does not know all: the station has what it needs to know.
    """

    def __init__(self, detail: str, keep: str) -> None:
        AgentError.__init__(
            self,
            "bad_answer_from_signerd",
            detail,
            verdict=Verdict.STOP,
            remedy=f"Stop the line, and send signerd's administrator {keep}. Where the log lost its end,"
            " `signerd ledger succeed --checkpoint` has to name all that stations saw. If the operations CA"
            " is another one by now, this station needs its certificate, or the log's newest verifier key.",
        )


class BoardError(AgentError):
    """The board answered, and the answer was an error or made no sense.

    `code` is a name of docs/board-protocol.md, "Errors", or one of `bad_answer` (breaks the protocol),
    `no_group` (the firmware lacks our group), `too_large` (more than the board takes),
    `no_common_method` (it has no evidence that the work order accepts), `no_step` (its family has no such
    step), `no_firmware` (no firmware of ours answers),
    `keygen_failed`, `keygen_slow`, `wrong_digest` (the board read back something else than it was sent).
    """

    def __init__(self, code: str, detail: str, *, retryable: bool = False, remedy: str = "") -> None:
        verdict = Verdict.AGAIN if retryable else Verdict.REJECT
        super().__init__(code, detail, verdict=verdict, remedy=remedy)


class BundleMismatch(AgentError):  # noqa: N818 (named for what is the case)
    """The station's firmware is not what the order demands: `bundle_differs`, `bundle_too_old`."""

    def __init__(self, code: str, detail: str) -> None:
        remedy = (
            "Give this station the order's bundle ([bundle] in agent.toml), or take the boards to a station "
            "that has it."
        )
        super().__init__(code, detail, verdict=Verdict.STOP, remedy=remedy)


class LabelError(AgentError):
    """A label could not be printed or left in its folder. The board may be presented again."""

    def __init__(self, code: str, detail: str, *, remedy: str = "") -> None:
        super().__init__(code, detail, verdict=Verdict.AGAIN, remedy=remedy)


class LineError(AgentError):
    """The board did not answer (`no_answer`, `too_slow`), or the port is `port_gone` or `port_busy`."""

    def __init__(self, code: str, detail: str, *, remedy: str = "") -> None:
        super().__init__(code, detail, verdict=Verdict.AGAIN, remedy=remedy)


class JournalError(AgentError):
    """The station's journal cannot be read or written. Without it no board is worked on."""

    def __init__(
        self,
        detail: str,
        *,
        remedy: str = "See that the state directory exists, belongs to this user and has room on its disk.",
    ) -> None:
        super().__init__("journal", detail, verdict=Verdict.STOP, remedy=remedy)


class JournalUnusable(JournalError):  # noqa: N818 (a state of it)
    """It is damaged, or a newer agent's: starting again changes nothing, a person has to."""


class ConfigError(AgentError):
    """The configuration or the enrolment is wrong. The text names the remedy."""

    def __init__(self, detail: str, *, remedy: str = "") -> None:
        super().__init__("configuration", detail, verdict=Verdict.STOP, remedy=remedy)
