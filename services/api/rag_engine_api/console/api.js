// The server: requests, its errors as sentences, its events, the key and the workspace.

const ROOT = new URL("../", import.meta.url); // wherever a proxy has put the server
const KEY = "rag-engine-key";
export const DEFAULT_WORKSPACE = "default";

/** Why a request was refused or failed; `detail` ends with the remedy. */
export class Problem extends Error {
  constructor({ detail, code = "unknown", status = 0 }) {
    super(detail);
    Object.assign(this, { detail, code, status });
  }
}

let askForKey = null;

/** Who is asked for a key when the server wants one: a function of a reason, to a promise. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** The key is kept for this tab alone, and forgotten when that is closed. */
export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** The workspace stands in the page's address, so that it can be linked to. */
export function workspace() {
  return new URLSearchParams(location.search).get("workspace") || DEFAULT_WORKSPACE;
}

/** The address of something in the workspace. */
export function placed(path) {
  return new URL(`api/v1/workspaces/${encodeURIComponent(workspace())}/${path}`, ROOT);
}

export function placedDocument(id, part = "") {
  return placed(`documents/${encodeURIComponent(id)}${part}`);
}

export const WORKSPACES = new URL("api/v1/workspaces", ROOT);

function headersWithKey(headers) {
  const key = sessionStorage.getItem(KEY);
  return key === null ? headers : { ...headers, Authorization: `Bearer ${key}` };
}

/** A response, if it is a good one; asks for a key where one is needed. */
export async function request(address, { json, headers = {}, ...options } = {}) {
  if (json !== undefined) {
    options = { method: "POST", ...options, body: JSON.stringify(json) };
    headers = { ...headers, "Content-Type": "application/json" };
  }
  for (;;) {
    const response = await sent(address, { ...options, headers: headersWithKey(headers) });
    if (response.ok) return response;
    const problem = problemIn(response.status, await response.text());
    if (problem.status !== 401) throw problem;
    await askForKey(problem);
  }
}

async function sent(address, options) {
  try {
    return await fetch(address, { ...options, referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

function unreachable() {
  return new Problem({
    detail: "The server does not answer. See that it runs (rag-engine serve), and try again.",
    code: "unreachable",
  });
}

function problemIn(status, body) {
  try {
    const { detail, code } = JSON.parse(body);
    if (typeof detail === "string") return new Problem({ detail, code, status });
  } catch {
    // It is no JSON: a proxy has answered in the server's place.
  }
  const detail = `The server answered with status ${status}. Look at its log, or at the proxy's.`;
  return new Problem({ detail, status });
}

export async function json(address, options) {
  return (await request(address, options)).json();
}

/** Send a file, and hear how much of it is gone. */
export async function upload(file, { replace = false, progress }) {
  for (;;) {
    const { status, body } = await posted(file, replace, progress);
    if (status >= 200 && status < 300) return JSON.parse(body);
    const problem = status ? problemIn(status, body) : unreachable();
    if (status !== 401) throw problem;
    await askForKey(problem);
  }
}

// Of `fetch` nobody hears how much of a body was sent.
function posted(file, replace, progress) {
  const form = new FormData();
  form.append("files", file, file.name);
  if (replace) form.append("replace", "true");
  const sending = new XMLHttpRequest();
  sending.open("POST", placed("documents"));
  for (const [name, value] of Object.entries(headersWithKey({}))) {
    sending.setRequestHeader(name, value);
  }
  sending.upload.addEventListener("progress", (event) => progress(event.loaded / event.total));
  return new Promise((resolve) => {
    sending.addEventListener("loadend", () =>
      resolve({ status: sending.status, body: sending.responseText }),
    );
    sending.send(form);
  });
}

/** Server-sent events as `{id, event, data}`. (`EventSource` can bring no key.) */
export async function* events(address, options = {}) {
  const response = await request(address, options);
  if (response.status === 204) return;
  let event = { data: [] };
  for await (const line of lines(response.body)) {
    if (line === "") {
      if (event.data.length) yield { ...event, data: JSON.parse(event.data.join("\n")) };
      event = { id: event.id, data: [] };
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "data") event.data.push(value);
    else if (field === "id" || field === "event") event[field] = value;
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const whole = (rest + value).split("\n");
      rest = whole.pop();
      for (const line of whole) yield line.replace(/\r$/, "");
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  } finally {
    reader.cancel().catch(() => {}); // it may be broken already
  }
}
