"""`report.html`: the page that a person reads, prints and signs. Without scripts and without any resource.

Every name in it comes from a log that somebody else wrote, and is escaped. The policy in its head forbids
whatever an escaping that was forgotten could let in.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape as html_escape
from itertools import islice

from auditor.core.acknowledgement import read_statement
from auditor.core.findings import Finding
from auditor.core.forms import time_text
from auditor.core.report.account import Account, OrderSeen
from auditor.core.report.form import Manifest
from auditor.core.report.plots import bars
from auditor.core.successions import words_of
from auditor.errors import Malformed
from birthmark.proof import log_name

_KINDS = ("made", "stamped", "scrapped", "refused")
_DAYS = 62  # that are shown one by one; more are shown by month
_ROWS = 200  # of a table; more are in the archive's files
_LONG = 40  # characters of a cell that may be broken anywhere
LEVELS = {
    "key": "The private key was made inside a chip, by firmware that the company knows. The chip was locked"
    " before it came to the line, or its evidence measures the firmware.",
    "chip": "A genuine, counted chip took part. Its firmware could have been replaced, and so its key"
    " copied.",
    "none": "The station says so. Nothing shows that a chip took part.",
}
METHODS = {
    "hmac-sha256": "A secret of the chip that only signerd can check: its word.",
    "x509": "A key in the chip that its vendor certified. The evidence can be checked again.",
    "psa-token": "A PSA token, signed or authenticated in the chip. A signed one can be checked again.",
    "nrf91": "Signatures of the modem. They can be checked again, with the vendor's list of keys.",
    "tpm2": "A TPM certified the key. That can be checked again.",
    "none": "No evidence.",
}
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#111;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:1.8rem 0 .4rem;border-bottom:1px solid #999}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{border:1px solid #bbb;padding:.25rem .5rem;text-align:left;vertical-align:top}
td.n,th.n{text-align:right}td.l,code{overflow-wrap:anywhere}code{font-size:.85em}
.sums{display:flex;flex-wrap:wrap;gap:.6rem;padding:0;list-style:none}
.sums li{border:1px solid #999;padding:.4rem .8rem;min-width:6rem}
.sums b{display:block;font-size:1.5rem}
svg{width:100%;height:auto;font:11px system-ui,sans-serif}.grid{stroke:#ccc}.number{text-anchor:end}
.name{text-anchor:middle}.s0{fill:#1f4e79}.s1{fill:#3f9b6e}.s2{fill:#b35c00}.s3{fill:#a61c1c}
.open{border-left:4px solid #a61c1c;padding-left:.7rem}.none{border-left:4px solid #3f9b6e;padding-left:.7rem}
.sign td{height:3rem;width:50%}
@media print{body{margin:0;max-width:none;font-size:11pt}h2{break-after:avoid}svg,.sums{break-inside:avoid}}
"""


@dataclass(frozen=True, slots=True)
class Page:
    """What the page is made of."""

    account: Account
    manifest: Manifest
    findings: Sequence[tuple[Finding, Sequence[bytes]]]  # kept before, with the statements on each
    found: Sequence[Finding]  # while this was made
    log_keys: Sequence[str]


def escape(text: str) -> str:
    """Text of others: no markup, and no character that is not printed for itself, such as a mark of
    direction."""
    return html_escape("".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text))


