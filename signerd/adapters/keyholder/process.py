"""The key holder's program: `python -P -m signerd.adapters.keyholder.process`, its socket as standard input.

One thread, one PKCS#11 module, one session, no network. Settings and PIN come over the socket, never by
argument or environment. It answers requests one by one, and ends when its socket closes, when its parent
dies, and when the token fails once: the parent starts another one. One thread turns to the token
(`keyholder/lookahead.py`).
"""

from __future__ import annotations

import hmac
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_csr

from signerd.adapters.keyholder import certification_request, guard, sealed_keys
from signerd.adapters.keyholder.answers import Answers
from signerd.adapters.keyholder.hardening import close_memory, die_with_parent
from signerd.adapters.keyholder.lookahead import Lookahead, Outbox
from signerd.adapters.keyholder.protocol import (
    FrameReader,
    Mode,
    Operation,
    Outcome,
    ProtocolError,
    Setup,
    frame,
    read_request,
    read_setup,
)
from signerd.adapters.keyholder.sealed_keys import NewSecrets, OpenedSecrets
from signerd.adapters.keyholder.signatures import Signatures
from signerd.adapters.keyholder.token import (
    CaKey,
    DamagedSignatureError,
    KeyExistsError,
    PinNotAskedError,
    PinRejectedError,
    Token,
    TokenError,
    WrongSettingsError,
)
from signerd.core import note
from signerd.core.chip_key import derive_chip_key
from signerd.core.internal_key import commit_key, internal_key, session_key
from signerd.core.issuer_algorithm import KEY_TYPES, IssuerKey
from signerd.core.names import Place
from signerd.core.pkcs11_uri import TokenName
from signerd.core.recipient import Recipient, SealingError
from signerd.core.sealing import KeyRole

# Signed at start to see that key and certificate belong together. Neither a TBS nor a checkpoint.
_SELF_TEST = b"birthmark key holder self-test"
_KEY_OF = {
    Operation.SIGN_CERTIFICATE: "the CA's certificate",
    Operation.SIGN_CHECKPOINT: "the log's verifier key",
}
_READ = 65_536  # bytes at once

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Work:
    """What has been looked at and is to be done: at the token, and afterwards, while it does the next."""

    at_token: Callable[[], Any]
    finish: Callable[[Any], object] = lambda value: value


Handler = Callable[[list[object]], Work]  # looks at a request while the token does another, and only looks


def harden() -> None:
    """Keeps PIN and keys out of core files and debuggers, and ties this life to the parent's."""
    close_memory()
    die_with_parent()
    # A terminal's Ctrl-C and a service's stop reach the whole group; calls under way are to be finished, and
    # the parent closes the socket when they are.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent's settings are none of ours


