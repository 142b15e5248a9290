// Documents: in, watched until they answer, out.

import { events, json, placed, placedDocument, request, upload, workspace } from "./api.js";
import { announce, byId, counted, el, foreign, trouble } from "./dom.js";
import { sureToDelete } from "./dialogs.js";
import { openSource } from "./source.js";

const PAGE = 50;
const LARGEST = 1000; // page of the server
const STREAMS = 3; // browsers open six connections to a server, and others are needed too
const STAGES = ["parse", "chunk", "extract", "embed", "write"];
const DOING = ["Reading", "Cutting into passages", "Finding names", "Embedding", "Writing", "Finishing"];
const UNFINISHED = ["pending", "running"];

const READY = "Answers come with the passages they rest on.";
const FIRST = el(
  "span",
  {},
  "There are none here yet. ",
  el("a", { href: "#documents" }, "Add some"),
  ", or drop them anywhere on this page.",
);

const rows = new Map(); // a document's id to its row
const waiting = []; // ids whose progress will be followed when a stream is free
let following = 0;
let limit = PAGE;
let turn = 0; // counts what was shown in rows
let era = new AbortController(); // ends when another workspace is chosen

/** Forget everything and show what the workspace has. */
export async function reload(exists) {
  era.abort();
  era = new AbortController();
  waiting.length = following = 0;
  limit = PAGE;
  rows.clear();
  byId("rows").replaceChildren();
  byId("holdings").textContent = "";
  if (exists) await refresh();
  else settle();
}

/** Bring the list up to date. */
export async function refresh() {
  const { signal } = era;
  const since = turn;
  const { versions, more } = await newest(signal);
  const listed = new Set(versions.map((one) => one.document_id));
  const late = (row) => row?.turn > since; // the list was made before
  for (const [id, row] of rows) {
    if (listed.has(id) || !row.known || late(row)) continue;
    if (row.held) row.known = null;
    else drop(id);
  }
  for (const version of versions) {
    if (!late(rows.get(version.document_id))) show(version);
    byId("rows").append(rows.get(version.document_id).element);
  }
  for (const row of rows.values()) if (!row.known) byId("rows").prepend(row.element);
  byId("more-documents").hidden = !more;
  await count(signal);
  settle();
}

/** The versions that are to be shown, whether there are more, page by page. */
async function newest(signal) {
  const versions = [];
  for (let next = null; ; ) {
    const size = Math.min(limit - versions.length, LARGEST);
    const after = next === null ? "" : `&after=${encodeURIComponent(next)}`;
    const page = await json(placed(`versions?limit=${size}${after}`), { signal });
    versions.push(...page.versions);
    next = page.next;
    if (next === null || versions.length >= limit) return { versions, more: next !== null };
  }
}

async function count(signal) {
  const stats = await json(placed("stats"), { signal });
  const parts = [counted(stats.documents, "document"), counted(stats.chunks, "passage"), counted(stats.entities, "name")];
  byId("holdings").textContent = parts.join(" · ");
}

function settle() {
  const unfinished = [...rows.values()].filter((row) => !row.known || UNFINISHED.includes(row.known.status));
  byId("unfinished").hidden = unfinished.length === 0;
  byId("unfinished").textContent = String(unfinished.length);
  byId("no-documents").hidden = rows.size > 0;
  byId("welcome-lead").replaceChildren(...(rows.size ? [READY] : [FIRST]));
}

function rowFor(id, name) {
  let row = rows.get(id);
  if (!row) {
    // `held` is one that says how a file is sent, or asks what to do about it, until that is done.
    row = { element: el("li", { class: "row" }), known: null, held: false, turn: 0 };
    rows.set(id, row);
    byId("rows").prepend(row.element);
  }
  row.name = name;
  return row;
}

function drop(id) {
  rows.get(id)?.element.remove();
  rows.delete(id);
  settle();
}

