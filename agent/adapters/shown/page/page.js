// Shows what the station says, and says so in big letters when it says nothing.
"use strict";

const SILENCE_MS = 6000; // the station speaks every two seconds
const AGAIN_MS = 2000;
const SAY_MS = 4000; // verdicts are read out together, and no more often than this
const SAY_MOST = 6; // ports in one such sentence
const LEAST_UNIT = 10.5; // px; below it nobody reads a tile, and the page scrolls
const SCROLL_UNIT = 12; // px, of its tiles then
const SIZES = ["", "small", "small smaller", "small smaller least"]; // of a tile's texts, until they fit
const WORDS = {
  empty: "no board", gone: "unplugged", working: "", waiting: "waits",
  pass: "PASS", fail: "FAIL", parked: "PARKED",
};
const UNDER_WAY = new Set(["working", "waiting"]);
const VERDICTS = new Set(["pass", "fail", "parked"]);
const tiles = new Map(); // port to its elements
let source = null;
let heardAt = null; // performance.now() of the last word
let lastTime = null; // what the clock said then
let again = null;
let laid = ""; // what the layout was made for
let unsaid = new Map(); // port to its verdict, until it is read out
let saying = null;

function minutes(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${two(whole % 60)}`;
}

function part(parent, name, kind = "div") {
  const element = make(kind, name);
  parent.append(element);
  return element;
}

function newTile() {
  const root = make("article");
  const top = part(root, "top");
  const tile = { root, size: "", look: "", place: part(top, "place", "h2"), time: part(top, "time") };
  const middle = part(root, "middle");
  const said = part(middle, "said");
  tile.shape = shape();
  said.append(tile.shape);
  tile.word = part(said, "word");
  tile.detail = part(middle, "detail");
  tile.bar = part(middle, "bar");
  tile.fill = part(tile.bar, "fill");
  tile.bar.setAttribute("role", "progressbar");
  const bottom = part(root, "bottom");
  tile.serial = part(bottom, "serial", "a");
  tile.share = part(bottom, "share");
  return tile;
}

function detailOf(port, state, lineIsDown) {
  if (state === "fail" || state === "parked") {
    return [port.code && port.step ? `${port.code} at ${port.step}` : port.code, port.remedy || port.detail]
      .filter(Boolean).join(". ");
  }
  return state === "waiting" && !lineIsDown ? port.detail : "";
}

function showTile(tile, port, lineIsDown) {
  const state = Object.hasOwn(WORDS, port.state) ? port.state : "waiting"; // never good by mistake
  const stopped = lineIsDown && state === "waiting";
  const detail = detailOf(port, state, lineIsDown);
  const name = port.short || port.port;
  const word = state === "working" ? port.step || "starts" : WORDS[state];
  if (tile.port && tile.port.state !== port.state && VERDICTS.has(state)) sayLater(name, word, port.code);
  tile.port = port;
  tile.look = `tile ${state}${stopped ? " stopped" : ""}`;
  tile.root.className = `${tile.look} ${tile.size}`;
  tile.root.dataset.port = port.port;
  const label = plain(`Port ${name}: ${stopped ? "waits for the line" : word}`);
  if (tile.root.getAttribute("aria-label") !== label) tile.root.setAttribute("aria-label", label);
  tile.place.title = plain(port.port);
  put(tile.place, name);
  put(tile.word, word);
  setShape(tile.shape, state);
  put(tile.detail, detail);
  showBoard(tile, port);
  put(tile.share, state === "working" && port.step_percent !== null ? `${port.step_percent} %` : "");
  tile.fill.style.width = `${port.percent}%`;
  tile.bar.setAttribute("aria-label", plain(`Port ${name}, whole way`));
  tile.bar.setAttribute("aria-valuenow", String(port.percent));
}

function showBoard(tile, port) {
  put(tile.serial, port.serial_number || port.chip_id);
  const board = port.chip_id || port.serial_number;
  const href = board && !UNDER_WAY.has(port.state) ? `boards/${inPath(board)}` : "";
  if (href && tile.serial.getAttribute("href") !== href) tile.serial.setAttribute("href", href);
  if (!href) tile.serial.removeAttribute("href");
}

function sayLater(name, word, code) {
  unsaid.set(name, code ? `${word}, ${code}` : word);
  if (saying === null) saying = setTimeout(say, SAY_MS);
}

function say() {
  const sentences = [...unsaid].slice(0, SAY_MOST).map(([name, word]) => `Port ${name} ${word}.`);
  if (unsaid.size > SAY_MOST) sentences.push(`And ${unsaid.size - SAY_MOST} more.`);
  unsaid = new Map();
  saying = null;
  put(at("said"), sentences.join(" "));
}

function showLine(line) {
  at("line").hidden = !line;
  if (!line) return;
  at("line").classList.toggle("stop", line.stop);
  put(at("line-what"), line.stop ? "STOP: no board can pass" : "Line down: all boards wait");
  put(at("line-since"), `since ${clock(new Date(line.since))}`);
  put(at("line-detail"), [line.detail, `(${line.code})`].filter(Boolean).join(" "));
  put(at("line-remedy"), line.remedy);
}

function showShift(state) {
  const shift = state.shift;
  put(at("order"), state.work_order || "No work order");
  put(at("passed"), String(shift.passed));
  put(at("failed"), String(shift.failed));
  put(at("parked"), String(shift.parked));
  put(at("yield"), shift.passed + shift.failed ? `${shift.yield_percent.toFixed(1)} %` : "–");
  put(at("since"), clock(new Date(shift.since)));
  put(at("version"), state.version ? `Birthmark ${state.version}` : "");
  const notice = state.notices[0];
  at("notice").hidden = !notice;
  put(at("notice"), notice ? `${clock(new Date(notice.time))}  ${notice.text}` : "");
}

function show(state) {
  const main = at("tiles");
  const there = new Set(state.ports.map((port) => port.port));
  for (const [name, tile] of tiles) {
    if (!there.has(name)) { tile.root.remove(); tiles.delete(name); }
  }
  state.ports.forEach((port, index) => {
    if (!tiles.has(port.port)) tiles.set(port.port, newTile());
    const tile = tiles.get(port.port);
    if (main.children[index] !== tile.root) main.insertBefore(tile.root, main.children[index] || null);
    showTile(tile, port, Boolean(state.line));
  });
  at("nothing").hidden = tiles.size > 0;
  main.hidden = tiles.size === 0;
  showLine(state.line);
  showShift(state);
  lay();
  tick();
}

// As many columns as make the tiles largest. Where they would be too small, or a text would be cut, the page
// scrolls down.
function lay() {
  const main = at("tiles");
  const made = [innerWidth, innerHeight, at("line").offsetHeight, at("notice").textContent,
    ...[...tiles.values()].map((tile) => `${tile.look} ${tile.detail.textContent}`)].join("\n");
  if (!tiles.size || made === laid) return;
  laid = made;
  document.body.classList.remove("scrolls");
  const box = getComputedStyle(main);
  const width = main.clientWidth - parseFloat(box.paddingLeft) - parseFloat(box.paddingRight);
  const height = main.clientHeight - parseFloat(box.paddingBottom);
  let best = { unit: 0, columns: 1 };
  for (let columns = 1; columns <= tiles.size; columns += 1) {
    const rows = Math.ceil(tiles.size / columns);
    const unit = Math.min(width / columns / 14.5, height / rows / 9.6);
    if (unit > best.unit) best = { unit, columns };
  }
  setGrid(best);
  if (best.unit < LEAST_UNIT) {
    const columns = Math.max(1, Math.min(tiles.size, Math.floor(width / (14.5 * SCROLL_UNIT))));
    setGrid({ unit: Math.min(width / columns / 14.5, 2 * SCROLL_UNIT), columns });
    document.body.classList.add("scrolls");
  }
  if (!allFit()) document.body.classList.add("scrolls");
}

// Gives each tile the largest texts that fit. False if some do not fit at all.
function allFit() {
  let cut = [...tiles.values()];
  for (const size of SIZES) {
    for (const tile of cut) {
      tile.size = size;
      tile.root.className = `${tile.look} ${size}`;
    }
    cut = cut.filter((tile) => tile.root.scrollHeight > tile.root.clientHeight + 1);
  }
  return cut.length === 0;
}

function setGrid({ unit, columns }) {
  const style = document.documentElement.style;
  style.setProperty("--columns", String(columns));
  style.setProperty("--u", `${unit.toFixed(2)}px`);
}

// Times go on between two words of the station, by this page's own clock.
function tick() {
  const silent = heardAt === null ? Infinity : performance.now() - heardAt;
  for (const tile of tiles.values()) {
    const { state, elapsed_s: elapsed } = tile.port;
    const running = UNDER_WAY.has(state) && tile.port.chip_id;
    put(tile.time, running ? minutes(elapsed + Math.min(silent, SILENCE_MS) / 1000)
      : elapsed && state !== "empty" && state !== "gone" ? minutes(elapsed) : "");
  }
  if (silent > SILENCE_MS) lose();
}

function lose() {
  document.body.classList.add("lost");
  if (lastTime !== null) put(at("lost-since"), `Its last word came at ${clock(lastTime)}:${two(lastTime.getSeconds())}`);
  if (again === null) again = setTimeout(connect, AGAIN_MS);
}

function hear(event) {
  let state;
  try {
    state = JSON.parse(event.data);
    show(state);
  } catch (error) {
    console.error(error);
    return; // a word that cannot be shown is none: the banner comes
  }
  heardAt = performance.now();
  lastTime = new Date();
  document.body.classList.remove("lost");
}

function connect() {
  again = null;
  if (source) source.close();
  source = new EventSource("api/events");
  source.onmessage = hear;
  source.onerror = () => { source.close(); lose(); };
}

addEventListener("resize", () => { lay(); });
setInterval(tick, 500);
connect();