def serving(setup: Setup, token: Token) -> dict[str, Handler]:
    """The daemon's operations. None of them returns a chip's key, or a MAC that a chip could make."""
    ca_key = token.ca_key(setup.ca_key) if setup.ca_key else None
    checkpoint_key = sealed_keys.checkpoint_key(setup, token)
    master_key = sealed_keys.master_key(setup, token)
    log = note.parse_vkey(setup.vkey) if setup.vkey else None
    signatures = Signatures(setup)
    if ca_key is not None:
        _self_test(token, setup.ca_key, ca_key.sign, signatures, Operation.SIGN_CERTIFICATE)
    if checkpoint_key is not None:
        _self_test(token, setup.checkpoint_key, checkpoint_key.sign, signatures, Operation.SIGN_CHECKPOINT)
    limits = guard.Limits(timedelta(days=setup.max_validity_days), setup.allow_no_expiry)
    own = guard.Guard(guard.Authority.from_certificate(setup.certificate), limits, log)

    def sign_certificate(arguments: list[object]) -> Work:
        (tbs,) = _bytes(arguments, 1)
        own.check_certificate(tbs, datetime.now(UTC))
        return _signing(_present(ca_key), tbs)

    def sign_crl(arguments: list[object]) -> Work:
        (tbs,) = _bytes(arguments, 1)
        own.check_crl(tbs, datetime.now(UTC))
        return _signing(_present(ca_key), tbs)

    def sign_checkpoint(arguments: list[object]) -> Work:
        (body,) = _bytes(arguments, 1)
        own.check_checkpoint(body)
        return Work(partial(_present(checkpoint_key).sign, body))

    internal = sealed_keys.internal_mac(checkpoint_key, master_key)

    def day_key(arguments: list[object]) -> Work:
        day, era = guard.check_session_day(arguments, datetime.now(UTC))
        if internal is None or log is None:
            raise guard.SigningRefusedError("this key holder has no internal key")
        of_log = partial(internal_key, internal.mac, log.name)
        return Work(of_log, lambda key: session_key(key, day, era))

    commits = sealed_keys.commit_mac(checkpoint_key, master_key, log)

    def key_of_commits(arguments: list[object]) -> Work:
        start = guard.check_start(arguments)
        if commits is None or log is None:
            return Work(lambda: None)
        of_log = partial(internal_key, commits.mac, log.name)
        return Work(of_log, lambda key: commit_key(key, start))

    return {
        Operation.SESSION_KEY: day_key,
        Operation.COMMIT_KEY: key_of_commits,
        Operation.SIGN_CERTIFICATE: sign_certificate,
        Operation.SIGN_CRL: sign_crl,
        Operation.SIGN_CHECKPOINT: sign_checkpoint,
        Operation.CHECK_CHIP_MAC: partial(_mac_check, master_key),
    }


def _mac_check(master_key: sealed_keys.MacKey | None, arguments: list[object]) -> Work:
    if len(arguments) != 5:
        raise ProtocolError("check_chip_mac takes five arguments")
    chip_id, (kind, hash_name) = guard.check_chip_id(arguments[0]), guard.check_chip_key(*arguments[1:3])
    message = guard.check_message(arguments[3])
    (mac,) = _bytes(arguments[4:], 1)
    master = _there(master_key)

    def holds(key: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(key, message, hash_name), mac)

    return Work(lambda: derive_chip_key(master.mac, chip_id, kind, hash_name), holds)


def personalizing(setup: Setup, token: Token) -> dict[str, Handler]:
    """The operation of a trusted personalization. Nothing here signs."""
    master_key = sealed_keys.master_key(setup, token)

    def derive(arguments: list[object]) -> bytes:
        if len(arguments) != 3:
            raise ProtocolError("derive_chip_key takes three arguments")
        chip_id, (kind, hash_name) = guard.check_chip_id(arguments[0]), guard.check_chip_key(*arguments[1:])
        return derive_chip_key(_there(master_key).mac, chip_id, kind, hash_name)

    return {Operation.DERIVE_CHIP_KEY: _at_token(derive)}


def resealing(setup: Setup, token: Token) -> dict[str, Handler]:
    """The operation of `signerd recipient`. Nothing here signs, and no secret leaves unsealed."""
    opened = OpenedSecrets.open(setup, token)

    def reseal(arguments: list[object]) -> dict[str, bytes]:
        try:
            sealed = opened.sealed_to(_recipients(arguments))
        except SealingError as error:
            raise guard.SigningRefusedError(str(error)) from error
        return {"sealed": sealed.encode(), "own": opened.own.spki()}

    return {Operation.RESEAL: _at_token(reseal)}