/** Show where a version stands, and follow it until its end. */
function show(version) {
  const id = version.document_id;
  const before = rows.get(id)?.known;
  const row = rowFor(id, version.source === "manual" ? "Fact added by hand" : version.source);
  row.known = version;
  const said = JSON.stringify(version);
  if (!row.held && row.said !== said) {
    paint(row, described(version), actions(version)); // and not again: it may say what went wrong
    row.said = said;
  }
  if (UNFINISHED.includes(version.status)) {
    if (!row.followed) follow(id);
  } else if (before && UNFINISHED.includes(before.status)) ended(row, version);
  settle();
}

function ended(row, version) {
  announce(`${row.name}: ${version.status}${version.error ? `. ${version.error}` : ""}`);
  count(era.signal).catch(() => {}); // the figures come with the next refresh
}

function paint(row, details, buttons) {
  row.turn = ++turn;
  row.said = null;
  const had = row.element.contains(document.activeElement) && document.activeElement.dataset.action;
  row.element.replaceChildren(
    el("div", { class: "row-text" }, el("strong", { class: "name" }, foreign(row.name)), ...details),
    el("div", { class: "actions" }, ...buttons),
  );
  if (had) (row.element.querySelector(`[data-action="${had}"]`) ?? row.element.querySelector("button"))?.focus();
}

function described(version) {
  const { status, stage, error } = version;
  if (status === "pending") return [state("waiting", "Waiting"), bar(0), error ? quiet(error) : null];
  if (status === "running") {
    const done = STAGES.indexOf(stage) + 1;
    return [state("working", DOING[done]), bar(done)];
  }
  if (status === "indexed") {
    const facts = [counted(version.chunks, "passage"), sized(version.size), dated(version.finished_at)];
    return [quiet(facts.filter(Boolean).join(" · ")), ...version.warnings.map((one) => quiet(one))];
  }
  return [state(status, status[0].toUpperCase() + status.slice(1)), error ? el("p", { class: "reason", dir: "auto" }, error) : null];
}

function state(kind, words) {
  return el("span", { class: `state ${kind}` }, words);
}

function quiet(words) {
  return el("p", { class: "quiet", dir: "auto" }, words);
}

function bar(value, max = STAGES.length) {
  return el("progress", { value: String(value), max: String(max), "aria-label": "Progress" });
}

