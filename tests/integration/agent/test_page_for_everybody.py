"""All pages in a real browser, from a phone to a wall: room, contrast, colours, keyboard, screen readers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from agent.adapters.journal import schema
from agent.adapters.shown.live_state import LiveState
from agent.core.events import BoardSeen, Finished, LineUp, Waiting
from harness.axe import axe_source, findings
from harness.colours import contrast, seen_apart
from harness.factory_floor import BAD, GOOD, MORNING, ORDER, STEPS, busy_floor, chip, result
from harness.page_views import (
    BOARD,
    BY_PATH,
    FLOORS,
    LONG,
    LONG_CODES,
    SIZES,
    SLOW_PORT,
    SLOW_STEP,
    empty_journal,
    line_down,
    long_names,
    write_journal,
    write_long_names,
)
from harness.served_page import TIMEOUT_S, ServedPage, chromium
from harness.shift import add_run

PAGES = ("shift", "boards", "boards?q=nobody", f"boards/{BOARD}", "boards/nobody")
# Every state at one size, and every size with the states that are hardest.
VIEWS = [
    *((floor, "", "tablet") for floor in FLOORS if floor != "sixty-four"),
    *(("line down", "", size) for size in SIZES if size != "tablet"),
    *(("sixty-four", "", size) for size in ("phone", "wall")),
    *(("one", page, "phone") for page in PAGES),
    *(("one", page, size) for page in ("shift", f"boards/{BOARD}") for size in ("upright", "screen", "wall")),
]
SIDEWAYS = "return document.documentElement.scrollWidth - innerWidth"
CUT = """
const cut = (e) => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1;
const seen = (e) => e.getClientRects().length && getComputedStyle(e).overflow !== 'visible';
return [...document.querySelectorAll('h1, .word, .detail, dd, dt, #line p, .tile')]
  .filter((e) => seen(e) && cut(e)).map((e) => e.textContent);
