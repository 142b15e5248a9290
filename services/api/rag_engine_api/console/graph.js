// What surrounds a name, as a picture and in words.

import { json, placed } from "./api.js";
import { announce, byId, counted, drawn, el, foreign, trouble } from "./dom.js";
import { laidOut } from "./forces.js";
import { openSource } from "./source.js";

const LONGEST = 18; // characters of a label
const LETTER = 4; // pixels of half a letter, at most on the average
const PAUSE = 150; // milliseconds without a letter until names are looked for

let shownName = null;
let network = null; // what the picture shows

/** Show the surroundings of a name; of "" only the form. */
export async function show(name) {
  shownName = name;
  byId("entity").value = name;
  byId("surroundings").hidden = !name;
  byId("suggested").replaceChildren();
  if (!name) return suggest("", "Most mentioned");
  try {
    const words = encodeURIComponent(name);
    const [told, seen] = await Promise.all([
      json(placed(`graph/entity?name=${words}`)),
      json(placed(`graph/network?name=${words}&limit=${innerWidth < 600 ? 12 : 24}`)),
    ]);
    if (shownName !== name) return;
    network = seen;
    draw();
    byId("facts").replaceChildren(...facts(told));
    announce(`${told.name}: ${counted(told.relations.length, "neighbour")}.`);
  } catch (problem) {
    if (shownName !== name) return;
    network = null;
    byId("picture").replaceChildren();
    byId("facts").replaceChildren(trouble(problem));
    if (problem.code === "not_found") await suggest(name, "Close to it");
  }
}

/** Names to go on with; who looks for none is shown none, and no trouble over it either. */
async function suggest(name, title) {
  const names = await namesLike(name, 20).catch(() => []);
  if (names.length === 0 || shownName !== name) return;
  const chips = names.map((one) => el("a", { href: addressOf(one) }, foreign(one)));
  byId("suggested").replaceChildren(el("h3", {}, title), el("div", { class: "chips" }, chips));
}

/** Names that come closest to what was written; of "" those that most passages mention. */
async function namesLike(written, limit) {
  const search = written ? `&search=${encodeURIComponent(written)}` : "";
  const { entities } = await json(placed(`graph/entities?limit=${limit}${search}`));
  return entities.map((one) => one.name);
}

async function complete() {
  const written = byId("entity").value.trim();
  if (!written) return;
  const names = await namesLike(written, 8).catch(() => []);
  if (byId("entity").value.trim() !== written) return; // there is a newer question
  byId("names").replaceChildren(...names.map((one) => el("option", { value: one })));
}

/** Where a name's surroundings are shown. */
export function addressOf(name) {
  return `#graph/${encodeURIComponent(name)}`;
}

function draw() {
  const picture = byId("picture");
  const width = picture.clientWidth;
  if (!network || !width) return;
  const height = Math.round(Math.min(Math.max(width * 0.7, 340), 540));
  const { entities, relations } = network;
  const most = Math.max(...entities.map((one) => one.mentions));
  const heaviest = Math.max(...relations.map((one) => one.weight), 1e-9);
  const number = new Map(entities.map((one, i) => [one.key, i]));
  const edges = relations.map(({ source, target, weight }) => ({
    source: number.get(source),
    target: number.get(target),
    weight: weight / heaviest,
  }));
  const at = laidOut(entities.length, edges, { width, height, room: { x: 92, y: 52 } });
  const center = entities[0].name;
  picture.replaceChildren(
    drawn(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": `What surrounds ${center}` },
      drawn("g", { class: "edges", "aria-hidden": "true" }, edges.map((one) => line(at, one))),
      drawn("g", {}, entities.map((one, i) => node(one, at[i], Math.sqrt(one.mentions / most), i === 0 ? "central" : "", width))),
    ),
  );
}

function line(at, { source, target, weight }) {
  const [from, to] = [at[source], at[target]];
  const ends = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
  const kind = source === 0 || target === 0 ? "near" : "far";
  return drawn("line", { ...ends, class: kind, "stroke-width": (0.8 + 2.6 * weight).toFixed(2) });
}

function node({ name, type, mentions }, { x, y }, size, central, width) {
  const letters = Array.from(name);
  const label = letters.length > LONGEST ? `${letters.slice(0, LONGEST - 1).join("")}…` : name;
  const half = label.length * (central ? LETTER * 1.25 : LETTER);
  const middle = Math.max(half, Math.min(x, width - half)); // the label stays inside
  const radius = 6 + 9 * size;
  const said = [name, type, counted(mentions, "passage")].filter(Boolean).join(", ");
  return drawn(
    "a",
    { href: addressOf(name), class: `node ${central}`, "aria-label": said, "aria-current": central ? "true" : null },
    drawn("title", {}, said),
    drawn("circle", { cx: x, cy: y, r: radius.toFixed(1) }),
    drawn("text", { x: middle, y: y + radius + 13, "text-anchor": "middle" }, label),
  );
}

function facts(told) {
  return [
    el("h2", {}, foreign(told.name)),
    el(
      "p",
      { class: "quiet" },
      foreign([told.type, `in ${counted(told.mentions, "passage")}`].filter(Boolean).join(" · ")),
    ),
    told.aliases.length ? el("p", {}, "Also called ", foreign(told.aliases.join(", "))) : null,
    ...told.descriptions.map((one) => el("p", { dir: "auto" }, one)),
    told.sightings.length ? el("h3", {}, "Where it is mentioned") : null,
    told.sightings.length ? el("ul", { class: "sightings" }, told.sightings.map(sighting)) : null,
    told.relations.length ? el("h3", {}, "Joined to") : null,
    told.relations.length ? el("ul", { class: "relations" }, told.relations.map(relation)) : null,
  ].filter(Boolean);
}

function sighting(one) {
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "card", click: () => openSource(one) },
      el(
        "span",
        { class: "card-text" },
        el("span", { class: "passage", dir: "auto" }, one.text),
        el("span", { class: "quiet" }, foreign(one.document)),
      ),
    ),
  );
}

function relation(one) {
  const why = [one.keywords.join(", "), ...one.descriptions].filter(Boolean).join(". ");
  return el(
    "li",
    {},
    el("a", { href: addressOf(one.name) }, foreign(one.name)),
    el("span", { class: "quiet" }, ` ${counted(one.passages, "passage")}`),
    why ? el("p", { class: "quiet", dir: "auto" }, why) : null,
  );
}

/** Let the form look for names. */
export function start() {
  byId("entity-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("entity").value.trim();
    if (name) location.hash = addressOf(name);
  });
  let due = 0;
  byId("entity").addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(complete, PAUSE);
  });
  new ResizeObserver(draw).observe(byId("picture"));
}
