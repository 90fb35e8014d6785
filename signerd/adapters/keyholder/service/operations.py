"""What may be asked of a key holder's service, and what is looked at before it signs.

Whoever has signerd's user is at the other end. The peer gets a refusal in a line, our log the reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.guard import SigningRefusedError, check_start
from signerd.adapters.keyholder.protocol import Operation, Outcome, frame
from signerd.adapters.keyholder.service import noted_approvals, notes
from signerd.adapters.keyholder.service.approved import take_in
from signerd.adapters.keyholder.service.held import MAX_DETAIL, HeldKey, Holder
from signerd.adapters.keyholder.service.noted_leaves import note_leaf
from signerd.adapters.keyholder.service.noted_orders import add_product, close_order
from signerd.core import note
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.sshsig import MAX_ARMORED
from signerd.core.approval.statement import MAX_STATEMENT
from signerd.core.approval.verify import MAX_SIGNATURES
from signerd.core.approved_order import LeafRefusedError, ShareUsedError, check_leaf
from signerd.core.leaf import Leaf
from signerd.core.names import MacKey, MacQuestion
from signerd.core.product import MAX_PRODUCT_BYTES, Product, parse_product
from signerd.core.succession import number_of
from signerd.errors import Refused, Unavailable

_REFUSALS = (ApprovalError, LeafRefusedError, SigningRefusedError, KeyHolderRefusal, Refused)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one line may ask."""

    holder: Holder
    key: HeldKey
    issuer_sha256: bytes

    async def answer(self, number: int, operation: str, arguments: list[object]) -> bytes:
        """The answer's frame."""
        work = _OPERATIONS.get(operation, Asked.unknown)
        try:
            return frame([number, Outcome.DONE, await work(self, arguments)])
        except ShareUsedError as error:
            return frame([number, Outcome.SHARE_USED, str(error)])
        except _REFUSALS as error:
            self.holder.refused(operation, str(error))
            return frame([number, Outcome.REFUSED, str(error)[:MAX_DETAIL]])
        except Unavailable as error:
            return frame([number, Outcome.UNAVAILABLE, error.detail])
        except Exception as error:  # noqa: BLE001 -- whatever a peer finds, its line and the others go on
            self.holder.fault(operation, error)
            return frame([number, Outcome.UNAVAILABLE, "a fault of the key holder's: its log says more"])

    async def unknown(self, arguments: list[object]) -> None:
        """In the place of every other operation."""
        raise SigningRefusedError(f"no such operation of a service, with {len(arguments)} arguments")

    async def sign_certificate(self, arguments: list[object]) -> bytes:
        """The certificate of an approved order's place, noted before it is signed."""
        tbs, leaf = _tbs_and_leaf(arguments)
        now, guard, issuer = datetime.now(UTC), self.key.guard, self.key.issuer
        approved = self.holder.notes.approved
        if guard is None or issuer is None:
            raise SigningRefusedError("this key signs checkpoints alone")
        guard.check_certificate(tbs, now)

        def unit(connection: Connection) -> None:
            if not approved.asked(connection):
                return  # no orders are approved here: its guard is what there is
            if leaf is None:
                raise LeafRefusedError("it is not said which order the certificate is of")
            order = approved.order(connection, leaf.place.work_order)
            self._check_active(connection, order.product)
            check_leaf(tbs, leaf, order.approved, order.product, issuer, now)
            note_leaf(
                connection,
                tbs,
                leaf,
                order.approved,
                share=order.share,
                issuer_sha256=self.issuer_sha256,
            )

        # Durable before it is signed: after a crash the same bytes are signed again, and no others.
        await self.holder.notes.note(unit)
        return await self.key.pool.sign_certificate(tbs)

    def _check_active(self, connection: Connection, product: Product) -> None:
        ca = product.certificate.ca
        active = self.holder.notes.approved.active(connection, ca) or self._first_of(ca)
        if active != self.issuer_sha256:
            raise LeafRefusedError(f"this issuer is not the active one of CA {ca}")

    def _first_of(self, ca: str) -> bytes | None:
        """Whoever stands first in the settings."""
        issuers = ((each, key.issuer) for each, key in self.holder.keys.items())
        return next((each for each, issuer in issuers if issuer is not None and issuer.ca == ca), None)

    async def sign_crl(self, arguments: list[object]) -> bytes:
        """Its process has a look of its own."""
        (tbs,) = _bytes(arguments, 1)
        return await self.key.pool.sign_crl(tbs)

    async def sign_checkpoint(self, arguments: list[object]) -> bytes:
        """Never of a log that was put back."""
        (body,) = _bytes(arguments, 1)
        try:
            checkpoint = note.parse_checkpoint(body)
        except ValueError as error:
            raise SigningRefusedError(f"no checkpoint: {error}") from error
        number = number_of(checkpoint.origin, note.parse_vkey(self.holder.installation.log).name)
        if number is None:
            raise SigningRefusedError("a checkpoint of another log")
        if number > self.holder.succession:
            raise SigningRefusedError(
                f"a checkpoint of the log's successor {number}: write `succession = {number}` into [ledger]"
                " of keyholder.toml first"
            )
        await self.holder.notes.note(lambda connection: notes.note_checkpoint(connection, checkpoint, number))
        return await self.key.pool.sign_checkpoint(body)

    async def check_chip_mac(self, arguments: list[object]) -> bool:
        """True or False, as a process of signerd's own would say."""
        match arguments:
            case [str(chip_id), str(kind), str(hash_name), bytes(message), bytes(mac)]:
                try:
                    question = MacQuestion(chip_id, MacKey(kind), hash_name, message, mac)
                except ValueError as error:
                    raise SigningRefusedError("no such key") from error
                return await self.key.pool.check_chip_mac(question)
            case _:
                raise SigningRefusedError("check_chip_mac takes five arguments")

    async def session_key(self, arguments: list[object]) -> bytes:
        """Of the days around now alone: its process looks."""
        match arguments:
            case [int(day), int(era)]:
                return await self.key.pool.session_key(day, era)
            case _:
                raise SigningRefusedError("session_key takes a day and an era")

    async def commit_key(self, arguments: list[object]) -> bytes | None:
        """Of any start: its process looks at the name's form."""
        return await self.key.pool.commit_key(check_start(arguments))

    async def show_approval(self, arguments: list[object]) -> bool:
        """Takes in what administrators approved."""
        text, *signatures = _bytes(arguments, len(arguments) or 1)
        if len(text) > MAX_STATEMENT or len(signatures) > MAX_SIGNATURES:
            raise SigningRefusedError("larger than an approval may be")
        if any(len(each) > MAX_ARMORED for each in signatures):
            raise SigningRefusedError("larger than a signature may be")
        now, installation = datetime.now(UTC), self.holder.installation
        return await self.holder.notes.do(
            lambda connection: take_in(connection, text, signatures, installation=installation, now=now)
        )

    async def show_product(self, arguments: list[object]) -> None:
        """Keeps the revision of a product that an approved order names."""
        match arguments:
            case [str(text)] if len(text) <= MAX_PRODUCT_BYTES:

                def unit(connection: Connection) -> None:
                    if noted_approvals.in_force(connection).asked:
                        add_product(connection, text)
                        parse_product(text)

                await self.holder.notes.do(unit)
            case _:
                raise SigningRefusedError("show_product takes a product's file")

    async def close_order(self, arguments: list[object]) -> None:
        """Nothing more is signed for it."""
        match arguments:
            case [str(work_order)]:
                await self.holder.notes.do(lambda connection: close_order(connection, work_order))
            case _:
                raise SigningRefusedError("close_order takes a work order")


