// What a large drawing shows besides its edges: bands, head boxes, streams, tokens, dots, names. Every
// function takes a pen (a canvas' context), the plan and the view (which part, which colours).

const NAMED_AT = 2.2; // zoom from which every dot has its name
const SHORT = 250; // pixels from a token to a node

// Whether something of this height and width around a point is in the window.
function inWindow({ window: w }, x, y, wide = 20, tall = 20) {
  return x + wide > w.left && x - wide < w.right && y + tall > w.top && y - tall < w.bottom;
}

function roundRect(pen, x, y, width, height, radius) {
  pen.beginPath();
  pen.roundRect(x, y, width, height, radius);
}

// Under the edges.
function drawGround(pen, plan, view) {
  const { colours, window: w } = view, { layout } = plan;
  view.place(pen);
  pen.fillStyle = colours.band;
  for (const [top, bottom] of plan.bands()) {
    const left = Math.min(8, w.left + 8 / view.scale * view.ratio); // under the row labels too
    roundRect(pen, left, top, layout.width - 8 - left, bottom - top, 10);
    pen.fill();
  }
  pen.lineWidth = 0.8;
  pen.font = `10px ${colours.sans}`;
  for (const box of layout.boxes) {
    if (box.y > w.bottom || box.y + box.height + 14 < w.top || box.x > w.right || box.x + box.width < w.left) continue;
    roundRect(pen, box.x, box.y, box.width, box.height, 8);
    pen.fillStyle = colours.shade;
    pen.strokeStyle = colours["pill-line"];
    pen.fill();
    pen.stroke();
    pen.fillStyle = colours.soft;
    pen.fillText(`h${box.head}`, box.x + 1, box.y + box.height + 10);
  }
  drawGroups(pen, plan, view);
  drawChips(pen, plan, view);
}

// Of the links to tokens only short ones: those that pass many rows would cover them. The node in focus has all.
function drawLinks(pen, plan, view) {
  view.place(pen);
  pen.globalAlpha = Math.min(0.5, 60 / Math.sqrt(plan.stream.length + 1));
  drawStreams(pen, plan, view, () => true);
  pen.globalAlpha = 0.22;
  drawTokenLinks(pen, plan, view, ([, , , [start, end]]) => end[1] - start[1] < SHORT);
  pen.globalAlpha = 1;
}

function drawGroups(pen, plan, view) {
  pen.strokeStyle = view.colours.ink;
  pen.fillStyle = view.colours.shade;
  pen.lineWidth = 1.2;
  pen.setLineDash([2, 3]);
  for (const { outlines, ties } of groupShapes(plan)) {
    pen.beginPath();
    for (const [from, to] of ties) { pen.moveTo(...from); pen.lineTo(...to); }
    pen.globalAlpha = 0.5;
    pen.stroke();
    pen.globalAlpha = 1;
    for (const corners of outlines) {
      pen.beginPath();
      for (const corner of corners) pen.lineTo(...corner);
      pen.closePath();
      pen.fill();
      pen.stroke();
    }
  }
  pen.setLineDash([]);
}

// Over the dots, and never smaller than a person can read.
function drawGroupNames(pen, plan, view) {
  const zoom = view.scale / view.ratio;
  pen.font = `600 ${Math.max(11, Math.min(26, 10 / zoom))}px ${view.colours.sans}`;
  pen.strokeStyle = view.colours.band;
  pen.fillStyle = view.colours.ink;
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  for (const { name, at } of groupShapes(plan)) {
    pen.strokeText(cut(name, 260), ...at);
    pen.fillText(cut(name, 260), ...at);
  }
}

function drawStreams(pen, plan, view, wanted) {
  const w = view.window;
  view.place(pen);
  pen.strokeStyle = view.colours.soft;
  pen.lineWidth = 1.2;
  pen.lineCap = "round";
  pen.setLineDash([1.5, 4]);
  pen.beginPath();
  plan.stream.forEach((link) => {
    if (!wanted(link) || !plan.joins(link.source, link.target)) return;
    const [x0, y0] = plan.bottom(link.source), [x1, y1] = plan.top(link.target), middle = (y0 + y1) / 2;
    if (y1 < w.top || y0 > w.bottom) return;
    pen.moveTo(x0, y0);
    pen.bezierCurveTo(x0, middle, x1, middle, x1, y1);
  });
  pen.stroke();
  pen.setLineDash([]);
  pen.lineCap = "butt";
}

function drawTokenLinks(pen, plan, view, wanted) {
  const { colours, window: w } = view;
  pen.lineWidth = 0.7;
  for (const sign of [-1, 1]) {
    pen.beginPath();
    pen.strokeStyle = sign < 0 ? colours.neg : colours.pos;
    pen.setLineDash(sign < 0 ? [4, 2.5] : []);
    for (const link of plan.layout.token_links) {
      const [, node, weight, [[x0, y0], [x1, y1]]] = link;
      if ((weight < 0 ? -1 : 1) !== sign || !wanted(link) || !plan.shownNodes[node] || y1 < w.top || y0 > w.bottom) continue;
      pen.moveTo(x0, y0);
      pen.bezierCurveTo(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2, x1, y1);
    }
    pen.stroke();
  }
  pen.setLineDash([]);
}

