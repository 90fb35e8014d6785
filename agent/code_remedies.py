"""What an operator does about each code of a board, its port, driver or bundle, where the error says no more.

Who raises an error says more where it knows more. A code without a line here, or a remedy at each place that
raises it, does not pass `tests/unit/agent/test_code_remedies.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

_REPAIR = "Take the board to the repair desk"
_KEEP = "Put the board aside and keep it"
_AGAIN = "Present the board again. If it fails again, take it to the repair desk."
_FIRMWARE = "Take the board to the repair desk. If all boards say so, their firmware is the wrong one."

REMEDIES: Mapping[str, str] = {
    # The port and what is on it.
    "no_answer": "See that a board is in place and powered.",
    "too_slow": "Check cable, needles and baud rate, then present the board again.",
    "port_gone": "Plug the adapter in again.",
    "port_busy": "Close the other program that has the port open.",
    "reset_failed": "Check the fixture's reset line and `reset_command`, then present the board again.",
    # What the board answers (docs/board-protocol.md, "Errors").
    "unknown": _FIRMWARE,
    "busy": _AGAIN,
    "bad_offset": _AGAIN,
    "bad_request": _FIRMWARE,
    "bad_state": "Present the board again: it goes on where it stopped. If it fails again, take it to the"
    " repair desk.",
    "no_key": f"{_REPAIR}: it has no key. Without `keygen` in the recipe, boards must come with a key.",
    "digest_mismatch": f"{_REPAIR}: its flash does not keep what it is sent.",
    "storage_full": "Erase the board's storage, which is full or worn, or put the board aside.",
    "key_mismatch": "Erase the board and begin again: its key is not the certificate's.",
    "unsupported": "Check the work order and the board's firmware: the board offers another key or other"
    " evidence than the product accepts.",
    "sealed": "Put the board aside: it was finished before, with other content.",
    "no_pop": "Flash the firmware that makes a proof-of-possession code. Where the product has none, take"
    " `label` out of the recipe.",
    "no_group": "Flash the manufacturing firmware: the board's firmware has no Birthmark group.",
    "bad_answer": _FIRMWARE,
    "too_large": _FIRMWARE,
    "request_malformed": _FIRMWARE,
    # What it does, and does not.
    "keygen_failed": f"{_REPAIR}: it cannot make its key.",
    "keygen_slow": f"{_REPAIR}: it takes too long to make its key. If all do, `timeout_s` of `keygen` in the"
    " recipe is too short.",
    "wrong_digest": f"{_REPAIR}: its flash does not keep what it is sent.",
    "verify_differs": f"{_REPAIR}: it does not hold what it was sent, or a lock of it is open.",
    "stamp_differs": f"{_KEEP}: its stamp does not name what was issued to it.",
    "stamp_malformed": f"{_KEEP}: its stamp is malformed. If all boards do so, their firmware is"
    " the wrong one.",
    "stamp_signature": f"{_KEEP}: its stamp is not signed with the key that was certified.",
    "stamp_locks_open": f"{_REPAIR}: a lock that the product demands is open.",
    "step_timeout": "Present the board again. If all boards take as long, `timeout_s` of this step in the"
    " recipe is too short.",
    "no_step": "Take the step out of the recipe, or set the product's `driver` in agent.toml.",
    "no_firmware": "Present the board again, then take it to the repair desk: its firmware does not start, or"
    " the recipe leaves out `flash`.",
    "chip_changed": "Present both boards again, one after the other: they were exchanged on this port.",
    # The ESP32 family.
    "burn_failed": "Put the board aside: one of its eFuses cannot take its value.",
    "chip_sealed": "Put the board aside: it is locked, and does not run exactly this bundle.",
    "first_boot_slow": "Present the board again. If all are slow, `first_boot_timeout_s` is too short for"
    " this flash.",
    "image_altered": "Stop the line and call the company: somebody changes the station's files.",
    "worker_died": "Present the board again: esptool's process was replaced.",
    "worker_hung": "Present the board again: esptool's process was replaced.",
    "worker_junk": "Present the board again. If it never works, install the station anew.",
    "esptool_failed": _AGAIN,
}
