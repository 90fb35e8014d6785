// The pages of boards that are done: the shift, the last boards, one board. They ask again every ten seconds.
"use strict";

const AGAIN_MS = 10000;
const page = document.body.dataset.page;
const root = document.body.dataset.root;
const opened = new Map(); // step to whether its table is open, as somebody left it
let shown = ""; // what the page was made from
let shorts = {}; // port to its name beside the others', as on its tile
let wanted = new URLSearchParams(location.search).get("q") || "";

const when = (text) => {
  const date = new Date(text);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(date)}:${two(date.getSeconds())}`;
};
const shortly = (text) => when(text).slice(5, 16);
const percent = (value) => `${value.toFixed(1)} %`;
const seconds = (value) => `${value.toFixed(value < 10 ? 2 : 1)} s`;

function verdict(outcome) {
  const state = { PASS: "pass", FAIL: "fail", PARKED: "parked" }[outcome] || "working";
  const element = make("span", `verdict ${state}`);
  const icon = shape();
  setShape(icon, state);
  element.append(icon, outcome || "under way");
  return element;
}

const nameOf = (port) => (Object.hasOwn(shorts, port) ? shorts[port] : port);

// A name of words and signs: it breaks between them, and within one only where that is longer than any of ours.
const WORD = /[^_\-:/]{0,16}[_\-:/]*/gu;
const PIECE = /[^_\-:/]{0,12}[_\-:/]*/gu;

function pieces(text, title, each = PIECE) {
  const element = make("span");
  for (const piece of plain(text).match(each)) element.append(piece, make("wbr"));
  if (title && title !== text) element.title = plain(title);
  return element;
}

const portOf = (row) => pieces(nameOf(row.port), row.port);
const codeOf = (row) => pieces(row.code, "", WORD);

function link(board, text) {
  const element = make("a");
  element.append(pieces(text));
  element.href = `${root}boards/${inPath(board)}`;
  return element;
}

function rail(share, kind = "") {
  const outer = make("div", `rail ${kind}`);
  const inner = make("div");
  inner.style.width = `${Math.max(0, Math.min(share, 100))}%`;
  outer.append(inner);
  return outer;
}

// Columns: [heading, class, row to text or element].
function table(caption, columns, rows) {
  const element = make("table");
  element.setAttribute("aria-label", caption);
  const head = element.createTHead().insertRow();
  for (const [heading, name] of columns) {
    const cell = make("th", name, heading);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const [, name, value] of columns) {
      const cell = make("td", name);
      const content = value(row);
      cell.append(content instanceof Node ? content : plain(content));
      line.append(cell);
    }
  }
  return element;
}

function figures(list) {
  at("figures").replaceChildren(...list.map(([name, value, fine, kind]) => {
    const group = make("div");
    const term = make("dt", "", name);
    const figure = make("dd", kind || "", value);
    if (fine) figure.append(make("small", "", fine));
    group.append(term, figure);
    return group;
  }));
}

function fill(id, rows, made) {
  at(id).replaceChildren(rows.length ? made : make("p", "", "None."));
}

function showShift(shift) {
  const boards = shift.board_yield;
  put(at("when"), `since ${when(shift.since)}`);
  figures([
    ["first-pass yield", boards.boards ? percent(boards.first_pass_percent) : "–", `${boards.passed_first} of ${boards.boards} boards passed at first`],
    ["final yield", boards.boards ? percent(boards.final_percent) : "–", `${boards.passed_at_last} of ${boards.boards} boards passed in the end`],
    ["runs", String(shift.boards), `${shift.passed} passed, ${shift.failed} failed, ${shift.parked} parked`],
    ["a good board takes", shift.passed ? seconds(shift.median_s) : "–", shift.passed ? `nine of ten less than ${seconds(shift.p90_s)}` : "none passed"],
    ["waiting for signerd", shift.steps.length ? percent(shift.signerd_percent) : "–", "of the time of all steps"],
  ]);
  at("part").hidden = shift.whole;
  showFindings(shift);
  fill("faults", shift.faults, table("Failures by code and port", [
    ["code", "words", codeOf],
    ["port", "words", portOf],
    ["boards", "number", (row) => row.count],
    ["percent", "number wide", (row) => percent(row.share_percent)],
    ["with those above", "number wide", (row) => percent(row.sum_percent)],
    ["share", "share", (row) => rail(row.share_percent, "bad")],
  ], shift.faults));
  const worst = Math.max(...shift.quality.map((port) => port.failed_percent), 1);
  fill("ports", shift.quality, table("Ports", [
    ["port", "words", portOf],
    ["passed", "number", (row) => row.passed],
    ["failed", "number", (row) => row.failed],
    ["fails", "number", (row) => percent(row.failed_percent)],
    ["the others", "number wide", (row) => percent(row.others_percent)],
    ["beside the worst", "share", (row) => rail((100 * row.failed_percent) / worst, "bad")],
    ["finding", "wide", (row) => row.flagged ? "stands out" : ""],
  ], shift.quality));
  fill("steps", shift.steps, table("Steps", [
    ["step", "words", (row) => pieces(row.step)],
    ["boards", "number wide", (row) => row.boards],
    ["median", "number", (row) => seconds(row.median_s)],
    ["nine of ten", "number", (row) => seconds(row.p90_s)],
    ["longest", "number wide", (row) => seconds(row.max_s)],
    ["share of time", "share", (row) => rail(row.share_percent)],
  ], shift.steps));
  showStepTimes(shift.step_times, shift.slow_ports);
  fill("hours", shift.hours, table("Hours", [
    ["hour", "words", (row) => row.hour.slice(5, 16).replace("T", " ")],
    ["passed", "number", (row) => row.passed],
    ["failed", "number", (row) => row.failed],
    ["yield of runs", "number", (row) => row.passed + row.failed ? percent(row.yield_percent) : "–"],
    ["yield", "share", (row) => rail(row.yield_percent)],
  ], shift.hours));
}

function showStepTimes(times, slowPorts) {
  put(at("by-port-legend"), times.hours.length ? `Boards that passed, ${clockOf(times.hours[0])} to ${clockOf(times.hours.at(-1))} and on. `
    + "Thick line: the median of each hour. Broken line: what nine of ten boards stayed below." : "");
  fill("by-port", times.steps, "");
  if (!times.steps.length) return;
  at("by-port").replaceChildren(...times.steps.map((step) => {
    const box = make("details");
    box.id = `by-port-${step.step}`;
    const slow = slowPorts.filter((port) => port.step === step.step);
    const summary = make("summary", "", `${step.step}: median ${seconds(step.median_s)}`);
    for (const port of slow) summary.append(make("strong", "", `. Port ${nameOf(port.port)} takes ${longer(port)}`));
    box.open = opened.get(step.step) ?? slow.length > 0;
    box.addEventListener("toggle", () => {
      opened.set(step.step, box.open);
      fit();
    });
    box.append(summary, table(`Times of ${step.step} by port`, [
      ["port", "words", portOf],
      ["boards", "number wide", (row) => row.boards],
      ["median", "number", (row) => seconds(row.median_s)],
      ["nine of ten", "number wide", (row) => seconds(row.p90_s)],
      ["the others' ×", "number", (row) => timesOf(row, slow)],
      ["by hour", "share", (row) => chart(row, step, times.hours)],
    ], step.ports));
    return box;
  }));
}

const clockOf = (text) => text.slice(11, 16);

const longer = (port) => port.times_others === null ? `${seconds(port.median_s)}, and the others none`
  : `${port.times_others.toFixed(1)} times as long as the others`;

function timesOf(port, slow) {
  return make("span", slow.some((other) => other.port === port.port) ? "odd" : "", port.times_others === null ? "–" : port.times_others.toFixed(2));
}

function chart(port, step, hours) {
  const element = document.createElementNS(SVG, "svg");
  element.setAttribute("class", "chart");
  element.setAttribute("viewBox", `0 0 ${Math.max(hours.length, 1)} 1`);
  element.setAttribute("preserveAspectRatio", "none");
  element.setAttribute("role", "img");
  const told = hours.map((hour, index) => port.hour_median_s[index] === null ? "" : `${clockOf(hour)} ${seconds(port.hour_median_s[index])}`);
  element.setAttribute("aria-label", plain(`${step.step} at port ${nameOf(port.port)}, median by hour: ${told.filter(Boolean).join(", ")}`));
  for (const [name, values] of [["p90", port.hour_p90_s], ["median", port.hour_median_s]]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    path.setAttribute("d", way(values, step.most_s));
    element.append(path);
  }
  return element;
}

// From hour to hour; an hour without a board is a gap, and one between two gaps a dash.
function way(values, most) {
  const height = (value) => (0.95 - 0.9 * value / Math.max(most, 0.001)).toFixed(3);
  return values.map((value, index) => {
    if (value === null) return "";
    const begins = index === 0 || values[index - 1] === null;
    const alone = begins && (values[index + 1] ?? null) === null;
    if (alone) return `M${index + 0.3} ${height(value)}h.4`;
    return `${begins ? "M" : "L"}${index + 0.5} ${height(value)}`;
  }).join("");
}

function showFindings(shift) {
  const said = shift.quality.filter((port) => port.flagged).map((port) => `Port ${nameOf(port.port)} fails ${percent(port.failed_percent)} of its boards, `
    + (port.times_others === null ? "the others none." : `${port.times_others.toFixed(1)} times as often as the others (${percent(port.others_percent)}).`));
  for (const port of shift.slow_ports) {
    said.push(`Port ${nameOf(port.port)}: ${port.step} takes ${longer(port)} (${seconds(port.median_s)}, ${seconds(port.others_s)}).`);
  }
  for (const drift of shift.drifts) {
    said.push(`Port ${nameOf(drift.port)}: ${drift.step} became ${drift.last_s > drift.first_s ? "slower" : "faster"}, `
      + `from ${seconds(drift.first_s)} to ${seconds(drift.last_s)}.`);
  }
  const list = said.map((text) => make("li", "", text));
  at("out").replaceChildren(...(list.length ? list : [make("li", "none", "No port fails more often than chance explains, none is slow, and no step drifts.")]));
}

function showBoards(found) {
  put(at("found"), found.boards.length ? `${found.boards.length} runs, newest first` : "No such board.");
  fill("boards", found.boards, table("Runs", [
    ["ended", "", (row) => shortly(row.ended_at)],
    ["verdict", "", (row) => verdict(row.outcome)],
    ["serial number", "words", (row) => link(row.chip_id || String(row.run), row.serial_number || row.chip_id || `run ${row.run}`)],
    ["chip", "words wide", (row) => pieces(row.chip_id)],
    ["port", "words wide", portOf],
    ["code", "words", codeOf],
    ["took", "number wide", (row) => seconds(row.seconds)],
  ], found.boards));
}

function showBoard(board) {
  const last = board.runs[0];
  const named = board.runs.find((run) => run.serial_number) || last;
  put(at("name"), named.serial_number || last.chip_id || `Run ${last.run}`);
  document.title = `Birthmark: ${at("name").textContent}`;
  figures([
    ["chip", last.chip_id || "not read", "", "text"],
    ["serial number", named.serial_number || "none", "", "text"],
    ["work order", last.work_order, "", "text"],
    ["certificate, SHA-256", named.certificate_sha256 || "none", "", "text"],
  ]);
  at("runs").replaceChildren(...board.runs.map((run) => runOf(run, board.stamps.filter((stamp) => stamp.run === run.run))));
}

function runOf(run, stamps) {
  const element = make("section", "run");
  const heading = make("h2");
  heading.append(verdict(run.outcome), `Run ${run.run} at port ${plain(nameOf(run.port))}`);
  heading.title = plain(run.port);
  element.append(heading, make("p", "", run.ended_at ? `${when(run.started_at)}, ${seconds(run.seconds)}` : `since ${when(run.started_at)}`));
  if (run.agent) element.append(make("p", "", `birthmark-agent ${run.agent}`));
  if (run.code) element.append(make("p", "code", `${run.code} at ${run.step}`));
  if (run.detail) element.append(make("p", "", run.detail));
  if (run.remedy) element.append(make("p", "remedy", run.remedy));
  const steps = Object.entries(run.times);
  const longest = Math.max(...steps.map(([, value]) => value), 0.001);
  if (steps.length) {
    element.append(make("h3", "", "Steps"), table(`Steps of run ${run.run}`, [
      ["step", "", ([name]) => name],
      ["took", "number", ([, value]) => seconds(value)],
      ["beside the longest", "share", ([, value]) => rail((100 * value) / longest)],
    ], steps));
  }
  for (const stamp of stamps) element.append(make("p", "", stampOf(stamp)));
  if (run.log.length) element.append(logOf(run));
  return element;
}

function stampOf(stamp) {
  if (stamp.ledger_index !== null) return `Stamp recorded at ${when(stamp.answered_at)}: receipt of ledger entry ${stamp.ledger_index}.`;
  if (stamp.code) return `Stamp refused at ${when(stamp.answered_at)}: ${stamp.code}.`;
  return `Stamp waits for signerd since ${when(stamp.queued_at)}.`;
}

function logOf(run) {
  const box = make("details");
  box.append(make("summary", "", "What happened"), table(`What happened in run ${run.run}`, [
    ["second", "number", (row) => row.at_s.toFixed(2)],
    ["event", "", (row) => row.text],
  ], run.log));
  return box;
}

// A table with a name longer than any of ours is rather broken than cut.
function fit() {
  for (const one of document.querySelectorAll("table")) {
    one.classList.remove("tight");
    one.classList.toggle("tight", one.offsetWidth > one.parentElement.clientWidth);
  }
}

const PAGES = {
  shift: { from: () => "api/shift", show: showShift },
  boards: { from: () => `api/boards?q=${encodeURIComponent(wanted)}`, show: showBoards },
  board: { from: () => `../api/boards/${location.pathname.split("/").pop()}`, show: showBoard },
};

async function ask() {
  const address = PAGES[page].from();
  try {
    const answer = await fetch(address);
    const text = await answer.text();
    if (!answer.ok) throw new Error(text.trim() || `The station answers ${answer.status}.`);
    if (text !== shown) {
      const told = JSON.parse(text);
      shorts = told.short_names;
      PAGES[page].show(told);
      fit();
    }
    shown = text;
    put(at("trouble"), "");
  } catch (error) {
    put(at("trouble"), error instanceof TypeError ? "No line to the station: what stands here may be old." : error.message);
  }
  document.body.dataset.asked = address;
}

if (page === "boards") {
  at("q").value = wanted;
  at("search").addEventListener("submit", (event) => {
    event.preventDefault();
    wanted = at("q").value.trim();
    history.replaceState(null, "", `?q=${encodeURIComponent(wanted)}`);
    ask();
  });
}
if (page === "board") at("json").href = PAGES.board.from();
addEventListener("resize", fit);
ask();
setInterval(ask, AGAIN_MS);
