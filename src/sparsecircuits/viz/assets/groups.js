// Groups of nodes that a person named: a dashed outline around each, with its name on top. Where one outline
// would take in nodes of no concern, each run of neighbours has its own, tied to the next.

// The corners of the convex hull of some points, in order (Andrew's monotone chain).
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
  const half = (list) => {
    const chain = [];
    for (const point of list) {
      while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

// Whether a point lies inside a convex outline.
function inside([x, y], corners) {
  return corners.every(([x0, y0], i) => {
    const [x1, y1] = corners[(i + 1) % corners.length];
    return (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0;
  });
}

// The outline of some nodes, a little wider than they are.
function outline(plan, members) {
  const margin = plan.layout.compact ? 4 : 8, up = plan.layout.node_height / 2 + margin;
  return hull(members.flatMap((i) => {
    const [x, y, wide] = plan.places[i], side = wide / 2 + margin;
    return [[x - side, y - up], [x + side, y - up], [x - side, y + up], [x + side, y + up]];
  }));
}

// Members that stand side by side in a line of nodes, with no other node between them.
function runsOf(plan, members) {
  const wanted = new Set(members), lines = new Set(members.map((i) => plan.places[i][1])), runs = [];
  for (const line of [...lines].sort((a, b) => a - b)) {
    const row = plan.nodes.map((_, i) => i).filter((i) => plan.places[i][1] === line).sort((a, b) => plan.places[a][0] - plan.places[b][0]);
    let run = null;
    for (const i of row) {
      if (!wanted.has(i)) { run = null; continue; }
      if (!run) runs.push(run = []);
      run.push(i);
    }
  }
  return runs;
}

// What to draw for each group that has nodes here which the filter shows:
// {name, note, nodes, outlines: [corners], ties: [[from, to]], at: the name's place}.
function groupShapes(plan) {
  const shapes = [];
  for (const { name, note, nodes } of plan.circuit.labels?.groups || []) {
    const members = nodes.map((node) => plan.number.get(node)).filter((i) => i !== undefined && plan.shownNodes[i]);
    if (!members.length) continue;
    const wanted = new Set(members), one = outline(plan, members);
    const alone = plan.places.every((place, i) => wanted.has(i) || !inside(place, one));
    const runs = alone ? [members] : runsOf(plan, members), outlines = runs.map((run) => outline(plan, run));
    const middles = runs.map((run) => [0, 1].map((axis) => run.reduce((sum, i) => sum + plan.places[i][axis], 0) / run.length));
    const top = Math.min(...outlines[0].map((corner) => corner[1]));
    const left = Math.min(...outlines[0].filter((corner) => corner[1] === top).map((corner) => corner[0]));
    shapes.push({ name, note, nodes, outlines, ties: middles.slice(1).map((to, i) => [middles[i], to]), at: [left, top - 5] });
  }
  return shapes;
}

const groupOutlines = (plan) => groupShapes(plan).map((shape) =>
  svg("g", { class: "group" },
    svg("title", {}, [shape.name, shape.note, shape.nodes.join(", ")].filter(Boolean).join("\n")),
    shape.ties.map((tie) => svg("path", { class: "tie", d: `M${tie.map((point) => point.join(" ")).join("L")}` })),
    shape.outlines.map((corners) => svg("path", { d: `M${corners.map((corner) => corner.join(" ")).join("L")}Z` })),
    svg("text", { x: shape.at[0], y: shape.at[1] }, cut(shape.name, 260))));