def generating(setup: Setup, token: Token) -> dict[str, Handler]:
    """The operations of `signerd init`."""

    def change_pin(arguments: list[object]) -> None:
        (new,) = _bytes(arguments, 1)
        token.change_pin(setup.pin.decode(), new.decode())

    def offers(arguments: list[object]) -> list[str]:
        _bytes(arguments, 0)
        return token.offers()

    def generate_keys(arguments: list[object]) -> dict[str, bytes]:
        match arguments:
            case [str(key_type), str(common_name), str(origin), list(spares), list(there)] if (
                key_type in KEY_TYPES
            ):
                recipients = _recipients(spares)
            case _:
                raise ProtocolError(
                    "generate_keys takes a key type, a common name, an origin, keys of spares, and names"
                )
        _demand_usable(setup, token, [str(name) for name in there], recipients)
        if setup.ca_key in there:
            public = token.public_key(setup.ca_key)
        else:
            public = token.generate_ca_key(setup.ca_key, key_type)
        in_token = _generated_in_token(setup, token)
        if Place.SEALED in (setup.checkpoint_key_in, setup.master_key_in) and setup.sealing_key not in there:
            token.generate_sealing_key(setup.sealing_key)
        sealed = _made_sealed(setup, token, origin, recipients)
        request = _request(common_name, public, token, setup.ca_key)
        return {"csr": request, "sealed": b"", "master_commitment": b"", **in_token, **sealed}

    def generate_checkpoint_key(arguments: list[object]) -> dict[str, bytes]:
        match arguments:
            case [str(origin), list(spares)]:
                recipients = _recipients(spares)
            case _:
                raise ProtocolError("generate_checkpoint_key takes an origin, and keys of recipients")
        if setup.checkpoint_key_in == Place.SEALED:
            with suppress(KeyExistsError):  # what else is sealed to this token may have its key already
                token.demand_unused(setup.sealing_key)
                token.generate_sealing_key(setup.sealing_key)
            own = token.sealing_key(setup.sealing_key).recipient
            return _made_sealed(setup, token, origin, [each for each in recipients if each != own])
        token.demand_unused(setup.checkpoint_key)
        return {"checkpoint_key": token.generate_checkpoint_key(setup.checkpoint_key), "sealed": b""}

    return {
        Operation.OFFERS: _at_token(offers),
        Operation.GENERATE_CHECKPOINT_KEY: _at_token(generate_checkpoint_key),
        Operation.CHANGE_PIN: _at_token(change_pin),
        Operation.GENERATE_KEYS: _at_token(generate_keys),
    }


def _request(common_name: str, public: IssuerKey, token: Token, label: str) -> bytes:
    request = certification_request.make_request(common_name, public, token.ca_key(label).sign)
    if not load_der_x509_csr(request).is_signature_valid:
        raise TokenError(
            f"what the key {label!r} signs does not hold: the public key or certificate beside it in the"
            " token is another key's"
        )
    return request


def _demand_usable(setup: Setup, token: Token, there: list[str], spares: list[Recipient]) -> None:
    """Before anything is made: keys that are to be taken are there and of their kind, and the names of those
    that are to be made are free.

    Raises:
        SigningRefusedError: a key cannot be taken, or is a spare too.
        KeyExistsError: a name is not free.
    """
    places = (setup.checkpoint_key_in, setup.master_key_in)
    made = [setup.ca_key]
    made += [setup.checkpoint_key] if setup.checkpoint_key_in == Place.TOKEN else []
    made += [setup.master_key] if setup.master_key_in == Place.TOKEN else []
    made += [setup.sealing_key] if Place.SEALED in places else []
    try:
        if setup.ca_key in there:
            token.public_key(setup.ca_key)
            token.ca_key(setup.ca_key)
        if setup.sealing_key in there and token.sealing_key(setup.sealing_key).recipient in spares:
            raise guard.SigningRefusedError(f"the key {setup.sealing_key!r} is a spare's too: name another")
        token.demand_unused(*(label for label in made if label not in there))
    except WrongSettingsError as error:
        raise guard.SigningRefusedError(str(error)) from error


def _generated_in_token(setup: Setup, token: Token) -> dict[str, bytes]:
    """Makes what is kept in the token beside the CA key."""
    made: dict[str, bytes] = {}
    if setup.checkpoint_key_in == Place.TOKEN:
        made["checkpoint_key"] = token.generate_checkpoint_key(setup.checkpoint_key)
    if setup.master_key_in == Place.TOKEN:
        token.generate_master_key(setup.master_key)
    return made


