// The drawing of one circuit. Positions come with the document; this file only draws and answers to
// pointer and keys. Looks are set by classes: "pos" and "neg" for sign, "on" for what is near the
// node in focus, "chosen" for the node itself.

function curve(points) {
  let path = `M${points[0][0]} ${points[0][1]}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1], [x1, y1] = points[i], middle = (y0 + y1) / 2;
    path += `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
  }
  return path;
}

const signClass = (weight) => (weight < 0 ? "neg" : "pos");

class Graph {
  constructor(circuit, onSelect) {
    this.circuit = circuit;
    this.layout = circuit.layout;
    this.onSelect = onSelect;
    this.nodes = new Map(circuit.nodes.map((node) => [node.name, node]));
    this.near = new Map(circuit.nodes.map((node) => [node.name, new Set()])); // node -> elements to light up
    this.elements = new Map();
    this.chips = [];
    this.lit = [];
    this.selected = null;
    this.element = this.draw();
  }

  draw() {
    const { width, height, compact } = this.layout;
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, class: compact ? "compact" : "roomy", role: "group",
      "aria-label": `Circuit of ${this.circuit.task}: ${this.circuit.nodes.length} nodes, ${this.circuit.edges.length} edges. Arrow keys move, Escape clears.`,
    });
    this.widest = Math.max(1e-9, ...this.circuit.edges.map((edge) => Math.abs(edge.weight)));
    this.labels = svg("g", { class: "row-labels" });
    picture.append(this.drawBands(), this.drawBoxes(), this.drawLinks(), this.drawEdges(), this.drawNodes(), this.labels);
    this.drawLabels();
    picture.addEventListener("pointerover", (event) => this.light(this.nameOf(event) || this.selected));
    picture.addEventListener("pointerleave", () => this.light(this.selected));
    picture.addEventListener("click", (event) => this.onSelect(this.nameOf(event)));
    picture.addEventListener("keydown", (event) => this.onKey(event));
    picture.style.maxWidth = `${Math.round(width * (compact ? 1 : 1.2))}px`;
    picture.style.minWidth = `${Math.round(width * (compact ? 0.75 : 0.8))}px`;
    return picture;
  }

  nameOf(event) {
    return event.target.closest?.("[data-node]")?.getAttribute("data-node") ?? null;
  }

  // One band behind each layer's rows.
  drawBands() {
    const group = svg("g", { class: "bands" });
    const layers = new Map();
    for (const row of this.layout.rows) {
      if (row.layer !== null) layers.set(row.layer, [...(layers.get(row.layer) || []), row.y]);
    }
    for (const ys of layers.values()) {
      const top = Math.min(...ys) - 34, bottom = Math.max(...ys) + 34;
      group.append(svg("rect", { x: 8, y: top, width: this.layout.width - 16, height: bottom - top, rx: 10 }));
    }
    return group;
  }

  drawLabels() {
    let layer = null;
    // Behind the labels once the drawing has scrolled under them.
    this.backing = svg("rect", { class: "backing", x: 0, y: 0, width: 165, height: this.layout.height, visibility: "hidden" });
    this.labels.append(this.backing);
    for (const row of this.layout.rows) {
      const first = row.layer !== null && row.layer !== layer;
      layer = row.layer;
      if (first) this.labels.append(svg("text", { class: "layer-label", x: 20, y: row.y - 14 }, `LAYER ${row.layer}`));
      this.labels.append(svg("text", { class: "row-label", x: 20, y: row.y + 4 }, row.label));
    }
  }

  drawBoxes() {
    return svg("g", { class: "boxes" }, this.layout.boxes.map((box) => [
      svg("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 8 }),
      this.layout.compact ? svg("text", { x: box.x + 1, y: box.y + box.height + 10 }, `h${box.head}`)
        : svg("text", { x: box.x - 5, y: box.y + box.height / 2 + 4, "text-anchor": "end" }, `head ${box.head}`),
    ]));
  }

  remember(element, ...names) {
    for (const name of names) this.near.get(name)?.add(element);
    return element;
  }

  // The residual stream and the tokens: free, so thin.
  drawLinks() {
    const group = svg("g", { class: "links" });
    const channel = new Map(this.circuit.stream.map((s) => [`${s.source} ${s.target}`, s.channel]));
    for (const stream of this.layout.streams) {
      const path = svg("path", { class: "stream", d: curve(stream.points) });
      path.append(svg("title", {}, `residual stream, channel ${channel.get(`${stream.source} ${stream.target}`)}`));
      group.append(this.remember(path, stream.source, stream.target));
    }
    const strongest = { in: 1e-9, out: 1e-9 };
    for (const link of this.layout.token_links) {
      const side = this.layout.chips[link.chip].side;
      strongest[side] = Math.max(strongest[side], Math.abs(link.weight));
    }
    this.chips = this.layout.chips.map((chip) => this.drawChip(chip));
    for (const link of this.layout.token_links) {
      const chip = this.layout.chips[link.chip];
      const path = svg("path", { class: `token-link ${signClass(link.weight)}`, d: curve(link.points), "stroke-width": 0.6 + 1.8 * Math.abs(link.weight) / strongest[chip.side] });
      path.append(svg("title", {}, `${chip.side === "in" ? `${chip.label} writes` : `moves ${chip.label} by`} ${signed(link.weight)}`));
      group.append(this.remember(path, link.node));
      this.remember(this.chips[link.chip], link.node);
    }
    for (const lane of this.layout.lanes) {
      group.append(this.remember(svg("path", { class: "lane", d: curve(lane.points) }), lane.node));
    }
    // Two nodes whose product makes the attention pattern.
    const keys = new Map(this.circuit.nodes.filter((n) => n.site === "attn.k").map((n) => [`${n.layer} ${n.index}`, n.name]));
    for (const query of this.circuit.nodes.filter((n) => n.site === "attn.q")) {
      const key = keys.get(`${query.layer} ${query.index}`);
      if (!key) continue;
      const [x0, y] = this.layout.nodes[query.name], [x1] = this.layout.nodes[key], drop = this.layout.node_height / 2;
      const path = svg("path", { class: "product", d: `M${x0} ${y + drop}C${x0} ${y + drop + 10} ${x1} ${y + drop + 10} ${x1} ${y + drop}` });
      path.append(svg("title", {}, "query × key: their product steers the attention"));
      group.append(this.remember(path, query.name, key));
      this.near.get(query.name).add(key);
      this.near.get(key).add(query.name);
    }
    group.append(...this.chips);
    return group;
  }

  drawChip(chip) {
    const label = svg("text", { x: chip.x, y: chip.y + 4, "text-anchor": "middle" }, chip.label);
    label.append(svg("title", {}, JSON.stringify(chip.text)));
    return svg("g", { class: `chip${chip.candidate ? " candidate" : ""}` },
      svg("rect", { x: chip.x - chip.width / 2, y: chip.y - 12, width: chip.width, height: 24, rx: 5 }), label);
  }

  drawEdges() {
    const { nodes, node_height: tall, compact } = this.layout;
    const lines = svg("g", { class: "edges" }), numbers = svg("g", { class: "numbers" });
    // Strong edges are drawn last, on top.
    const order = this.circuit.edges.map((edge, i) => [edge, this.layout.numbers[i]]).sort(([a], [b]) => Math.abs(a.weight) - Math.abs(b.weight));
    for (const [edge, place] of order) {
      const [x0, y0] = nodes[edge.source], [x1, y1] = nodes[edge.target];
      const share = Math.abs(edge.weight) / this.widest;
      const path = svg("path", {
        class: `edge ${signClass(edge.weight)}`, d: curve([[x0, y0 + tall / 2], [x1, y1 - tall / 2]]),
        "stroke-width": (compact ? 0.35 + 1.9 * share : 1 + 3.6 * share).toFixed(2),
        "stroke-opacity": compact ? (0.18 + 0.62 * share).toFixed(2) : 0.9,
      });
      path.append(svg("title", {}, `${edge.source} → ${edge.target}: ${signed(edge.weight, 3)}`));
      lines.append(this.remember(path, edge.source, edge.target));
      this.near.get(edge.source).add(edge.target);
      this.near.get(edge.target).add(edge.source);
      if (place) {
        const [x, y] = place, text = signed(edge.weight), wide = 6.4 * text.length + 4;
        const label = svg("g", {}, svg("rect", { x: x - wide / 2, y: y - 7, width: wide, height: 14, rx: 3 }), svg("text", { x, y: y + 4, "text-anchor": "middle" }, text));
        numbers.append(this.remember(label, edge.source, edge.target));
      }
    }
    for (const { source, target } of this.circuit.stream) {
      this.near.get(source).add(target);
      this.near.get(target).add(source);
    }
    return svg("g", {}, lines, numbers);
  }

  drawNodes() {
    const group = svg("g", { class: "nodes" });
    const strongest = Math.max(1e-9, ...this.circuit.nodes.map((node) => node.effect || 0));
    const { nodes, node_height: tall, compact } = this.layout;
    for (const node of this.circuit.nodes) {
      const [x, y, wide] = nodes[node.name];
      const letter = { "attn.q": "q ", "attn.k": "k ", "attn.v": "v " }[node.site] || "";
      const item = svg("g", { class: "node", "data-node": node.name, tabindex: "-1", role: "button", "aria-label": `${node.name}, ${describe(node)}`, "aria-pressed": "false" },
        svg("title", {}, `${node.name}\n${describe(node)}`),
        svg("rect", { class: "touch", x: x - Math.max(wide, 12) / 2 - 2, y: y - tall / 2 - 9, width: Math.max(wide, 12) + 4, height: tall + 18 }),
        svg("rect", { class: "body", x: x - wide / 2, y: y - tall / 2, width: wide, height: tall, rx: tall / 2 }),
        compact ? svg("text", { class: "name", x: x + 1, y: y - tall / 2 - 3, transform: `rotate(-60 ${x + 1} ${y - tall / 2 - 3})` }, letter + node.index)
          : svg("text", { class: "name", x, y: y + 4, "text-anchor": "middle" }, letter + node.index));
      const share = Math.max(0, node.effect || 0) / strongest;
      if (!compact && share > 0) {
        item.append(svg("rect", { class: "effect", x: x - (wide - 16) * share / 2, y: y + tall / 2 - 5, width: (wide - 16) * share, height: 2.2, rx: 1 }));
      }
      this.elements.set(node.name, item);
      group.append(item);
    }
    this.elements.values().next().value?.setAttribute("tabindex", "0");
    return group;
  }

  // Light up one node and what it touches; null lights nothing and dims nothing.
  light(name) {
    for (const element of this.lit) element.classList.remove("on", "chosen");
    this.lit = [];
    this.element.classList.toggle("focused", name !== null);
    if (name === null) return;
    this.elements.get(name).classList.add("on", "chosen");
    this.lit.push(this.elements.get(name));
    for (const near of this.near.get(name)) {
      const element = typeof near === "string" ? this.elements.get(near) : near;
      element.classList.add("on");
      this.lit.push(element);
    }
  }

  select(name, focus = false) {
    this.elements.get(this.selected)?.setAttribute("aria-pressed", "false");
    this.selected = name;
    this.light(name);
    const element = this.elements.get(name);
    if (!element) return;
    for (const other of this.elements.values()) other.setAttribute("tabindex", "-1");
    element.setAttribute("tabindex", "0");
    element.setAttribute("aria-pressed", "true");
    if (focus) element.focus();
    this.bringIntoView(name);
  }

  // Wide drawings scroll sideways inside their frame; keep the chosen node away from its rim.
  bringIntoView(name) {
    const frame = this.element.parentElement;
    if (!frame || frame.scrollWidth <= frame.clientWidth) return;
    const x = this.layout.nodes[name][0] * this.element.clientWidth / this.layout.width;
    if (x < frame.scrollLeft + 170 || x > frame.scrollLeft + frame.clientWidth - 30) frame.scrollLeft = x - frame.clientWidth / 2;
  }

  // Row labels stay at the left rim while the drawing scrolls.
  pinLabels(scrollLeft) {
    const shift = scrollLeft * this.layout.width / Math.max(1, this.element.clientWidth);
    if (this.element.parentElement.clientWidth < 560) return; // too narrow: they would hide the nodes
    this.labels.setAttribute("transform", `translate(${shift} 0)`);
    this.backing.setAttribute("visibility", scrollLeft > 4 ? "visible" : "hidden");
  }

  onKey(event) {
    const name = this.nameOf(event);
    if (event.key === "Escape") this.onSelect(null);
    else if (name && (event.key === "Enter" || event.key === " ")) this.onSelect(name);
    else if (name && event.key.startsWith("Arrow")) this.onSelect(this.step(name, event.key), true);
    else return;
    event.preventDefault();
  }

  step(name, key) {
    const place = this.layout.nodes, [x, y] = place[name];
    const others = Object.keys(place).filter((other) => other !== name);
    const wanted = {
      ArrowLeft: (o) => place[o][1] === y && place[o][0] < x, ArrowRight: (o) => place[o][1] === y && place[o][0] > x,
      ArrowUp: (o) => place[o][1] < y, ArrowDown: (o) => place[o][1] > y,
    }[key];
    const distance = (o) => Math.abs(place[o][1] - y) * 1e4 + Math.abs(place[o][0] - x);
    return others.filter(wanted).sort((a, b) => distance(a) - distance(b))[0] || name;
  }
}

function renderLegend(circuit) {
  const sample = (className) => svg("svg", { width: 34, height: 10, viewBox: "0 0 34 10", "aria-hidden": "true" }, svg("path", { class: className, d: "M1 5H33", "stroke-width": 2.4 }));
  const largest = Math.max(0, ...circuit.edges.map((edge) => Math.abs(edge.weight)));
  show("legend",
    el("span", {}, sample("edge pos"), "positive weight"), el("span", {}, sample("edge neg"), "negative (dashed)"),
    el("span", {}, `widest line ${largest.toFixed(2)}`), el("span", {}, sample("stream"), "residual stream"),
    el("span", {}, sample("product"), "query × key"),
    circuit.layout.compact ? null : el("span", {}, el("b", { class: "bar-sample" }), "effect of removing the node"));
}
