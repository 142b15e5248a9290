// The page as a whole: its views, the workspace, the key. Everything else is in the other modules.

import * as api from "./api.js";
import * as ask from "./ask.js";
import * as documents from "./documents.js";
import * as graph from "./graph.js";
import { askForKey, nameOfWorkspace } from "./dialogs.js";
import { byId, el, trouble } from "./dom.js";
import { closeSource } from "./source.js";

const VIEWS = ["ask", "documents", "graph"];
const ANOTHER = "\n"; // no workspace is called that

let existing = new Set();
let place = api.workspace();

/** Say at the top of the page what went wrong while something was loaded. */
async function opened(loading) {
  try {
    await loading;
    byId("trouble").replaceChildren();
  } catch (problem) {
    if (problem.name === "AbortError") return;
    const again = el("button", { type: "button", click: () => opened(load()) }, "Try again");
    byId("trouble").replaceChildren(trouble(problem, again));
  }
}

async function load() {
  const { workspaces } = await api.json(api.WORKSPACES);
  existing = new Set(workspaces);
  choices();
  byId("key").hidden = !api.hasKey();
  await documents.reload(existing.has(api.workspace()));
}

function choices() {
  const here = api.workspace();
  const names = [...new Set([api.DEFAULT_WORKSPACE, ...existing, here])].sort();
  byId("workspace").replaceChildren(
    ...names.map((one) => el("option", { value: one, selected: one === here }, one)),
    el("option", { value: ANOTHER }, "Another…"),
  );
}

async function choose() {
  let name = byId("workspace").value;
  if (name === ANOTHER) name = await nameOfWorkspace();
  if (name && name !== api.workspace()) {
    const address = new URL(location.href);
    address.searchParams.set("workspace", name);
    if (name === api.DEFAULT_WORKSPACE) address.searchParams.delete("workspace");
    address.hash = address.hash.split("/")[0];
    history.pushState(null, "", address);
    enter();
  } else choices();
}

function enter() {
  place = api.workspace();
  ask.clear();
  route();
  opened(load());
}

function route() {
  const [wanted, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS.includes(wanted) ? wanted : "ask";
  for (const one of VIEWS) byId(one).hidden = one !== view;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view[0].toUpperCase()}${view.slice(1)} · RAG Engine`;
  if (view === "graph") graph.show(decoded(rest.join("/")));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody wrote a % of their own into the address
  }
}

async function anotherKey() {
  await askForKey({ detail: "Bring another key, with other rights." }).catch(() => {});
  enter();
}

api.onKeyWanted(async (problem) => {
  await askForKey(problem);
  byId("key").hidden = false;
});
ask.start();
documents.start(opened);
graph.start();
byId("workspace").addEventListener("change", choose);
byId("key").addEventListener("click", anotherKey);
document.addEventListener("accepted", () => {
  if (existing.has(api.workspace())) return;
  existing.add(api.workspace());
  choices();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && existing.has(api.workspace())) opened(documents.refresh());
});
addEventListener("hashchange", () => {
  closeSource();
  route();
});
addEventListener("popstate", () => {
  if (api.workspace() !== place) enter();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its address would be that of a view
  byId("main").focus();
});
route();
opened(load());
