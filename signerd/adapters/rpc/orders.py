"""Work orders as messages, for auditors and administrators alike."""

from __future__ import annotations

from birthmark.v1 import audit_pb2
from signerd.adapters.rpc import fields
from signerd.adapters.store.values import OrderState


def order_messages(state: OrderState) -> tuple[audit_pb2.WorkOrder, audit_pb2.WorkOrderCounts]:
    """Terms and counts."""
    order, counts = state.order, state.counts
    bundle = order.bundle
    return (
        audit_pb2.WorkOrder(
            work_order=order.work_order,
            product=order.product,
            quantity=order.quantity,
            not_before=fields.timestamp(order.not_before),
            not_after=fields.timestamp(order.not_after),
            stations=order.stations,
            level=fields.LEVELS[order.level],
            minimum_firmware=order.minimum_firmware,
            serial_pattern=order.serial_pattern,
            serial_start=order.serial_start,
            reissue=order.reissue.value,
            settings=order.settings,
            state=audit_pb2.WORK_ORDER_STATE_CLOSED if state.closed else audit_pb2.WORK_ORDER_STATE_OPEN,
            opened_index=state.opened_index,
            bundle_sha256=b"" if bundle is None else bundle.sha256,
            firmware={
                name: audit_pb2.FirmwareComponent(version=version, digest=digest)
                for name, (version, digest) in ({} if bundle is None else bundle.firmware).items()
            },
        ),
        audit_pb2.WorkOrderCounts(
            places=counts.places,
            issued=counts.issued,
            stamped=counts.stamped,
            revoked=counts.revoked,
            open_intents=counts.open_intents,
        ),
    )
