// Questions that the page asks in its turn: sure?, which key?, which name?

import { byId, el, foreign } from "./dom.js";
import { Problem, setKey } from "./api.js";

/** Show a modal dialog; gives the value it was closed with, "" when it was dismissed. */
function asked(title, ...content) {
  const dialog = byId("question-dialog");
  const back = document.activeElement;
  const form = el("form", { method: "dialog" }, el("h2", { id: "dialog-title" }, ...title), ...content);
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const field = form.querySelector("input");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close(field?.value.trim() ?? "yes");
    });
    dialog.addEventListener(
      "close",
      () => {
        dialog.replaceChildren(); // a key does not stay in a field that is out of sight
        if (back?.isConnected) back.focus();
        resolve(dialog.returnValue);
      },
      { once: true },
    );
  });
}

function buttons(yes, kind = "primary") {
  return el(
    "div",
    { class: "buttons" },
    el("button", { type: "button", click: () => byId("question-dialog").close("") }, "Cancel"),
    el("button", { type: "submit", class: kind }, yes),
  );
}

/** Whether a document shall go. */
export async function sureToDelete(name) {
  const text = "Its passages, names and vectors go with it. This cannot be undone.";
  return (await asked(["Delete ", foreign(name), "?"], el("p", {}, text), buttons("Delete", "danger"))) !== "";
}

/** The name of a workspace, or "". */
export function nameOfWorkspace() {
  const field = el("input", {
    id: "new-workspace",
    required: true,
    pattern: "[._\\-]*[A-Za-z0-9][A-Za-z0-9._\\-]*",
    maxlength: "64",
    autocomplete: "off",
    "aria-describedby": "workspace-rule",
  });
  return asked(
    ["Open another workspace"],
    el("label", { for: "new-workspace" }, "Name"),
    field,
    el("p", { class: "quiet", id: "workspace-rule" }, "Letters, digits, '-', '_' and '.'. The first document makes it."),
    buttons("Open"),
  );
}

let wanted = null; // many requests may want a key at once, and one is asked for

/** Ask for a key; settled when there is one. */
export function askForKey(problem) {
  wanted ??= keyFor(problem.detail, problem).finally(() => (wanted = null));
  return wanted;
}

async function keyFor(reason, problem) {
  const field = el("input", {
    id: "key-field",
    type: "password",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "rag-…",
  });
  const key = await asked(
    ["This server asks for a key"],
    el("p", {}, reason),
    el("label", { for: "key-field" }, "API key"),
    field,
    el("p", { class: "quiet" }, "Kept until this tab is closed. ", el("code", {}, "rag-engine keys create NAME"), " makes one."),
    buttons("Use key"),
  );
  if (!key) {
    throw new Problem({ ...problem, detail: "Without a key there is nothing to see here. Choose “Key” to bring one." });
  }
  setKey(key);
}
