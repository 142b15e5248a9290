// Elements, built of names and text alone: nothing here or elsewhere on this page parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that are `null` or `false` are left out; functions listen; strings are text. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same, of a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return element;
}

/** A name or a text from a document: whichever way it runs, it disturbs nothing around it. */
export function foreign(text) {
  return el("bdi", {}, text);
}

export function byId(id) {
  return document.getElementById(id);
}

/** Say something to those who listen instead of looking. */
export function announce(text) {
  byId("status").textContent = text;
}

export function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** What went wrong, in a box, with what may be done about it. */
export function trouble(problem, ...remedies) {
  const text = problem.detail ?? String(problem.message ?? problem);
  return el("div", { class: "note bad" }, el("p", {}, text), ...remedies);
}