function drawChips(pen, { layout }, { colours }) {
  pen.lineWidth = 0.7;
  pen.font = `12px ${colours.mono}`;
  pen.textAlign = "center";
  for (const chip of layout.chips) {
    roundRect(pen, chip.x - chip.width / 2, chip.y - 12, chip.width, 24, 5);
    pen.fillStyle = colours.card;
    pen.strokeStyle = chip.candidate ? colours.ink : colours.line;
    pen.fill();
    pen.stroke();
    pen.fillStyle = colours.ink;
    pen.fillText(chip.label, chip.x, chip.y + 4);
  }
  pen.textAlign = "start";
}

function dots(pen, plan, view, nodes, radius) {
  pen.beginPath();
  for (const i of nodes) {
    const [x, y] = plan.places[i];
    if (!inWindow(view, x, y)) continue;
    pen.moveTo(x + radius, y);
    pen.arc(x, y, radius, 0, 2 * Math.PI);
  }
}

// Over the edges: the nodes that the filter shows; named ones with a ring and their names.
function drawDots(pen, plan, view) {
  const { colours } = view, shown = plan.nodes.map((_, i) => i).filter((i) => plan.shownNodes[i]);
  view.place(pen);
  dots(pen, plan, view, shown, plan.layout.node_height / 2);
  pen.fillStyle = colours.soft;
  pen.strokeStyle = colours.paper;
  pen.lineWidth = 1;
  pen.fill();
  pen.stroke();
  const named = shown.filter((i) => plan.circuit.labels?.nodes?.[plan.nodes[i].name]?.name);
  dots(pen, plan, view, named, plan.layout.node_height / 2 + 2);
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1.5;
  pen.stroke();
  dots(pen, plan, view, shown.filter((i) => steers(plan.circuit, plan.nodes[i])), plan.layout.node_height / 2 + 4);
  pen.strokeStyle = colours.pos;
  pen.lineWidth = 3;
  pen.stroke();
  drawNames(pen, plan, view, view.scale / view.ratio >= NAMED_AT ? shown : named);
  drawGroupNames(pen, plan, view);
}

function drawFocusDots(pen, plan, view, node, ends) {
  const { colours } = view, radius = plan.layout.node_height / 2;
  view.place(pen);
  dots(pen, plan, view, ends, radius);
  pen.fillStyle = colours.soft;
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1.2;
  pen.fill();
  pen.stroke();
  dots(pen, plan, view, [node], radius + 2);
  pen.fillStyle = colours.ink;
  pen.fill();
  drawNames(pen, plan, view, [node, ...ends.slice(0, 60)]);
}

// Slanted, above their dots, never smaller than a person can read; those that would cover one that is
// already written are left out.
function drawNames(pen, plan, view, nodes) {
  const { colours } = view, zoom = view.scale / view.ratio, size = Math.max(10, Math.min(24, 9 / zoom));
  pen.font = `${size}px ${colours.sans}`;
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  const written = [];
  for (const i of nodes) {
    const [x, y] = plan.places[i];
    if (!inWindow(view, x, y, 60, 60) || written.some(([x1, y1]) => Math.abs(x - x1) < 1.15 * size && Math.abs(y - y1) < 4 * size)) continue;
    written.push([x, y]);
    pen.save();
    pen.translate(x + 2, y - plan.layout.node_height / 2 - 3);
    pen.rotate(-Math.PI / 3);
    pen.strokeStyle = colours.band;
    pen.fillStyle = colours.ink;
    const text = cut(pillText(plan.circuit, plan.nodes[i]), 130);
    pen.strokeText(text, 0, 0);
    pen.fillText(text, 0, 0);
    pen.restore();
  }
}

// At the left rim of the frame, whatever part of the drawing it shows; of constant size.
function drawRowLabels(pen, plan, view, { clientWidth, scrollLeft }) {
  const { colours, ratio, scale, window: w } = view, zoom = scale / ratio;
  if (clientWidth < 560 && scrollLeft > 4) return; // too narrow: they would hide the nodes
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (scrollLeft > 4) {
    pen.fillStyle = colours.paper;
    pen.globalAlpha = 0.88;
    pen.fillRect(0, 0, LABELS.least, view.pixelHeight);
    pen.globalAlpha = 1;
  }
  let layer = null;
  pen.strokeStyle = scrollLeft > 4 ? colours.paper : colours.band;
  pen.lineWidth = 4;
  const size = Math.max(9, Math.min(12, 12 * zoom + 4));
  for (const row of plan.layout.rows) {
    const y = (row.y - w.top) * zoom, first = row.layer !== null && row.layer !== layer;
    layer = row.layer;
    if (y < -60 || y > view.pixelHeight / ratio + 60) continue;
    const write = (text, at, font, colour) => {
      pen.font = `${font} ${colours.sans}`;
      pen.strokeText(text, 12, at);
      pen.fillStyle = colour;
      pen.fillText(text, 12, at);
    };
    if (first) write(`LAYER ${row.layer}`, y - row.height * zoom / 2 - 14 * Math.max(0.8, zoom), `600 ${size - 2}px`, colours.faint);
    write(row.label, y + 4, `${size}px`, colours.soft);
  }
}