function sized(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function dated(moment) {
  return moment && new Date(moment).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

function actions(version) {
  const { document_id: id, source, status } = version;
  const row = rows.get(id);
  const act = (action, words, kind, does) =>
    el("button", { type: "button", class: kind, "data-action": action, "aria-label": `${words} ${row.name}`, click: () => done(row, does) }, words);
  const whole = { document_id: id, document: row.name, source, start: 0, end: 0 };
  return [
    status === "indexed" ? act("view", "View", "plain", () => openSource(whole)) : null,
    status === "failed" || status === "cancelled" ? act("retry", "Retry", "plain", () => step(id, "/retry")) : null,
    UNFINISHED.includes(status) ? act("cancel", "Cancel", "plain", () => step(id, "/cancel")) : null,
    act("delete", "Delete", "plain delete", () => remove(id, row)),
  ].filter(Boolean);
}

/** Do something about a row, and say in it what went wrong. */
async function done(row, does) {
  try {
    await does();
  } catch (problem) {
    if (problem.name !== "AbortError") row.element.querySelector(".row-text").append(trouble(problem));
  }
}

async function step(id, part) {
  const response = await request(placedDocument(id, part), { method: "POST" });
  show(await response.json());
}

async function remove(id, row) {
  if (!(await sureToDelete(row.name))) return;
  const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
  await request(placedDocument(id), { method: "DELETE" });
  announce(`${row.name} was deleted.`);
  drop(id);
  (next?.querySelector("button") ?? byId("files")).focus();
  await count(era.signal);
}

// ---------------------------------------------------------------- progress

function follow(id) {
  rows.get(id).followed = true;
  waiting.push(id);
  nextStream();
}

function nextStream() {
  while (following < STREAMS && waiting.length) {
    const id = waiting.shift();
    if (!rows.has(id)) continue;
    following++;
    const { signal } = era;
    followed(id, signal)
      .catch((problem) => {
        const text = rows.get(id)?.element.querySelector(".row-text");
        if (problem.name !== "AbortError" && text) text.append(trouble(problem));
      })
      .finally(() => {
        if (signal.aborted) return;
        following--;
        const row = rows.get(id);
        if (row) row.followed = false;
        nextStream();
      });
  }
}

/** Show the events of a document to the last one; a stream that breaks off is taken up again. */
async function followed(id, signal) {
  let last = null;
  for (let pause = 500; ; pause = Math.min(pause * 2, 10_000)) {
    try {
      const headers = last === null ? {} : { "Last-Event-ID": last };
      for await (const { id: seen, event, data } of events(placedDocument(id, "/events"), { headers, signal })) {
        last = seen ?? last;
        pause = 500;
        if (event === "deleted") return drop(id);
        if (event === "problem") break;
        if (rows.has(id)) show(data);
        if (!UNFINISHED.includes(event)) return;
      }
      if (last !== null && !UNFINISHED.includes(rows.get(id)?.known?.status)) return;
    } catch (problem) {
      if (problem.code === "not_found") return drop(id);
      if (problem.code !== "unreachable" && problem.status < 429) throw problem;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    signal.throwIfAborted();
  }
}

// ---------------------------------------------------------------- in

/** Send files one after the other; a file's id is its name. */
export async function add(files) {
  const here = { place: workspace(), signal: era.signal };
  const queued = [...files].map((file) => ({ file, row: rowFor(file.name, file.name) }));
  for (const { row } of queued) {
    row.held = true;
    paint(row, [state("waiting", "Waiting to be sent"), bar(0)], []);
  }
  settle();
  for (const { file, row } of queued) {
    if (here.signal.aborted) return;
    await sent(file, row, false);
  }
}

async function sent(file, row, replace) {
  row.held = true;
  const progress = (part) => paint(row, [state("working", "Sending"), bar(part, 1)], []);
  progress(0);
  try {
    const { versions } = await upload(file, { replace, progress });
    release(file.name, versions[0].document_id);
    versions.forEach(show);
    announce(`${row.name} was accepted.`);
    document.dispatchEvent(new Event("accepted"));
  } catch (problem) {
    refused(file, row, problem);
  }
}

/** Let a row say again where its document stands, if there is one. */
function release(id, next) {
  const row = rows.get(id);
  if (!row) return;
  row.held = false;
  if (row.known) show(row.known);
  else if (id !== next) drop(id);
}

function refused(file, row, problem) {
  const conflict = problem.code === "conflict";
  const text = conflict ? "There is another document of that name." : problem.detail;
  const again = el(
    "button",
    { type: "button", "data-action": "again", click: () => sent(file, row, conflict) },
    conflict ? "Replace it" : "Send again",
  );
  const away = () => release(file.name);
  const no = el("button", { type: "button", class: "plain", click: away }, conflict ? "Keep the old one" : "Dismiss");
  paint(row, [state("failed", "Not accepted"), el("p", { class: "reason" }, text)], [again, no]);
  announce(`${row.name} was not accepted. ${text}`);
  settle();
}

// ---------------------------------------------------------------- dropping

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

/** Let files be chosen, and dropped wherever the page is. */
export function start(opened) {
  byId("files").addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
  byId("more-documents").addEventListener("click", () => {
    limit = Math.min(limit * 4, MOST);
    opened(refresh());
  });
  const overlay = byId("overlay");
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    byId("overlay-place").textContent = workspace();
    overlay.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    location.hash = "documents";
    add(event.dataTransfer.files);
  });
}
