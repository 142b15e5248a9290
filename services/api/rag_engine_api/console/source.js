// A passage where it stands: its document's text, with the passage marked.

import { json, placedDocument, request } from "./api.js";
import { announce, byId, el, foreign, trouble } from "./dom.js";

const AROUND = 3000; // characters that are shown before and after the passage, and more on demand
const WIDE = matchMedia("(min-width: 1100px)");

let back = null; // where the keyboard was before
let latest = 0; // what was asked for last is shown, whatever arrives when

/** Open a passage of a document: `{document_id, document, version, pages, headings, start, end}`. */
export async function openSource(reference) {
  const mine = ++latest;
  const body = el("div", { class: "source-body", tabindex: "0", "aria-label": "Text of the document" });
  show(reference, body);
  body.append(el("p", { class: "quiet" }, "Loading…"));
  try {
    const [state, text] = await Promise.all([
      json(placedDocument(reference.document_id)),
      request(placedDocument(reference.document_id, "/text")).then((response) => response.text()),
    ]);
    if (mine !== latest) return;
    const replaced = reference.version && state.answering?.version !== reference.version;
    body.replaceChildren(...(replaced ? [note()] : []));
    excerpt(body, Array.from(text), replaced ? { start: 0, end: 0 } : reference);
    announce(replaced ? "This document was replaced." : "The passage is shown in its document.");
  } catch (problem) {
    if (mine === latest) body.replaceChildren(trouble(problem));
  }
}

/** Close it, and go back to where it was opened. */
export function closeSource() {
  latest++;
  byId("source").close();
  document.body.classList.remove("with-source");
  if (back?.isConnected) back.focus();
  back = null;
}

function note() {
  const text = "This document has been replaced since, so the passage cannot be pointed at. Ask again.";
  return el("p", { class: "note" }, text);
}

function show(reference, body) {
  const dialog = byId("source");
  if (!dialog.contains(document.activeElement)) back = document.activeElement;
  if (dialog.open) dialog.close();
  dialog.replaceChildren(heading(reference), body);
  document.body.classList.add("with-source");
  if (WIDE.matches) dialog.show();
  else dialog.showModal();
  dialog.querySelector("button").focus({ preventScroll: true });
}

function heading(reference) {
  const download = el("button", { type: "button", class: "plain", click: () => save(reference) }, "Original");
  const close = el("button", { type: "button", class: "plain", "aria-label": "Close", click: closeSource }, "✕");
  return el(
    "header",
    {},
    el(
      "div",
      { class: "names" },
      el("h2", { id: "source-title" }, foreign(reference.document)),
      el("p", { class: "quiet" }, foreign(whereabouts(reference).join(" · "))),
    ),
    el("div", { class: "actions" }, close, download),
  );
}

/** Pages and headings of a reference, as people say them. */
export function whereabouts({ document: name, pages, headings }) {
  const said = [];
  const path = headings?.[0] === name ? headings.slice(1) : headings; // a title is often the first heading
  if (pages) said.push(pages[0] === pages[1] ? `page ${pages[0]}` : `pages ${pages[0]}–${pages[1]}`);
  if (path?.length) said.push(path.join(" › "));
  return said;
}

/** Positions count characters as Python does, so the text comes as a list of them. */
function excerpt(body, characters, { start, end }) {
  const text = (from, to) => characters.slice(from, to).join("");
  const before = Math.max(0, start - AROUND);
  const after = Math.min(characters.length, end + AROUND);
  const mark = el("mark", { tabindex: "-1" }, text(start, end));
  const paper = el("div", { class: "paper", dir: "auto" }, text(before, start), mark, text(end, after));
  body.append(
    more(before > 0, "Show what comes before", () => paper.prepend(text(0, before))),
    paper,
    more(after < characters.length, "Show what comes after", () => paper.append(text(after))),
  );
  if (end > start) mark.scrollIntoView({ block: "center" });
}

function more(there, words, add) {
  if (!there) return "";
  const button = el("button", { type: "button" }, words);
  button.addEventListener("click", () => {
    add();
    button.remove();
  });
  return button;
}

async function save({ document_id: id, source }) {
  try {
    const response = await request(placedDocument(id, "/original"));
    const address = URL.createObjectURL(await response.blob());
    el("a", { href: address, download: source.split("/").pop() }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (problem) {
    byId("source").querySelector("header").after(trouble(problem));
  }
}

byId("source").addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeSource();
});
byId("source").addEventListener("cancel", (event) => {
  event.preventDefault();
  closeSource();
});
WIDE.addEventListener("change", () => {
  if (byId("source").open) closeSource();
});