"""
SHOWN = """
const {dataset, classList} = document.body;
return dataset.asked || !dataset.page && !classList.contains('lost');
"""
LISTEN = """
window.heard = [];
const said = document.getElementById('said');
new MutationObserver(() => heard.push(said.textContent)).observe(said, {childList: true, subtree: true});
"""
PITCH_MM = 0.2767  # of a dot of such screens
CAPITALS = """
const draw = document.createElement('canvas').getContext('2d');
const height = (e) => {
  const {fontWeight, fontSize, fontFamily} = getComputedStyle(e);
  draw.font = `${fontWeight} ${fontSize} ${fontFamily}`;
  return draw.measureText('H').actualBoundingBoxAscent;
};
const words = [...document.querySelectorAll(arguments[0])];
return Object.fromEntries(words.map((e) => [e.textContent, height(e)]));
"""
HEADER = """
const order = document.getElementById('order');
const box = order.getBoundingClientRect();
return [box.left, box.width, box.height, box.right - innerWidth, order.textContent];
"""


NAMES = """
const lines = (node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
};
const cells = [...document.querySelectorAll('td.words:has(wbr)')];
return cells.filter((cell) => cell.textContent && cell.getClientRects().length).map((cell) => {
  const words = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  let most = 0;
  while (words.nextNode()) most = Math.max(most, lines(words.currentNode));
  return [cell.textContent, lines(cell), most];
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium(*SIZES["tablet"]) as started:
        yield started


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    write_journal(path)
    return path


def until(browser: Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, TIMEOUT_S, poll_frequency=0.05).until(lambda _: condition())


def size(browser: Chrome, name: str) -> None:
    width, height = SIZES[name]
    inner = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", inner)


def look(browser: Chrome, page: ServedPage, path: str = "") -> None:
    browser.get("about:blank")
    browser.get(page.url + path)
    until(browser, lambda: browser.execute_script(SHOWN))


@pytest.mark.check  # axe takes seconds over a wall of tiles
def test_no_view_has_a_finding_is_cut_or_scrolls_sideways(browser: Chrome, journal: Path) -> None:
    source = axe_source()
    found = {}
    for floor in dict.fromkeys(floor for floor, _, _ in VIEWS):
        with ServedPage(FLOORS[floor](), journal=journal) as page:
            for _, path, at in (view for view in VIEWS if view[0] == floor):
                size(browser, at)
                look(browser, page, path)
                problems = findings(browser, source)
                problems += [f"cut: {text}" for text in browser.execute_script(CUT)]
                if browser.execute_script(SIDEWAYS) > 0:
                    problems.append("scrolls sideways")
                if problems:
                    found[floor, path, at] = problems
    assert found == {}


def test_axe_finds_what_is_wrong(browser: Chrome) -> None:
    source = axe_source()
    with ServedPage(FLOORS["four"]()) as page:
        look(browser, page)
        assert findings(browser, source) == []
        browser.execute_script("document.querySelector('.serial').style.color = '#0a8a60'")
        assert [finding.split(":")[0] for finding in findings(browser, source)] == ["color-contrast"]


@pytest.mark.parametrize("at", SIZES)
def test_the_order_is_on_top_whole_however_long_it_is(browser: Chrome, at: str) -> None:
    order = "WO-2026-001-" + "REWORK-OF-LOT-7-" * 6
    size(browser, at)
    live = LiveState(order, STEPS)
    live.ports_listed(["1", "2"])
    with ServedPage(live) as page:
        look(browser, page)
        left, width, height, beyond, text = browser.execute_script(HEADER)
        assert text == order
        assert left >= 0 >= beyond
        assert width > 100
        assert height > 15
        assert browser.execute_script(CUT) == []


@pytest.mark.parametrize("at", SIZES)
def test_a_long_text_of_a_port_that_waits_is_whole(browser: Chrome, at: str) -> None:
    live = busy_floor(16)
    size(browser, at)
    for port in ("1.2", "1.6", "2.2"):
        live(Waiting(port, LONG))
    with ServedPage(live) as page:
        look(browser, page)
        shown = browser.find_element(By.CSS_SELECTOR, '.tile[data-port="1.6"] .detail')
        assert shown.text == LONG
        assert browser.execute_script(CUT) == []
        assert float(shown.value_of_css_property("font-size").removesuffix("px")) >= 11


def test_states_are_told_apart_by_colour_shape_and_word(browser: Chrome) -> None:
    size(browser, "screen")
    with ServedPage(busy_floor(16)) as page:
        look(browser, page)
        states: dict[str, tuple[str, str | None, str]] = {}
        for name in ("pass", "fail", "parked", "waiting", "working", "empty", "gone"):
            tile = browser.find_element(By.CLASS_NAME, name)
            ground = tile.value_of_css_property("background-color")
            if name == "gone":  # it has no ground of its own
                ground = "rgb(16, 21, 28)"
            drawn = tile.find_element(By.CSS_SELECTOR, ".shape path").get_attribute("d")
            states[name] = ground, drawn, tile.find_element(By.CLASS_NAME, "word").text
            for part in ("place", "time", "word", "detail", "serial", "share"):
                colour = tile.find_element(By.CLASS_NAME, part).value_of_css_property("color")
                assert contrast(colour, ground) >= 4.5, (name, part)
    assert len({shape for _, shape, _ in states.values()}) == len(states)
    assert len({word for _, _, word in states.values()}) == len(states)
    verdicts = [states[name][0] for name in ("pass", "fail", "parked", "working", "empty")]
    assert min(seen_apart(one, other) for one, other in combinations(verdicts, 2)) > 15


def test_one_banner_when_the_line_is_down(browser: Chrome) -> None:
    size(browser, "tablet")
    live = line_down()
    for number in range(1, 9):
        live(BoardSeen(f"1.{number}", chip(number)))
        live(Waiting(f"1.{number}", "signerd does not answer"))
    with ServedPage(live) as page:
        look(browser, page)
        banner = browser.find_element(By.ID, "line")
        assert banner.get_attribute("role") == "alert"
        assert "signerd.plant1.example:7443 does not answer (signer_unavailable)" in banner.text
        assert "See that the cable is in" in banner.text
        waiting = browser.find_elements(By.CLASS_NAME, "stopped")
        assert len(waiting) >= 8
        assert {tile.find_element(By.CLASS_NAME, "detail").text for tile in waiting} == {""}
        live(LineUp())
        until(browser, lambda: not banner.is_displayed())
        assert browser.find_elements(By.CLASS_NAME, "stopped") == []


@pytest.mark.check
def test_verdicts_are_read_out_together_and_once(browser: Chrome) -> None:
    size(browser, "tablet")
    live = busy_floor(16)
    with ServedPage(live) as page:
        look(browser, page)
        browser.execute_script(LISTEN)
        for number, port in enumerate(["1.2", "1.6", "1.7"]):
            live(Finished(result(port, number + 40, BAD if port == "1.6" else GOOD)))
        heard = until(browser, lambda: browser.execute_script("return window.heard"))
        assert heard == ["Port 1.2 PASS. Port 1.6 FAIL, first_boot_loops. Port 1.7 PASS."]
        assert browser.find_elements(By.CSS_SELECTOR, "main[aria-live], .tile[aria-live]") == []


def test_by_keyboard_to_a_board_and_back(browser: Chrome, journal: Path) -> None:
    size(browser, "tablet")
    with ServedPage(FLOORS["four"](), journal=journal) as page:
        look(browser, page, "boards")
        for _ in range(4):
            browser.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.get_attribute("id") == "q"
        outline = browser.switch_to.active_element.value_of_css_property("outline-style")
        assert outline == "solid"
        browser.switch_to.active_element.send_keys("sn-900100", Keys.ENTER)
        until(browser, lambda: "1 run" in browser.find_element(By.ID, "found").text)
        browser.find_element(By.CSS_SELECTOR, "td a").send_keys(Keys.ENTER)
        until(browser, lambda: browser.find_element(By.ID, "name").text == "SN-900100")
        verdicts = [shown.text for shown in browser.find_elements(By.CSS_SELECTOR, ".run .verdict")]
        assert verdicts == ["PASS", "FAIL", "FAIL"]
        code = browser.find_element(By.CSS_SELECTOR, ".run:nth-child(2) .code")
        assert code.text == "first_boot_loops at first-boot"


def test_nothing_moves_for_those_who_do_not_want_it(browser: Chrome) -> None:
    calm = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", calm)
    with ServedPage(FLOORS["four"]()) as page:
        look(browser, page)
        moved = browser.find_element(By.CLASS_NAME, "fill").value_of_css_property("transition-duration")
        assert moved == "0s"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_shift_says_what_stands_out(browser: Chrome, journal: Path) -> None:
    with ServedPage(FLOORS["one"](), journal=journal) as page:
        look(browser, page, "shift")
        said = [item.text for item in browser.find_elements(By.CSS_SELECTOR, "#out li")]
        assert said[0].startswith("Port 1.7 fails 15.1 % of its boards, 4.6 times as often as the others")
        assert said[1].startswith("Port 1.3: flash takes 1.")
        assert re.match(rf"Port {SLOW_PORT}: {SLOW_STEP} takes (3\.[89]|4\.[01]) times as long as", said[2])
        assert said[3].startswith("Port 1.3: flash became slower")
        assert len(said) == 4


def test_steps_by_port_and_hour(browser: Chrome, journal: Path) -> None:
    size(browser, "tablet")
    with ServedPage(FLOORS["one"](), journal=journal) as page:
        look(browser, page, "shift")
        boxes = browser.find_elements(By.CSS_SELECTOR, "#by-port details")
        said = {box.find_element(By.TAG_NAME, "summary").text: box for box in boxes}
        assert len(said) == 14
        (odd,) = (box for text, box in said.items() if "Port 1.3 takes 1." in text)
        assert odd.find_element(By.TAG_NAME, "summary").text.startswith("flash: median ")
        slow = next(text for text in said if text.startswith(f"{SLOW_STEP}: median "))
        assert re.search(rf"\. Port {SLOW_PORT} takes (3\.[89]|4\.[01]) times as long as the others$", slow)
        assert {text for text, box in said.items() if box.get_attribute("open") is not None} == {
            odd.find_element(By.TAG_NAME, "summary").text,
            slow,
        }
        rows = odd.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert [row.find_element(By.TAG_NAME, "td").text for row in rows] == [f"1.{n}" for n in range(1, 9)]
        chart = rows[2].find_element(By.CLASS_NAME, "chart")
        label = str(chart.get_attribute("aria-label"))
        assert label.startswith("flash at port 1.3, median by hour: ")
        hours = [float(value.split()[1]) for value in label.partition(": ")[2].split(", ")]
        assert len(hours) == 4
        assert hours == sorted(hours)  # five seconds more an hour
        drawn = {
            path.get_attribute("class"): path.get_attribute("d")
            for path in chart.find_elements(By.TAG_NAME, "path")
        }
        assert set(drawn) == {"median", "p90"}
        assert all(str(way).count("L") == 3 for way in drawn.values())
        for box in (odd, said[slow]):
            box.find_element(By.TAG_NAME, "summary").click()
        browser.execute_script("shown = ''; ask()")  # what is shown again stays as somebody left it
        until(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, "#by-port details[open]"))


def test_the_slow_port_is_read_on_a_phone(browser: Chrome, journal: Path) -> None:
    size(browser, "phone")
    with ServedPage(FLOORS["one"](), journal=journal) as page:
        look(browser, page, "shift")
        box = browser.find_element(By.ID, f"by-port-{SLOW_STEP}")
        (name,) = box.find_elements(By.CSS_SELECTOR, "summary strong")
        (times,) = box.find_elements(By.CSS_SELECTOR, "td .odd")
        row = times.find_element(By.XPATH, "ancestor::tr")
        assert row.find_element(By.TAG_NAME, "td").text == SLOW_PORT
        assert row.find_element(By.CLASS_NAME, "chart").size["width"] >= 60
        for shown in (name, times, *row.find_elements(By.TAG_NAME, "td")):
            assert float(shown.value_of_css_property("font-size").removesuffix("px")) >= 14
            assert 0 <= shown.rect["x"] <= shown.rect["x"] + shown.rect["width"] <= SIZES["phone"][0]


@pytest.mark.parametrize("at", ["phone", "tablet"])
def test_codes_and_ports_break_between_their_words(browser: Chrome, tmp_path: Path, at: str) -> None:
    """Also where the system named the ports: they are called as on their tiles."""
    size(browser, at)
    write_long_names(tmp_path / "journal.sqlite")
    shorts = {f"1.1.{n}:1.0-port0" for n in range(1, 17)}
    with ServedPage(long_names(), journal=tmp_path / "journal.sqlite") as page:
        for path in ("shift", "boards"):
            look(browser, page, path)
            cells = browser.execute_script(NAMES)
            names = {name for name, _, _ in cells}
            assert set(LONG_CODES) <= names
            assert "by-path" not in str(names)
            assert shorts <= names or (path, at) == ("boards", "phone")  # it leaves that column out there
            assert [cell for cell in cells if cell[2] > 1] == []  # a name's part is on one line
            assert max(lines for _, lines, _ in cells) <= (2 if at == "phone" else 1)
            assert browser.execute_script(SIDEWAYS) == 0
        look(browser, page, "shift")
        port = browser.find_element(By.CSS_SELECTOR, "#ports td.words span")
        assert (port.text, port.get_attribute("title")) == ("1.1.1:1.0-port0", BY_PATH[0])
        assert "Port 1.1.16:1.0-port0 takes" in browser.find_element(By.ID, "by-port-first-boot").text
        look(browser, page, f"boards/{chip(33)}")
        assert "at port 1.1.2:1.0-port0" in browser.find_element(By.CSS_SELECTOR, ".run h2").text


@pytest.mark.parametrize("path", ["shift", "boards"])
def test_names_longer_than_any_of_ours_are_broken_and_not_cut(
    browser: Chrome, tmp_path: Path, path: str
) -> None:
    size(browser, "phone")
    schema.create(tmp_path / "journal.sqlite")
    add_run(tmp_path / "journal.sqlite", outcome="FAIL", code="W" * 200, port="M" * 64, ended=MORNING)
    add_run(tmp_path / "journal.sqlite", outcome="FAIL", code="constructor", port="__proto__", ended=MORNING)
    with ServedPage(long_names(), journal=tmp_path / "journal.sqlite") as page:
        look(browser, page, path)
        assert browser.execute_script("return document.body.scrollWidth") == SIZES["phone"][0]
        assert "constructor" in browser.find_element(By.TAG_NAME, "main").text


def test_no_figure_is_told_of_boards_that_are_none(browser: Chrome, tmp_path: Path) -> None:
    schema.create(tmp_path / "journal.sqlite")
    add_run(tmp_path / "journal.sqlite", outcome="FAIL", code="no_answer", ended=MORNING)
    with ServedPage(long_names(), journal=tmp_path / "journal.sqlite") as page:
        look(browser, page, "shift")
        figures = browser.find_element(By.ID, "figures").text
        assert "a good board takes\n–\nnone passed" in figures
        assert "waiting for signerd\n–" in figures
        assert "0.00 s" not in figures


def test_states_are_read_from_three_metres(browser: Chrome) -> None:
    """A letter is read from 200 times its height. 24 inches have 1,080 lines, a wall's 48 inches 2,160."""
    live = busy_floor(16)
    live(Waiting("1.2", LONG))
    with ServedPage(live) as page:
        for at, words, metres in (
            ("wall", ".word", 3.0),
            ("screen", ".pass .word", 3.0),
            ("screen", ".fail .word", 2.0),
        ):
            size(browser, at)
            look(browser, page)
            heights = browser.execute_script(CAPITALS, words)
            assert heights
            assert min(heights.values()) * PITCH_MM >= metres * 1000 / 200, (at, heights)


def test_a_station_that_made_nothing_says_so(browser: Chrome, tmp_path: Path) -> None:
    empty_journal(tmp_path / "journal.sqlite")
    with ServedPage(FLOORS["empty"](), journal=tmp_path / "journal.sqlite") as page:
        look(browser, page, "shift")
        assert "–" in browser.find_element(By.ID, "figures").text
        look(browser, page, "boards")
        assert browser.find_element(By.ID, "found").text == "No such board."
        browser.get(page.url + f"boards/{ORDER}")
        until(browser, lambda: "No such board" in browser.find_element(By.ID, "trouble").text)