def page_text(page: Page) -> str:
    """The whole page."""
    style = b64encode(sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    title = _title(page.manifest)
    body = "".join(
        (
            _head(page),
            _sums(page.account),
            _by_day(page.account),
            _by_station(page.account),
            _refusals(page.account),
            _levels(page.account),
            _open(page),
            _unsaid(page),
            _how(page),
            _SIGN,
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


def _title(manifest: Manifest) -> str:
    if manifest.order is not None:
        return f"Production file: order {manifest.order}"
    return f"Production file: {manifest.begin} to {manifest.end}"


def _head(page: Page) -> str:
    manifest = page.manifest
    rows = [
        ("Deployment", manifest.deployment),
        ("Log", manifest.origin),
        ("Checkpoint", f"{manifest.tree_size} entries, root {manifest.root.hex()}"),
        ("Newest entry", manifest.as_of),
        ("Made by", manifest.made_by),
    ]
    rows += [(f"Order {name}", _terms(seen)) for name, seen in page.account.orders.items()]
    return f"<h1>{escape(_title(manifest))}</h1>{_table(('', ''), rows)}"


def _terms(seen: OrderSeen) -> str:
    terms = seen.terms
    closed = "open" if seen.closed is None else f"closed {time_text(seen.closed)}"
    return (
        f"{terms.quantity} boards of product {terms.product}, level of evidence at least {terms.level},"
        f" stations: {len(terms.stations)}, from {time_text(terms.not_before)} to"
        f" {time_text(terms.not_after)}, {closed}. Product file: SHA-256 {terms.product_sha256.hex()}"
    )


def _sums(account: Account) -> str:
    counts = account.counts()
    shown = [(kind, counts[kind]) for kind in ("ordered", *_KINDS)]
    shown.append(("without a stamp", counts["without_stamp"]))
    items = "".join(f"<li><b>{count}</b>{escape(name)}</li>" for name, count in shown)
    return (
        f'<h2>In sum</h2><ul class="sums">{items}</ul>'
        "<p>Made: boards that got their first certificate. Stamped: boards that reported their finished"
        " state, signed with their own key. Scrapped: boards revoked and not certified again. Refused:"
        " calls of stations that got no certificate or no stamp. Without a stamp: certificates that are"
        " neither stamped nor revoked.</p>"
    )


def _by_day(account: Account) -> str:
    days = sorted({day for day, _, _ in account.cells})
    cut = 10 if len(days) <= _DAYS else 7
    return _by("day" if cut == 10 else "month", account, lambda day, _station: day[:cut])


def _by_station(account: Account) -> str:
    return _by("station", account, lambda _day, station: station)


def _by(what: str, account: Account, name: Callable[[str, str], str]) -> str:
    sums: dict[str, Counter[str]] = {}
    for (day, station, kind), count in sorted(account.cells.items()):
        sums.setdefault(name(day, station), Counter())[kind] += count
    rows = [(key, [counts[kind] for kind in _KINDS]) for key, counts in sorted(sums.items())]
    heads = (what, *_KINDS, "stamped of made")
    cells = [(key, *map(str, values), _share(values[1], values[0])) for key, values in rows]
    shown = [(key.rpartition("/station/")[2], values) for key, values in rows[:_DAYS]]
    picture = bars(f"Boards by {what}", _KINDS, shown) if rows else "<p>Nothing happened.</p>"
    return f"<h2>By {what}</h2>{picture}{_table(heads, cells, numbers=range(1, 6))}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _refusals(account: Account) -> str:
    rows = [(station, code, str(count)) for (station, code), count in sorted(account.refusals.items())]
    if not rows:
        return "<h2>Refusals</h2><p>None that names the order.</p>"
    return f"<h2>Refusals</h2>{_table(('station', 'code', 'count'), rows, numbers=(2,))}"


def _levels(account: Account) -> str:
    rows = [
        (level, method, str(count), f"{LEVELS.get(level, '')} {METHODS.get(method, '')}")
        for (level, method), count in sorted(account.levels.items())
    ]
    table = _table(("level", "method", "certificates", "what it says"), rows, numbers=(2,))
    return f"<h2>Levels of evidence</h2>{table}"


def _open(page: Page) -> str:
    account = page.account
    log, _ = log_name(page.manifest.origin)
    parts = [f"<p>{escape(words_of(index, entry, log))}.</p>" for index, entry in account.successions]
    said = [*_finding_rows(page.findings), *((_finding_text(item), "this run") for item in page.found)]
    if said:
        parts.append(f"<p>{len(said)} findings of the audit.</p>{_table(('finding', 'said of it'), said)}")
    missing = account.counts()["without_stamp"]
    if missing:
        rows = [
            (made.order, str(made.number), made.station, str(made.index))
            for made in islice(account.missing_stamps(), _ROWS)
        ]
        heads = ("order", "place", "station", "entry")
        parts.append(
            f"<p>{missing} certificates are neither stamped nor revoked: where are these boards?</p>"
            f"{_table(heads, rows, total=missing)}"
        )
    if page.manifest.without_record:
        count = len(page.manifest.without_record)
        parts.append(f"<p>{count} certificates have no record that agrees with the ledger.</p>")
    for seen in account.orders.values():
        left = seen.terms.quantity - len(seen.places)
        if page.manifest.order is not None and left > 0:
            state = "is open" if seen.closed is None else "was closed"
            parts.append(f"<p>{left} of the boards ordered were not made. The order {state}.</p>")
    if not parts:
        return '<h2>Open questions</h2><p class="none">None.</p>'
    return f'<h2>Open questions</h2><div class="open">{"".join(parts)}</div>'


def _finding_rows(findings: Iterable[tuple[Finding, Sequence[bytes]]]) -> Iterator[tuple[str, str]]:
    for finding, statements in findings:
        said = "; ".join(map(_word, statements))
        yield _finding_text(finding), said or "nothing: it stands open"


def _word(statement: bytes) -> str:
    try:
        value = read_statement(statement)
    except Malformed as error:
        return f"a statement that {error}"
    return f"{value['by']}, {value['at']}: {value['reason']}"


def _finding_text(finding: Finding) -> str:
    where = "" if finding.index is None else f", entry {finding.index}"
    return f"{finding.code.value} {finding.code.title}{where}: {finding.detail}"


def _unsaid(page: Page) -> str:
    manifest = page.manifest
    items = [
        "That a board works, is safe, or is sold. It says who was given an identity, and on which evidence.",
        "Whether a chip without evidence of level chip or key exists at all.",
        "What signerd alone can check: evidence by MAC rests on its word.",
        "What happened after the checkpoint: later stamps and revocations are not in it.",
        "Refusals that signerd folded together name no order, and are counted in no order's file.",
    ]
    if manifest.order is not None and manifest.whole is None:
        items.append(
            "That nothing was left out. It has the entries of this order alone. Boards left out between the"
            " first and the last place would show. A file made with --whole shows the rest too."
        )
    if not manifest.records:
        items.append(
            "Anything about certificates, evidence and stamps: it was made from tiles, which have none."
        )
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<h2>Not said here</h2><ul>{listed}</ul>"


def _how(page: Page) -> str:
    keys = "".join(f"<li><code>{escape(key)}</code></li>" for key in page.log_keys)
    rows = [(item.name, str(item.size), item.sha256.hex()) for item in page.manifest.files]
    return (
        "<h2>How to verify it</h2><p>Drop the archive on <code>verify.html</code>, run"
        " <code>birthmark-auditor report --verify FILE</code>, or follow <code>README.txt</code> in the"
        " archive, with openssl, sha256sum and python. Each wants the log's verifier key. Take it from the"
        f" company, and compare it with this one:</p><ul>{keys}</ul>"
        f"<p>The archive's files before this page:</p>{_table(('file', 'bytes', 'SHA-256'), rows)}"
    )


_SIGN = (
    '<h2>Signed</h2><table class="sign"><tr><td>Name, role</td><td>Place, date</td></tr><tr><td>SHA-256 of'
    " the archive</td><td>Signature</td></tr></table>"
)


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    total: int | None = None,
) -> str:
    right = set(numbers)
    head = "".join(f"<th{_class(at in right)}>{escape(text)}</th>" for at, text in enumerate(heads))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(at in right, len(text) > _LONG)}>{escape(text)}</td>" for at, text in enumerate(row)
        )
        + "</tr>"
        for row in rows[:_ROWS]
    )
    more = (len(rows) if total is None else total) - min(len(rows), _ROWS)
    left = f"<p>… and {more} more: the files of the archive have all.</p>" if more > 0 else ""
    top = f"<tr>{head}</tr>" if any(heads) else ""
    return f"<table>{top}{body}</table>{left}"


def _class(right: bool, long: bool = False) -> str:  # noqa: FBT001, FBT002 (a column of numbers, a cell to break)
    if right:
        return ' class="n"'
    return ' class="l"' if long else ""
