"use strict";

// A sample is known by its place in the columns of data.rows, where doubtful ones come first.
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const PAGE = 48;
const KEY = `elixir-decisions-${data.key}`;
const decidable = document.getElementById("decisions") !== null;

const decided = new Map(); // place -> {decision, label: number of the class or -1, at}
const steps = []; // what each step has replaced: [[place, decision before or undefined], ...]
let shown = []; // places that pass the filters
let first = 0; // of the page, an index into shown
let current = 0; // sample that keys are for, an index into shown
let stored = true; // whether the browser keeps the decisions
let lastLabel = -1;

const by = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Text of strangers with control characters, and those that turn the direction of text, spelled out. */
function printable(text) {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

function className(label) {
  return label < 0 ? "none" : printable(data.classes[label]);
}

/* Filters */

function matches(place, filters) {
  const score = rows.score[place];
  return (
    (filters.label === "" || rows.label[place] === Number(filters.label)) &&
    (filters.newLabel === "" || rows.newLabel[place] === Number(filters.newLabel)) &&
    (filters.action === "" || rows.action[place] === Number(filters.action)) &&
    (!filters.decision || (filters.decision === "some") === (decision(place) !== undefined)) &&
    (score === null ? filters.least <= 0 && filters.most >= 1 : score >= filters.least && score <= filters.most) &&
    (filters.search === "" || rows.id[place].toLowerCase().includes(filters.search))
  );
}

function filter() {
  const filters = Object.fromEntries(new FormData(by("filters")));
  filters.search = filters.search.toLowerCase();
  filters.least = filters.least === "" ? 0 : Number(filters.least);
  filters.most = filters.most === "" ? 1 : Number(filters.most);
  shown = [];
  for (let place = 0; place < rows.id.length; place++) if (matches(place, filters)) shown.push(place);
  showPage(0);
}

function fillFilter(name, values, words) {
  const select = by("filters").elements[name];
  for (const value of [...new Set(values)].sort((a, b) => a - b)) select.add(new Option(words(value), value));
}

/* Pictures */

const byScroll = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => loadPictures(entry.target)),
  { rootMargin: "400px" },
);

function loadPictures(card) {
  byScroll.unobserve(card);
  const { across, down, urls } = data.sheets;
  const place = Number(card.dataset.place);
  const inSheet = place % (across * down);
  const url = `url("${urls[Math.floor(place / (across * down))]}")`;
  const position = (number) => {
    const x = (100 * (2 * (inSheet % across) + number)) / (2 * across - 1);
    return `${x}% ${(100 * Math.floor(inSheet / across)) / (down - 1)}%`;
  };
  for (const cell of card.querySelectorAll(".cell")) {
    const numbers = cell.dataset.show.split(" ").map(Number);
    cell.style.backgroundImage = numbers.map(() => url).join(", ");
    cell.style.backgroundPosition = numbers.map(position).join(", ");
    cell.style.backgroundSize = `${200 * across}% ${100 * down}%`;
    if (numbers.length === 1) continue;
    cell.style.backgroundBlendMode = "difference";
    cell.style.filter = `brightness(${data.gain})`;
  }
}

function pictures(place) {
  const box = element("div", { class: "pictures" });
  const kinds = [
    ["before", "0"],
    ["after", "1"],
    [`difference ×${data.gain}`, "0 1"],
  ];
  const count = [0, 1, 3][rows.pictures[place]];
  for (const [caption, show] of kinds.slice(0, count)) {
    const cell = element("div", { class: "cell", "data-show": show, role: "img", "aria-label": caption });
    const difference = show === "0 1";
    const frame = difference ? element("div", { class: "difference-box" }, cell) : cell;
    box.append(element("figure", {}, frame, element("figcaption", {}, caption)));
  }
  if (!count) box.append(element("p", { class: "facts" }, "no picture"));
  return box;
}

/* Cards */

