// An answer as elements: paragraphs, headings, lists, code and emphasis. Whatever else it holds, links
// and images of documents above all, stays the text it is.

import { el } from "./dom.js";

const FENCE = /^ {0,3}```/;
const HEADING = /^ {0,3}#{1,6} +(.+?)#*$/;
const BULLET = /^ *[-*+•] +(.+)$/;
const NUMBERED = /^ *(\d{1,4})[.)] +(.+)$/;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*|\[(\d{1,4})\]/g;

/** Elements for a text; `cite(number)` gives that of a citation, or `null` for one unknown. */
export function prose(text, cite) {
  const blocks = [];
  let open = null; // the block that further lines belong to
  let fenced = false;
  const begin = (block) => {
    blocks.push(block);
    open = block;
  };
  for (const line of text.split("\n")) {
    if (FENCE.test(line)) {
      fenced = !fenced;
      if (fenced) begin({ kind: "pre", lines: [] });
      else open = null;
    } else if (fenced) open.lines.push(line);
    else if (!line.trim()) open = null;
    else place(line, open, begin);
  }
  return blocks.map((block) => shown(block, cite));
}

function place(line, open, begin) {
  const heading = HEADING.exec(line);
  const bullet = BULLET.exec(line);
  const numbered = NUMBERED.exec(line);
  if (heading) begin({ kind: "h3", lines: [heading[1]] });
  else if (bullet || numbered) {
    const kind = bullet ? "ul" : "ol";
    if (open?.kind !== kind) begin({ kind, start: numbered?.[1], lines: [bullet?.[1] ?? numbered[2]] });
    else open.lines.push(bullet?.[1] ?? numbered[2]);
  } else if (open?.kind === "p") open.lines.push(line);
  else if (open?.kind === "ul" || open?.kind === "ol") open.lines[open.lines.length - 1] += `\n${line.trim()}`;
  else begin({ kind: "p", lines: [line] });
}

function shown({ kind, lines, start }, cite) {
  if (kind === "pre") return el("pre", { tabindex: "0" }, el("code", {}, lines.join("\n")));
  if (kind === "p" || kind === "h3") {
    return el(kind, { dir: "auto" }, ...inline(lines.join("\n"), cite));
  }
  const items = lines.map((line) => el("li", { dir: "auto" }, ...inline(line, cite)));
  return el(kind, { start: kind === "ol" ? start : null }, ...items);
}

function inline(text, cite) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, code, strong, emphasis, number] = found;
    parts.push(text.slice(from, found.index));
    from = found.index + whole.length;
    if (code) parts.push(el("code", {}, code));
    else if (strong) parts.push(el("strong", {}, ...inline(strong, cite)));
    else if (emphasis) parts.push(el("em", {}, ...inline(emphasis, cite)));
    else parts.push(cite(Number(number)) ?? whole);
  }
  parts.push(text.slice(from));
  return parts.filter((one) => one !== "");
}
