"""The tables of a key holder's notes."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()
about = Table(
    "about",
    metadata,
    Column("form", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("log", Text, nullable=False),
)
administrators = Table(
    "administrators",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("threshold", Integer, nullable=False),
    Column("members", Text, nullable=False),
)
uses = Table(
    "uses",
    metadata,
    Column("request", LargeBinary, primary_key=True),
    Column("action", Text, nullable=False),
    Column("statement_sha256", LargeBinary, nullable=False),
)
orders = Table(
    "orders",
    metadata,
    Column("work_order", Text, primary_key=True),
    Column("members", Text, nullable=False),
    Column("closed", Boolean, nullable=False),
)
products = Table(
    "products",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("text", Text, nullable=False),
)
leaves = Table(
    "leaves",
    metadata,
    Column("tbs_sha256", LargeBinary, primary_key=True),
    Column("work_order", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("issuer_sha256", LargeBinary, nullable=False),
    Column("product", Text, nullable=False),
    Column("chip_id", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("certificate_serial", Text, nullable=False),  # hexadecimal
)
# RFC 5280 §4.1.2.2: unique for each issuer, or who revokes one revokes another board's too.
Index("one_certificate_a_serial", leaves.c.issuer_sha256, leaves.c.certificate_serial, unique=True)
Index("leaves_of_place", leaves.c.work_order, leaves.c.name, leaves.c.number)
Index("leaves_of_serial", leaves.c.serial_number)
counts = Table(
    "counts",
    metadata,
    Column("work_order", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("places", Integer, nullable=False),
)
given = Table(
    "given",
    metadata,
    Column("work_order", Text, primary_key=True),
    Column("places", Integer, nullable=False),  # that came from others, less those that went to them
)
active = Table(
    "active",
    metadata,
    Column("ca", Text, primary_key=True),
    Column("certificate_sha256", LargeBinary, nullable=False),
)
# The log's successor that was signed last; without a row it is the log as it was opened.
successions = Table("successions", metadata, Column("number", Integer, nullable=False))
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