function labels(place) {
  const [old, to] = [rows.label[place], rows.newLabel[place]];
  const given = element("bdi", {}, className(old));
  if (old === to) return element("p", { class: "labels" }, given);
  const next = element("bdi", {}, to < 0 ? "not in the output" : className(to));
  return element("p", { class: "labels" }, given, " → ", next);
}

function facts(place) {
  const number = (name, value) => (value === null ? [] : [`${name} ${value.toFixed(3)}`]);
  const parts = [
    `${data.actions[rows.action[place]]}: ${printable(data.reasons[rows.reason[place]])}`,
    ...number("poison score", rows.score[place]),
    ...number("confidence", rows.confidence[place]),
  ];
  return element("p", { class: "facts" }, parts.join(", "));
}

function earlier(place) {
  const [verdict, label, who, when] = data.decided[place];
  const what = verdict === "relabel" ? `relabel as ${printable(label)}` : verdict;
  const parts = [`decided: ${what}`, who && `by ${printable(who)}`, when && printable(when)].filter(Boolean);
  return element("p", { class: "earlier" }, element("bdi", {}, parts.join(", ")));
}

function card(place) {
  const name = printable(rows.id[place]);
  const node = element("li", { class: "card", tabindex: "-1", "data-place": place, "aria-label": name });
  const title = element("p", { class: "name", title: name }, element("bdi", {}, name));
  node.append(pictures(place), labels(place), facts(place), title);
  if (place in data.decided) node.append(earlier(place));
  if (decidable) node.append(choice());
  mark(node);
  byScroll.observe(node);
  return node;
}

function choice() {
  const group = element("div", { class: "choice", role: "group", "aria-label": "Decision" });
  for (const [verdict, word] of [["keep", "Keep"], ["relabel", "Relabel…"], ["drop", "Drop"]])
    group.append(element("button", { type: "button", "data-decision": verdict }, word));
  return group;
}

/** Show on a card what is decided. */
function mark(node) {
  const now = decided.get(Number(node.dataset.place));
  for (const button of node.querySelectorAll(".choice button")) {
    const chosen = now !== undefined && now.decision === button.dataset.decision;
    button.setAttribute("aria-pressed", chosen);
    if (button.dataset.decision === "relabel")
      button.textContent = chosen ? `→ ${className(now.label)}` : "Relabel…";
  }
}

/* Pages */

function showPage(start) {
  first = Math.max(0, Math.min(start, Math.floor((shown.length - 1) / PAGE) * PAGE));
  current = first;
  byScroll.disconnect();
  by("gallery").replaceChildren(...shown.slice(first, first + PAGE).map(card));
  by("gallery").firstChild?.setAttribute("tabindex", "0");
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  const number = first / PAGE + 1;
  by("count").textContent = `${shown.length.toLocaleString("en")} of ${rows.id.length.toLocaleString("en")} samples`;
  by("page").textContent = `page ${number} of ${pages}`;
  by("previous").disabled = number === 1;
  by("next").disabled = number === pages;
}

function turn(pages) {
  showPage(first + pages * PAGE);
  frame(first);
  by("gallery").scrollIntoView();
}

/** Give a sample the frame, and turn the page if it is on another. */
function frame(index) {
  if (index < 0 || index >= shown.length) return;
  if (index < first || index >= first + PAGE) showPage(Math.floor(index / PAGE) * PAGE);
  const cards = by("gallery").children;
  cards[current - first]?.setAttribute("tabindex", "-1");
  current = index;
  cards[current - first].setAttribute("tabindex", "0");
  cards[current - first].focus();
}

function columns() {
  const cards = [...by("gallery").children];
  const below = cards.findIndex((node) => node.offsetTop > cards[0].offsetTop);
  return below < 0 ? cards.length : below;
}

/* Decisions */

/** What is decided about a sample: here, or by an earlier decision that the run has applied. */
function decision(place) {
  return decided.get(place) ?? data.decided[place];
}

/** Decide about samples: "keep", "relabel" with a label, "drop", or "" to take decisions back. */
function decide(places, verdict, label = -1) {
  const at = new Date().toISOString();
  steps.push(places.map((place) => [place, decided.get(place)]));
  for (const place of places) set(place, verdict ? { decision: verdict, label, at } : undefined);
  changed();
}

