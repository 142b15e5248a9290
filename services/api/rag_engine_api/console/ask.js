// Questions and their answers, piece by piece, with citations that open.

import { events, json, placed } from "./api.js";
import { announce, byId, counted, el, foreign, trouble } from "./dom.js";
import { prose } from "./prose.js";
import { closeSource, openSource, whereabouts } from "./source.js";

const MODES = {
  graph: "Words, meaning, and the names in your question",
  fusion: "Words and meaning",
  naive: "Meaning alone",
};
const REMEMBERED = 6; // turns of the conversation that go with a question

let turns = []; // what a language model answered: {role, content}
let asking = null; // what stops the answer that is under way

/** Forget the conversation. */
export function clear() {
  asking?.abort();
  turns = [];
  byId("thread").replaceChildren();
  byId("welcome").hidden = false;
  byId("clear").hidden = true;
  closeSource();
}

async function ask(question) {
  const turn = begun(question);
  const stop = new AbortController();
  asking = stop;
  sendButton("Stop");
  announce("Answering…");
  try {
    await answered(question, turn, stop.signal);
  } catch (problem) {
    if (problem.name === "AbortError") turn.foot.replaceChildren(el("p", { class: "quiet" }, "Stopped."));
    else turn.foot.replaceChildren(trouble(problem, again(question)));
  } finally {
    turn.answer.removeAttribute("aria-busy");
    if (asking === stop) {
      asking = null;
      sendButton("Ask");
    }
  }
}

function again(question) {
  return el("button", { type: "button", click: () => ask(question) }, "Ask again");
}

function begun(question) {
  const answer = el("div", { class: "answer", "aria-busy": "true" }, el("p", { class: "waiting" }, "Searching"));
  const foot = el("div", { class: "foot" });
  const article = el("article", { class: "turn" }, el("h2", { dir: "auto" }, question), answer, foot);
  byId("welcome").hidden = true;
  byId("clear").hidden = false;
  byId("thread").append(article);
  article.scrollIntoView({ block: "start" });
  return { article, answer, foot };
}

async function answered(question, turn, signal) {
  const body = { question, mode: byId("mode").value, history: turns.slice(-REMEMBERED) };
  const painter = new Painter(turn.answer);
  for await (const { event, data } of events(placed("query/stream"), { json: body, signal })) {
    if (event === "text") painter.add(data.text);
    else if (event === "problem") throw data;
    else if (event === "answer") {
      painter.finish(data);
      turn.foot.replaceChildren(...below(data));
      announce(`Answer: ${data.answer}`);
      if (data.extractive) await withPassages(body, data, turn, signal);
      else turns.push({ role: "user", content: question }, { role: "assistant", content: data.answer });
      return;
    }
  }
  throw new Error("The answer broke off. Ask again.");
}

/** Shows a text that grows, once a frame at most. */
class Painter {
  constructor(place) {
    this.place = place;
    this.text = "";
    this.due = 0;
  }

  add(text) {
    this.text += text;
    this.due ||= requestAnimationFrame(() => {
      this.due = 0;
      this.paint((number) => el("span", { class: "cite" }, String(number)));
    });
  }

  finish(answer) {
    cancelAnimationFrame(this.due);
    this.text = answer.answer;
    const cited = new Map(answer.references.map((one) => [one.number, one]));
    this.paint((number) => (cited.has(number) ? citation(cited.get(number)) : null));
  }

  paint(cite) {
    this.place.replaceChildren(...prose(this.text, cite));
  }
}

function citation(reference) {
  const place = [reference.document, ...whereabouts(reference)].join(", ");
  return el(
    "button",
    { type: "button", class: "cite", title: place, "aria-label": `Source ${reference.number}: ${place}`, click: () => openSource(reference) },
    String(reference.number),
  );
}

function below(answer) {
  const cited = new Set(answer.references.map((one) => one.number));
  const others = answer.context.filter((one) => !cited.has(one.number));
  return [
    ...answer.warnings.map((one) => el("p", { class: "note" }, one)),
    answer.references.length ? sources("Sources", answer.references) : null,
    others.length
      ? el("details", {}, el("summary", {}, `${counted(others.length, "other passage")} found`), list(others))
      : null,
    el("p", { class: "produced quiet" }, produced(answer).join(" · ")),
  ].filter(Boolean);
}

function sources(title, references) {
  return el("section", { class: "sources" }, el("h3", {}, title), list(references));
}

function list(references) {
  return el("ul", {}, references.map((one) => el("li", {}, card(one))));
}

function card(reference) {
  return el(
    "button",
    { type: "button", class: "card", "data-number": String(reference.number), click: () => openSource(reference) },
    el("span", { class: "number" }, String(reference.number)),
    el(
      "span",
      { class: "card-text" },
      el("strong", {}, foreign(reference.document)),
      el("span", { class: "quiet" }, foreign(whereabouts(reference).join(" · "))),
    ),
  );
}

function produced(answer) {
  const seconds = Object.values(answer.timings).reduce((sum, one) => sum + one, 0);
  const tokens = answer.usage ? answer.usage.prompt_tokens + answer.usage.completion_tokens : 0;
  return [
    answer.extractive ? "Quoted from the documents" : `Written by ${answer.model}`,
    `mode ${answer.mode}`,
    tokens ? counted(tokens, "token") : null,
    `${seconds.toFixed(2)} s`,
  ].filter(Boolean);
}

/** Where no model wrote the answer, what was found matters most: the passages' own words. */
async function withPassages(body, answer, turn, signal) {
  const { passages } = await json(placed("search"), { json: body, signal });
  for (const { number, document_id: id, start, text } of passages) {
    const same = answer.context.some(
      (one) => one.number === number && one.document_id === id && one.start === start,
    );
    const place = turn.foot.querySelector(`[data-number="${Number(number)}"] .card-text`);
    if (same && place) place.append(el("span", { class: "passage", dir: "auto" }, withoutHeadings(text)));
  }
}

/** They stand above the passage already. */
function withoutHeadings(text) {
  return text.replace(/^(#{1,6} .*\n\s*)+(?=.)/, "");
}

function sendButton(words) {
  byId("send").textContent = words;
  byId("send").classList.toggle("stop", words === "Stop");
}

function grow() {
  const field = byId("question");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 200)}px`;
}

function submitted(event) {
  event.preventDefault();
  if (asking) {
    asking.abort();
    return;
  }
  const field = byId("question");
  const question = field.value.trim();
  if (!question) return field.focus();
  field.value = "";
  grow();
  ask(question);
}

/** Let the form ask. */
export function start() {
  const hint = () => (byId("mode-hint").textContent = MODES[byId("mode").value]);
  byId("mode").append(...Object.keys(MODES).map((one) => el("option", { value: one }, `Mode: ${one}`)));
  byId("mode").addEventListener("change", hint);
  hint();
  byId("question-form").addEventListener("submit", submitted);
  byId("question").addEventListener("input", grow);
  byId("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submitted(event);
  });
  byId("clear").addEventListener("click", () => {
    clear();
    byId("question").focus();
  });
}
