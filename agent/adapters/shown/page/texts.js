// Texts that boards made are set as text and never as markup. Characters that hide, or turn what follows, are
// shown as what they are: something that does not belong there.
"use strict";

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\u2028\u2029]/gu;
const at = (id) => document.getElementById(id);
const plain = (text) => String(text ?? "").replace(HIDDEN, "\ufffd");
const two = (number) => String(number).padStart(2, "0");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
// A name as a part of a path. What is no character has no encoding.
const inPath = (text) => encodeURIComponent(text.replace(/\p{Surrogate}/gu, "\ufffd"));

function put(element, text) {
  const shown = plain(text);
  if (element.textContent !== shown) element.textContent = shown;
}

function make(kind, name, text) {
  const element = document.createElement(kind);
  if (name) element.className = name;
  if (text !== undefined) put(element, text);
  return element;
}

// What a state is, by shape: colours alone do not tell everybody.
const SHAPES = {
  pass: "M4 13l5 5L20 6",
  fail: "M8 2h8l6 6v8l-6 6H8l-6-6V8zM8 8l8 8M16 8l-8 8",
  parked: "M12 2a10 10 0 100 20 10 10 0 000-20zM9.5 8v8M14.5 8v8",
  waiting: "M5 3h14M5 21h14M7 3c0 7 10 11 10 18M17 3c0 7-10 11-10 18",
  working: "M7 4l12 8-12 8z",
  empty: "M4 12h16",
  gone: "M5 5l14 14M19 5L5 19",
};

const SVG = "http://www.w3.org/2000/svg";

function shape() {
  const icon = document.createElementNS(SVG, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("class", "shape");
  icon.setAttribute("aria-hidden", "true");
  icon.append(document.createElementNS(SVG, "path"));
  return icon;
}

function setShape(icon, state) {
  if (icon.dataset.state === state) return;
  icon.dataset.state = state;
  icon.firstChild.setAttribute("d", SHAPES[state] || SHAPES.waiting);
}
