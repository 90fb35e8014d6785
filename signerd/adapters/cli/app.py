"""The command `signerd`, put together of its nouns."""

from __future__ import annotations

import typer

from signerd.adapters.cli import (
    approvals,
    backup,
    ca,
    calendar,
    certificates,
    checkpoint_keys,
    chips,
    clock,
    daemon,
    database,
    explain,
    installation,
    key_holder,
    ledger,
    operations,
    orders,
    peers,
    pin,
    products,
    recipients,
    server,
    token,
    witnesses,
)
from signerd.adapters.cli.empty_options import NothingEmpty
from signerd.adapters.cli.exits import exit_for, unexpected
from signerd.adapters.cli.options import remember

__all__ = ["build_app", "exit_for", "unexpected"]


def build_app(run: daemon.Run) -> typer.Typer:
    """All commands. `run` is the daemon."""
    app = typer.Typer(
        cls=NothingEmpty,
        help="Birthmark's signer: certifies the keys of boards on lines that you do not own.",
        no_args_is_help=True,
        add_completion=False,
        # A traceback is for those who report a fault; it must not show the values of variables.
        pretty_exceptions_enable=False,
    )
    app.callback()(remember)
    app.command("init")(installation.init)
    app.command("run")(daemon.run_command(run))
    app.command("check-config")(daemon.check_config)
    app.add_typer(database.app, name="database")
    app.add_typer(ledger.app, name="ledger")
    app.add_typer(ca.app, name="ca")
    app.add_typer(server.app, name="server")
    app.add_typer(operations.app, name="operations-ca")
    app.add_typer(checkpoint_keys.app, name="checkpoint-key")
    app.command("backup")(backup.backup)
    app.command("restore")(backup.restore)
    app.add_typer(peers.station_app(), name="station")
    app.add_typer(peers.auditor_app(), name="auditor")
    app.add_typer(products.app, name="product")
    app.add_typer(orders.app, name="order")
    app.add_typer(chips.app, name="chips")
    app.add_typer(approvals.app, name="approval")
    app.add_typer(clock.app, name="clock")
    app.add_typer(witnesses.app, name="witness")
    app.add_typer(token.app, name="token")
    app.add_typer(recipients.app, name="recipient")
    app.add_typer(key_holder.app, name="key-holder")
    app.add_typer(pin.app, name="pin")
    app.command("explain")(explain.explain)
    app.command("revoke")(certificates.revoke)
    app.command("crl")(certificates.crl)
    app.command("calendar")(calendar.calendar)
    app.add_typer(certificates.app, name="certificates")
    return app