function set(place, to) {
  if (to) decided.set(place, to);
  else decided.delete(place);
}

function undo() {
  const step = steps.pop();
  if (!step) return;
  for (const [place, before] of step) set(place, before);
  changed();
}

function changed() {
  for (const node of by("gallery").children) mark(node);
  summarize();
  by("apply").hidden = true; // what was exported is no longer all
  clearTimeout(changed.timer);
  changed.timer = setTimeout(store, 300);
}

function summarize() {
  const counts = { keep: 0, relabel: 0, drop: 0 };
  for (const { decision } of decided.values()) counts[decision]++;
  const parts = Object.entries(counts).filter(([, n]) => n).map(([word, n]) => `${n} ${word}`);
  const total = decided.size === 1 ? "1 decision" : `${decided.size} decisions`;
  by("decided").textContent = decided.size ? `${total}: ${parts.join(", ")}` : "No decisions yet";
  by("undo").disabled = !steps.length;
  by("export").disabled = !decided.size;
}

/** The same decision a second time takes it back. */
function toggle(place, verdict) {
  if (verdict === "relabel") return askLabel([place]);
  decide([place], decided.get(place)?.decision === verdict ? "" : verdict);
}

/** Ask for a label; to choose the one that a single sample has been given already takes the decision back. */
function askLabel(places) {
  const select = by("relabel-to");
  if (!select.length) data.classes.forEach((_, label) => select.add(new Option(className(label), label)));
  const now = places.length === 1 ? decided.get(places[0]) : undefined;
  if (now?.decision === "relabel") return decide(places, "");
  const proposed = rows.newLabel[places[0]];
  const likely = proposed >= 0 && proposed !== rows.label[places[0]] ? proposed : lastLabel;
  select.value = likely >= 0 ? likely : Math.max(0, rows.label[places[0]]);
  const what = places.length === 1 ? printable(rows.id[places[0]]) : `${places.length.toLocaleString("en")} samples`;
  by("relabel-title").textContent = `Relabel ${what}`;
  const dialog = by("relabel");
  dialog.onclose = () => {
    if (dialog.returnValue !== "relabel") return;
    lastLabel = Number(select.value);
    decide(places, "relabel", lastLabel);
  };
  dialog.returnValue = "";
  dialog.showModal();
  select.focus();
}

/* Kept by the browser, so that a page that is closed goes on where it was */

function store() {
  const decisions = [...decided].map(([place, { decision, label, at }]) => [rows.id[place], decision, data.classes[label] ?? "", at]);
  try {
    localStorage.setItem(KEY, JSON.stringify({ by: by("by").value, decisions }));
    stored = true;
  } catch {
    stored = false; // full, or switched off: leaving the page asks instead
  }
}

function recall() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEY));
  } catch {
    stored = false;
  }
  if (!kept) return;
  by("by").value = kept.by;
  const places = new Map(rows.id.map((id, place) => [id, place]));
  for (const [id, verdict, name, at] of kept.decisions) {
    const place = places.get(id);
    const label = data.classes.indexOf(name);
    const applied = place !== undefined && data.decided[place];
    const again = applied && applied[0] === verdict && (verdict !== "relabel" || applied[1] === name);
    if (place !== undefined && !again && (verdict !== "relabel" || label >= 0))
      decided.set(place, { decision: verdict, label, at });
  }
}

/* Export */

