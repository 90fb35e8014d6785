"""The figures as a table, each beside its aim."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

CFSSL_SHARE = 0.3
BOARDS_PER_S = 300
SIDE_BY_SIDE = 1.25
ADDED_MS = 150
SIGNERD_MB = 150
AGENT_MB = 100
CPU_A_BOARD = 1.03
COMPARISON = 0.02  # of signerd's CPU a board
SERVICE_BOARDS = 0.75  # of those with a child
TOKEN_BUSY = 0.99  # of the time
TOKEN_WAIT = 1.2  # times what the queue gives
HASHES_PER_S = 100_000
AUDITED_PER_S = 1_500  # boards, on two cores
STATE_BYTES = 300  # a board
ESP32_FLASHING = 1.05
ESP32_SIDE_BY_SIDE = 1.3


def print_report(result: dict[str, Any], console: Console) -> None:
    """Prints rates, then each aim with what was reached."""
    rates = Table("what", "at once", "per second", "p50 ms", "p99 ms", title="Rates")
    names = {"sign": "SignCsr", "boards": "complete boards"}
    for rate in result["signerd"]:
        _row(rates, names[rate["what"]], rate)
    for rate in result["memory"]["under_load"]:
        _row(rates, f"{names[rate['what']]}, {result['memory']['records']} records", rate)
    for rate in result["cfssl"] or []:
        _row(rates, "cfssl sign", rate)
    for rate in result["token"]["key_holder"]:
        _row(rates, "key holder signs", rate)
    rates.add_row("token signs, nothing around it", "1", str(result["token"]["raw_per_s"]), "", "")
    console.print(rates)
    evidence = Table(
        "method", "verifications/s", "times the token's signatures", title="Evidence, on one core"
    )
    for method, per_s in result["evidence"].items():
        evidence.add_row(method, str(per_s), f"{per_s / result['token']['raw_per_s']:.2f}")
    console.print(evidence)
    lines = Table("boards at once", "wall s", "added ms p50", "added ms max", "agent MB", title="Line")
    for line in result["line"]:
        cells = (
            line["boards"],
            line["wall_s"],
            line["added_ms_p50"],
            line["added_ms_max"],
            line["agent_peak_mb"],
        )
        lines.add_row(*(str(cell) for cell in cells))
    console.print(lines)
    _print_comparison(result["comparison"], console)
    _print_audit(result["audit"], console)
    _print_esp32(result["esp32"], console)
    _print_service(result["service"], console)
    _print_slow_token(result["slow_token"], console)
    aims = Table("aim", "wanted", "reached", "", title="Aims")
    for what, wanted, reached, holds in _aims(result):
        aims.add_row(what, wanted, reached, "[green]yes[/green]" if holds else "[red]no[/red]")
    console.print(aims)


def _print_comparison(comparison: dict[str, float], console: Console) -> None:
    table = Table("what", "CPU µs a board", title="No row is believed")
    for what, spent in comparison.items():
        table.add_row(what, str(spent))
    console.print(table)


def _print_audit(audit: dict[str, Any], console: Console) -> None:
    names = {
        "hashes_per_s": "entries/s from tiles, hashed and proven, one core",
        "entries_per_s": "entries/s from tiles, verified wholly, one core",
        "boards_per_s": "boards/s from signerd, evidence and stamps too, by CPU time of two cores",
        "boards_per_s_by_the_clock": "the same, on this machine",
        "export_per_s": "boards/s exported, by CPU time of two cores",
        "state_bytes": "state, bytes a board",
        "resident_mb": "auditor, MB",
        "bulk_boards_per_s": "boards/s of the bulk writer, one core",
    }
    table = Table("what", "reached", title=f"An audit of {audit['boards']} boards")
    for figure, name in names.items():
        table.add_row(name, str(audit[figure]))
    console.print(table)


def _audit_aims(audit: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    hashes, boards, state = (audit[each] for each in ("hashes_per_s", "boards_per_s", "state_bytes"))
    return [
        ("hashed and proven, entries/s", f"≥ {HASHES_PER_S}", str(hashes), hashes >= HASHES_PER_S),
        ("audited, boards/s on two cores", f"≥ {AUDITED_PER_S}", str(boards), boards >= AUDITED_PER_S),
        ("auditor's state, bytes a board", f"< {STATE_BYTES}", str(state), state < STATE_BYTES),
    ]


def _print_service(service: dict[str, Any], console: Console) -> None:
    names = {
        "boards_per_s": f"boards/s, {service['at_once']} at once",
        "cpu_ms": "CPU ms a board: signerd, service, token's process",
        "sign_ms": "SignCsr alone, p50 ms",
    }
    table = Table("what", "child", "service", "ratio", title="The key holder as a service")
    for figure, name in names.items():
        both = service[figure]
        table.add_row(name, *(str(both[side]) for side in ("child", "service", "ratio")))
    table.add_row("one durable note, alone, p50 ms", "", str(service["note_ms"]), "")
    console.print(table)


def _print_slow_token(slow: dict[str, Any], console: Console) -> None:
    stations = slow["stations"]
    table = Table("what", "reached", title="A token that takes long")
    table.add_row("32 stations at 100 ms: token busy", f"{stations['busy']:.1%}")
    table.add_row("signatures a board", str(stations["signatures_a_board"]))
    table.add_row("wait for a certificate, p50", f"{stations['p50_s']} s")
    against = stations["p99_s"] / stations["arithmetic_s"]
    table.add_row("the same, p99", f"{stations['p99_s']} s, {against:.2f} times the queue's arithmetic")
    for run in slow["at_once"]:
        done = f"{run['boards']} in {run['seconds']} s, {run['key_holders_killed']} key holders killed"
        table.add_row(f"16 boards at once, {run['sign_ms'] / 1000:g} s a signature", done)
    console.print(table)


def _print_esp32(esp32: dict[str, Any], console: Console) -> None:
    flash, way, many = esp32["flash"], esp32["way"], esp32["sixteen"]
    flashing = Table("", "wall s", "CPU s", title=f"ESP32: {flash['bytes'] / 1e6:.2f} MB onto an empty chip")
    cpu_s = f"{flash['agent_cpu_s']} + {flash['worker_cpu_s']}"
    flashing.add_row("agent: identify", str(flash["agent_identify_s"]), "")
    flashing.add_row("agent + worker: flash, and firmware starts", str(flash["agent_flash_s"]), cpu_s)
    flashing.add_row("esptool write-flash", str(flash["plain_s"]), str(flash["plain_cpu_s"]))
    flashing.add_row("of it: start and connection", str(flash["plain_connect_s"]), "")
    console.print(flashing)
    steps = Table("step", "s", "chip's s", "station's s", title="ESP32: one board alone")
    for name, step in [*way["steps"].items(), ("all", way)]:
        own = step["seconds"] - step["chip_s"]
        steps.add_row(name, f"{step['seconds']:.3f}", f"{step['chip_s']:.3f}", f"{own:.3f}")
    console.print(steps)
    uses = Table("", "CPU s, one", "MB", f"CPU s, {many['boards']}", "MB", title="ESP32: the machine's share")
    for name, one in many["alone"].items():
        both = (one, many["at_once"][name])
        uses.add_row(name, *(str(use[figure]) for use in both for figure in ("cpu_s", "peak_mb")))
    console.print(uses)


def _esp32_aims(esp32: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    whole, flash = esp32["flash"]["ratio_whole"], esp32["flash"]["ratio_flash"]
    at_once = esp32["sixteen"]["ratio"]
    wanted, flashing = f"≤ {ESP32_SIDE_BY_SIDE}", f"≤ {ESP32_FLASHING}"
    return [
        ("ESP32: flash, times esptool", flashing, f"{flash:.3f}", flash <= ESP32_FLASHING),
        ("the same, with start and connection", flashing, f"{whole:.3f}", whole <= ESP32_FLASHING),
        ("ESP32: 16 boards at once, times one", wanted, f"{at_once:.2f}", at_once <= ESP32_SIDE_BY_SIDE),
    ]


def _row(table: Table, what: str, rate: dict[str, Any]) -> None:
    per_s, p50, p99 = rate["per_s"], rate["p50_ms"], rate["p99_ms"]
    table.add_row(what, str(rate["at_once"]), f"{per_s:.0f}", f"{p50:.1f}", f"{p99:.1f}")


def _best(rates: list[dict[str, Any]]) -> float:
    return max(float(rate["per_s"]) for rate in rates)


def _slow_token_aims(slow: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    busy, times = slow["stations"]["busy"], slow["stations"]["p99_s"] / slow["stations"]["arithmetic_s"]
    killed = sum(run["key_holders_killed"] for run in slow["at_once"])
    return [
        ("slow token busy", f"≥ {TOKEN_BUSY:.0%}", f"{busy:.1%}", busy >= TOKEN_BUSY),
        ("wait at it, p99, times the queue's", f"≤ {TOKEN_WAIT}", f"{times:.2f}", times <= TOKEN_WAIT),
        ("healthy key holders killed", "0", str(killed), killed == 0),
    ]


def _aims(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    sign = _best([rate for rate in result["signerd"] if rate["what"] == "sign"])
    boards = _best([rate for rate in result["signerd"] if rate["what"] == "boards"])
    line = {entry["boards"]: entry for entry in result["line"]}
    ratio = line[16]["wall_s"] / line[1]["wall_s"]
    added = line[1]["added_ms_p50"]
    memory = result["memory"]["after_load"]["signerd_mb"]
    agent = line[16]["agent_peak_mb"]
    aims = [
        ("complete boards a second", f"{BOARDS_PER_S}", f"{boards:.0f}", boards >= BOARDS_PER_S),
        ("16 boards at once, times one", f"≤ {SIDE_BY_SIDE}", f"{ratio:.2f}", ratio <= SIDE_BY_SIDE),
        ("added a board, ms", f"≤ {ADDED_MS}", f"{added:.0f}", added <= ADDED_MS),
        (
            f"signerd with {result['memory']['records']} records, MB",
            f"< {SIGNERD_MB}",
            f"{memory:.0f}",
            memory < SIGNERD_MB,
        ),
        ("agent with 16 ports, MB", f"< {AGENT_MB}", f"{agent:.0f}", agent < AGENT_MB),
    ]
    if (cpu := result["cpu_a_board"]) is not None:
        what = f"signerd's CPU a board, times {cpu['base']}'s"
        aims.append((what, f"≤ {CPU_A_BOARD}", f"{cpu['ratio']:.3f}", cpu["ratio"] <= CPU_A_BOARD))
        compared = sum(result["comparison"].values()) / 1_000 / cpu["now_ms"]
        what = "rows compared with the ledger, share of it"
        aims.append((what, f"≤ {COMPARISON:.0%}", f"{compared:.1%}", compared <= COMPARISON))
    share = result["service"]["boards_per_s"]["ratio"]
    what = "boards/s with a key holder's service, times a child's"
    aims.append((what, f"≥ {SERVICE_BOARDS}", f"{share:.2f}", share >= SERVICE_BOARDS))
    aims += _slow_token_aims(result["slow_token"])
    aims += _esp32_aims(result["esp32"])
    aims += _audit_aims(result["audit"])
    if result["cfssl"]:
        share = sign / _best(result["cfssl"])
        aims.insert(0, ("SignCsr, times cfssl", f"≥ {CFSSL_SHARE}", f"{share:.2f}", share >= CFSSL_SHARE))
    return aims
