// Groups of nodes that a person named: a dashed outline around each, with its name on top.

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

// What to draw for each group of the circuit that has nodes here: {name, note, corners, at}.
function groupShapes(plan) {
  const shapes = [];
  for (const group of plan.circuit.labels?.groups || []) {
    const members = group.nodes.map((name) => plan.number.get(name)).filter((i) => i !== undefined);
    if (!members.length) continue;
    const up = plan.layout.node_height / 2 + 8;
    const corners = hull(members.flatMap((i) => {
      const [x, y, wide] = plan.places[i], side = wide / 2 + 8;
      return [[x - side, y - up], [x + side, y - up], [x - side, y + up], [x + side, y + up]];
    }));
    const top = Math.min(...corners.map((corner) => corner[1]));
    const left = Math.min(...corners.filter((corner) => corner[1] === top).map((corner) => corner[0]));
    shapes.push({ name: group.name, note: group.note, nodes: group.nodes, corners, at: [left, top - 5] });
  }
  return shapes;
}

const groupOutlines = (plan) => groupShapes(plan).map((shape) =>
  svg("g", { class: "group" },
    svg("path", { d: `M${shape.corners.map((corner) => corner.join(" ")).join("L")}Z` },
      svg("title", {}, [shape.name, shape.note, shape.nodes.join(", ")].filter(Boolean).join("\n"))),
    svg("text", { x: shape.at[0], y: shape.at[1] }, cut(shape.name, 260))));