/** A cell of the file; an apostrophe, which the reader takes away, keeps a spreadsheet from seeing a formula in it. */
function cell(text) {
  const guarded = /^[=+\-@\t\r']/.test(text) ? `'${text}` : text;
  return `"${guarded.replaceAll('"', '""')}"`;
}

/** The file that `elixir decide` reads: see elixir/data/decision_files.py. */
function csv() {
  const lines = [...decided.keys()]
    .sort((a, b) => a - b)
    .map((place) => {
      const { decision, label, at } = decided.get(place);
      const name = label < 0 ? "" : data.classes[label];
      return [rows.id[place], decision, name, by("by").value, at, ""].map(cell).join(",");
    });
  return ["id,decision,label,by,at,note", ...lines, ""].join("\r\n");
}

function save() {
  const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  element("a", { href: url, download: "decisions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  by("command").textContent = `elixir decide ${folder()} --decisions decisions.csv`;
  by("apply").hidden = false;
}

/** The output folder for a shell: where this page lies on this machine, or else what the run has called it. */
function folder() {
  const suffix = "/.elixir/report.html";
  if (location.protocol === "file:" && location.pathname.endsWith(suffix)) {
    try {
      const path = decodeURIComponent(location.pathname.slice(0, -suffix.length)).replace(/^\/(?=[A-Za-z]:)/, "");
      return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'"'"'`)}'`;
    } catch {
      // a name that is no UTF-8
    }
  }
  return by("command").dataset.folder;
}

/* Keyboard and mouse */

const KEYS = {
  ArrowLeft: () => frame(current - (inGallery() ? 1 : 0)),
  ArrowRight: () => frame(current + (inGallery() ? 1 : 0)),
  ArrowUp: () => inGallery() && frame(Math.max(0, current - columns())),
  ArrowDown: () => inGallery() && frame(Math.min(shown.length - 1, current + columns())),
  "/": () => by("filters").elements.search.focus(),
  "?": () => by("help").showModal(),
};
if (decidable)
  Object.assign(KEYS, {
    k: () => inGallery() && toggle(shown[current], "keep"),
    r: () => inGallery() && toggle(shown[current], "relabel"),
    d: () => inGallery() && toggle(shown[current], "drop"),
    u: undo,
  });

function inGallery() {
  return by("gallery").contains(document.activeElement);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
  if (event.target.closest("input, select, dialog[open]")) return;
  if (KEYS[event.key]() !== false) event.preventDefault();
}

/** A choice changes; text is typed, and that a field is left changes nothing. */
function onFilter(event) {
  if ((event.type === "change") === (event.target.tagName === "SELECT")) filter();
}

function onGalleryClick(event) {
  const node = event.target.closest(".card");
  if (!node) return;
  current = first + [...by("gallery").children].indexOf(node);
  const button = event.target.closest("[data-decision]");
  if (button) toggle(Number(node.dataset.place), button.dataset.decision);
}

function onBulkClick(event) {
  const verdict = event.target.closest("[data-decision]")?.dataset.decision;
  if (verdict === undefined || !shown.length) return;
  if (verdict === "relabel") askLabel([...shown]);
  else decide(shown, verdict);
}

function start() {
  fillFilter("label", rows.label, className);
  fillFilter("newLabel", rows.newLabel, (label) => (label < 0 ? "not in the output" : className(label)));
  fillFilter("action", rows.action, (action) => data.actions[action]);
  for (const type of ["input", "change"]) by("filters").addEventListener(type, onFilter);
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  by("filters").addEventListener("reset", () => setTimeout(filter));
  by("previous").addEventListener("click", () => turn(-1));
  by("next").addEventListener("click", () => turn(1));
  by("help-button").addEventListener("click", () => by("help").showModal());
  by("gallery").addEventListener("click", onGalleryClick);
  by("gallery").addEventListener("focusin", (event) => {
    const node = event.target.closest(".card");
    if (node) current = first + [...by("gallery").children].indexOf(node);
  });
  document.addEventListener("keydown", onKey);
  if (decidable) {
    recall();
    by("bulk").addEventListener("click", onBulkClick);
    by("relabel-to").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // to open the list
      by("relabel").close("relabel");
    });
    by("undo").addEventListener("click", undo);
    by("export").addEventListener("click", save);
    by("by").addEventListener("input", changed);
    addEventListener("pagehide", store);
    addEventListener("beforeunload", (event) => !stored && decided.size && event.preventDefault());
    summarize();
  }
  filter();
}

start();