def _made_sealed(setup: Setup, token: Token, origin: str, spares: list[Recipient]) -> dict[str, bytes]:
    """Makes what is sealed. The secrets end with this call: from here on the token opens them."""
    places = {KeyRole.CHECKPOINT: setup.checkpoint_key_in, KeyRole.CHIP_MASTER: setup.master_key_in}
    roles = [role for role, place in places.items() if place == Place.SEALED]
    if not roles:
        return {}
    new = NewSecrets.make(origin, roles)
    key = token.sealing_key(setup.sealing_key)
    try:
        sealed = new.sealed_to([key.recipient, *spares])
    except SealingError as error:
        raise TokenError(str(error)) from error
    new.demand_opens(sealed, key)
    names = {KeyRole.CHECKPOINT: "checkpoint_key", KeyRole.CHIP_MASTER: "master_commitment"}
    return {"sealed": sealed.encode(), **{names[role]: new.commitment(role) for role in roles}}


def _recipients(spares: list[object]) -> list[Recipient]:
    try:
        return [Recipient.of(load_der_public_key(info)) for info in _bytes(spares, len(spares))]
    except ValueError as error:
        raise ProtocolError("a recipient's key is none") from error


_OPERATIONS = {
    Mode.SERVE: serving,
    Mode.PERSONALIZE: personalizing,
    Mode.GENERATE: generating,
    Mode.RESEAL: resealing,
}


def _at_token(do: Callable[[list[object]], object]) -> Handler:
    """For what nobody waits for: looked at and done at once, by the thread that turns to the token."""
    return lambda arguments: Work(partial(do, arguments))


def _signing(key: CaKey, tbs: bytes) -> Work:
    return Work(partial(key.sign_input, key.input_of(tbs)), key.encoded)


def _bytes(arguments: list[object], count: int) -> list[bytes]:
    found = [argument for argument in arguments if isinstance(argument, bytes)]
    if len(found) != count or len(arguments) != count:
        raise ProtocolError("an argument is missing or not of its type")
    return found


def _there(master_key: sealed_keys.MacKey | None) -> sealed_keys.MacKey:
    if master_key is None:
        raise guard.SigningRefusedError("this installation has no chip master key (hsm.master_key_in)")
    return master_key


def _present(key: _Key | None) -> _Key:
    if key is None:
        raise guard.SigningRefusedError("this key holder does not have this key")
    return key


def _self_test(
    token: Token, label: str, sign: Callable[[bytes], bytes], signatures: Signatures, operation: Operation
) -> None:
    if signatures.hold(operation, _SELF_TEST, sign(_SELF_TEST)):
        return
    if token.point_is(label, signatures.point(operation)) is False:
        raise WrongSettingsError(f"the token's key {label!r} is not the one of {_KEY_OF[operation]}")
    raise DamagedSignatureError(
        f"what the token's key {label!r} gives is no signature of the key of {_KEY_OF[operation]}"
    )


class Connection:
    """The parent's end of the line."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._reader = FrameReader()
        self._waiting: list[object] = []

    def next(self) -> object:
        """The next item, or None when the parent has closed the line."""
        while not self._waiting:
            data = self._line.recv(_READ)
            if not data:
                return None
            self._waiting = self._reader.feed(data)
            self._waiting.reverse()
        return self._waiting.pop()

    @property
    def idle(self) -> bool:
        """True if no further item has been read."""
        return not self._waiting

    def send(self, data: bytes) -> None:
        """Sends, and waits until the kernel has taken it."""
        self._line.sendall(data)


def open_token(setup: Setup, found: Callable[[TokenName], None]) -> dict[str, Handler]:
    """Logs in and gives the operations of this mode. Raises TokenError."""
    try:
        mode = Mode(setup.mode)
        pin = setup.pin.decode()
    except ValueError as error:
        raise TokenError("no such mode, or the PIN is not UTF-8") from error
    token = Token.open(setup.module, setup.token, pin, writable=mode is Mode.GENERATE, found=found)
    try:
        return _OPERATIONS[mode](setup, token)
    except ValueError as error:  # of the certificate or the verifier key
        raise WrongSettingsError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked and has been looked at."""

    number: int
    operation: str
    work: Work | None  # None: refused
    refusal: str = ""