_OPERATIONS: dict[str, Callable[[Asked, list[object]], Awaitable[object]]] = {
    Operation.SIGN_CERTIFICATE: Asked.sign_certificate,
    Operation.SIGN_CRL: Asked.sign_crl,
    Operation.SIGN_CHECKPOINT: Asked.sign_checkpoint,
    Operation.CHECK_CHIP_MAC: Asked.check_chip_mac,
    Operation.SESSION_KEY: Asked.session_key,
    Operation.COMMIT_KEY: Asked.commit_key,
    Operation.SHOW_APPROVAL: Asked.show_approval,
    Operation.SHOW_PRODUCT: Asked.show_product,
    Operation.CLOSE_ORDER: Asked.close_order,
}


def _bytes(arguments: list[object], count: int) -> list[bytes]:
    found = [argument for argument in arguments if isinstance(argument, bytes)]
    if len(found) != count or len(arguments) != count:
        raise SigningRefusedError("an argument is missing or not of its type")
    return found


def _tbs_and_leaf(arguments: list[object]) -> tuple[bytes, Leaf | None]:
    match arguments:
        case [bytes(tbs), None]:
            return tbs, None
        case [bytes(tbs), dict(leaf)]:
            try:
                return tbs, Leaf.read(leaf)
            except ValueError as error:
                raise SigningRefusedError(str(error)) from error
        case _:
            raise SigningRefusedError("sign_certificate takes a TBSCertificate and what it is for")
