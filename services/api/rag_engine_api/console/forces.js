// Where the nodes of a small graph go: forces (Fruchterman and Reingold, 1991), always the same way.

const ROUNDS = 300;
const FARTHEST = 150; // pixels between two that are joined, where there is room for more
const LABEL = 34; // pixels of a label under its node
const GOLDEN = Math.PI * (3 - Math.sqrt(5));

/**
 * Positions for `count` nodes, the first in the middle, inside a rectangle.
 *
 * `edges` are `{source, target, weight}`, by number of node, weights from 0 to 1. `room` is what a node
 * with its label takes, in pixels.
 */
export function laidOut(count, edges, { width, height, room }) {
  const nodes = Array.from({ length: count }, (_, i) => ({
    x: width / 2 + Math.cos(i * GOLDEN) * Math.sqrt(i / count) * width * 0.45,
    y: height / 2 + Math.sin(i * GOLDEN) * Math.sqrt(i / count) * height * 0.45,
  }));
  const ideal = Math.min(0.8 * Math.sqrt((width * height) / count), FARTHEST);
  for (let round = 0; round < ROUNDS; round++) {
    const moves = nodes.map(() => ({ x: 0, y: 0 }));
    repel(nodes, moves, ideal);
    attract(nodes, moves, edges, ideal);
    const most = Math.max(1, (width / 8) * (1 - round / ROUNDS));
    move(nodes, moves, most, { width, height, room });
  }
  for (let round = 0; round < 60; round++) separate(nodes, { width, height, room });
  return nodes;
}

function eachPair(nodes, visit) {
  for (let i = 0; i < nodes.length; i++) for (let j = 0; j < i; j++) visit(i, j);
}

function repel(nodes, moves, ideal) {
  eachPair(nodes, (i, j) => {
    const dx = nodes[i].x - nodes[j].x;
    const dy = nodes[i].y - nodes[j].y;
    const force = (ideal * ideal) / Math.max(dx * dx + dy * dy, 1);
    push(moves, i, j, dx * force, dy * force);
  });
}

function attract(nodes, moves, edges, ideal) {
  for (const { source, target, weight } of edges) {
    const dx = nodes[source].x - nodes[target].x;
    const dy = nodes[source].y - nodes[target].y;
    const force = (-Math.hypot(dx, dy) / ideal) * (0.2 + 0.6 * weight);
    push(moves, source, target, dx * force, dy * force);
  }
}

function push(moves, i, j, x, y) {
  moves[i].x += x;
  moves[i].y += y;
  moves[j].x -= x;
  moves[j].y -= y;
}

function move(nodes, moves, most, bounds) {
  nodes.forEach((node, i) => {
    if (i === 0) return;
    const length = Math.hypot(moves[i].x, moves[i].y) || 1;
    const step = Math.min(length, most) / length;
    node.x += moves[i].x * step;
    node.y += moves[i].y * step;
    keepInside(node, bounds);
  });
}

function keepInside(node, { width, height, room }) {
  node.x = Math.min(Math.max(node.x, room.x / 2), width - room.x / 2);
  node.y = Math.min(Math.max(node.y, room.y / 2), height - LABEL);
}

/** Push apart what overlaps, along the shorter way; the first node stays. */
function separate(nodes, bounds) {
  const { room } = bounds;
  eachPair(nodes, (i, j) => {
    const dx = nodes[i].x - nodes[j].x;
    const dy = nodes[i].y - nodes[j].y;
    const overX = room.x - Math.abs(dx);
    const overY = room.y - Math.abs(dy);
    if (overX <= 0 || overY <= 0) return;
    const along = overX / room.x < overY / room.y ? "x" : "y";
    const by = ((along === "x" ? overX : overY) / 2) * Math.sign((along === "x" ? dx : dy) || 1);
    nodes[i][along] += j === 0 ? 2 * by : by;
    if (j !== 0) nodes[j][along] -= by;
    keepInside(nodes[i], bounds);
    if (j !== 0) keepInside(nodes[j], bounds);
  });
}
