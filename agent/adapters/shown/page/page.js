// Shows what the station says, and says so in big letters when it says nothing. Texts that boards made are set
// as text and never as markup.
"use strict";

const SILENCE_MS = 6000; // the station speaks every two seconds
const AGAIN_MS = 2000;
const WORDS = {
  empty: "no board", gone: "unplugged", working: "", waiting: "waits",
  pass: "PASS", fail: "FAIL", parked: "PARKED",
};
const UNDER_WAY = new Set(["working", "waiting"]);
const tiles = new Map(); // port to its elements
let source = null;
let heardAt = null; // performance.now() of the last word
let lastTime = null; // what the clock said then
let again = null;

const at = (id) => document.getElementById(id);
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const two = (number) => String(number).padStart(2, "0");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

function minutes(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${two(whole % 60)}`;
}

function part(parent, name) {
  const element = document.createElement("div");
  element.className = name;
  parent.append(element);
  return element;
}

function newTile() {
  const root = document.createElement("article");
  const top = part(root, "top");
  const tile = { root, place: part(top, "place"), time: part(top, "time") };
  const middle = part(root, "middle");
  tile.word = part(middle, "word");
  tile.detail = part(middle, "detail");
  tile.fill = part(part(middle, "bar"), "fill");
  const bottom = part(root, "bottom");
  tile.serial = part(bottom, "serial");
  tile.share = part(bottom, "share");
  return tile;
}

function detailOf(port) {
  if (port.state === "fail" || port.state === "parked") {
    return [port.code && port.step ? `${port.code} at ${port.step}` : port.code, port.remedy || port.detail]
      .filter(Boolean).join(". ");
  }
  return port.state === "waiting" ? port.detail : "";
}

function showTile(tile, port) {
  const state = Object.hasOwn(WORDS, port.state) ? port.state : "waiting"; // never good by mistake
  tile.port = port;
  tile.root.className = `tile ${state}`;
  tile.root.dataset.port = port.port;
  put(tile.place, port.port);
  put(tile.word, state === "working" ? port.step : WORDS[state]);
  put(tile.detail, detailOf(port));
  put(tile.serial, port.serial_number || port.chip_id);
  put(tile.share, state === "working" && port.step_percent !== null ? `${port.step_percent} %` : "");
  tile.fill.style.width = `${port.percent}%`;
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
    showTile(tile, port);
  });
  const shift = state.shift;
  put(at("order"), state.work_order);
  put(at("passed"), String(shift.passed));
  put(at("failed"), String(shift.failed));
  put(at("parked"), String(shift.parked));
  put(at("yield"), shift.passed + shift.failed ? `${shift.yield_percent.toFixed(1)} %` : "–");
  put(at("since"), clock(new Date(shift.since)));
  const notice = state.notices[0];
  at("notice").hidden = !notice;
  put(at("notice"), notice ? `${clock(new Date(notice.time))}  ${notice.text}` : "");
  lay();
  tick();
}

// As many columns as make the tiles largest.
function lay() {
  const main = at("tiles");
  const count = tiles.size;
  if (!count) return;
  let best = { unit: 0, columns: 1 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const unit = Math.min(main.clientWidth / columns / 14.5, main.clientHeight / rows / 9.6);
    if (unit > best.unit) best = { unit, columns };
  }
  const style = document.documentElement.style;
  style.setProperty("--columns", String(best.columns));
  style.setProperty("--u", `${best.unit.toFixed(2)}px`);
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

document.body.classList.add("lost");
addEventListener("resize", () => { lay(); });
setInterval(tick, 500);
connect();