def look(operations: dict[str, Handler], item: object) -> Request:
    """Raises ProtocolError: it is no request."""
    number, operation, arguments = read_request(item)
    handler = operations.get(operation)
    if handler is None:
        return Request(number, operation, None, f"no operation {operation[:32]!r} in this mode")
    try:
        return Request(number, operation, handler(arguments))
    except guard.SigningRefusedError as error:
        return Request(number, operation, None, str(error))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the token gave."""

    number: int
    outcome: Outcome
    value: object
    finish: Callable[[Any], object] | None = None

    def frame(self) -> bytes:
        """As it is sent."""
        value = self.value if self.finish is None else self.finish(self.value)
        return frame([self.number, self.outcome, value])


def answer(request: Request) -> tuple[Answer, bool]:
    """The answer, and whether this process may go on."""
    number, work = request.number, request.work
    if work is None:
        return Answer(number, Outcome.REFUSED, request.refusal), True
    try:
        return Answer(number, Outcome.DONE, work.at_token(), work.finish), True
    except (guard.SigningRefusedError, KeyExistsError) as error:
        return Answer(number, Outcome.REFUSED, str(error)), True
    except PinRejectedError as error:  # of a key that wants it each time
        return Answer(number, Outcome.WRONG_PIN, str(error)), False
    except WrongSettingsError as error:
        return Answer(number, Outcome.WRONG_SETTINGS, str(error)), False
    except TokenError as error:
        return Answer(number, Outcome.FAILED, str(error)), False


def _greeting(error: TokenError) -> Outcome:
    match error:
        case PinNotAskedError():
            return Outcome.LEFT_ALONE
        case PinRejectedError():
            return Outcome.WRONG_PIN
        case WrongSettingsError():
            return Outcome.WRONG_SETTINGS
        case DamagedSignatureError():
            return Outcome.DAMAGED
        case _:
            return Outcome.FAILED


def serve(connection: Connection) -> None:
    """Greets, then answers until the parent closes the line or the token fails."""
    first = connection.next()
    if first is None:
        return
    setup = read_setup(first)
    # What comes now is the token's time, and signerd has a deadline for it.
    connection.send(frame([Outcome.BEGUN, "turning to the token"]))

    def found(token: TokenName) -> None:
        names = (token.label or "", (token.serial or b"").decode("latin-1"))
        connection.send(frame([Outcome.FOUND, "\0".join(names)]))

    try:
        operations = open_token(setup, found)
    except TokenError as error:
        connection.send(frame([_greeting(error), str(error)]))
        return
    connection.send(frame([Outcome.DONE, "ready"]))

    def take() -> Request | None:
        item = connection.next()
        return None if item is None else look(operations, item)

    requests = Lookahead(take)
    outbox = Outbox(connection.send)
    answers = Answers(connection.send)
    try:
        going_on = True
        while going_on and (request := requests.next()) is not None:
            if outbox.started:
                given, going_on = answer(request)
                outbox.put(given.frame)
                continue
            answers.begin(request.operation)
            given, going_on = answer(request)
            answers.end(request.operation, given.frame(), last=connection.idle or not going_on)
            if answers.token_is_slow:
                requests.start()
                outbox.start()
    finally:
        outbox.close()


def main() -> int:
    """Runs until the socket closes. Its exit code says nothing: the parent goes by the line alone."""
    harden()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as line:
        try:
            serve(Connection(line))
        except (ProtocolError, OSError):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
