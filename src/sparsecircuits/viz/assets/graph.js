// The drawing of one circuit as SVG. Positions come with the document; this file only draws and answers to
// pointer and keys. Looks are set by classes: "pos" and "neg" for sign, "on" for what is near the node in
// focus, "chosen" for the node itself, "hid" for what the filter leaves out.

const LARGE = { nodes: 400, edges: 1500 }; // beyond either, graph-large.js draws on a canvas

function drawGraph(circuit, onSelect) {
  const plan = new Plan(circuit);
  const large = plan.nodes.length > LARGE.nodes || plan.edges.length > LARGE.edges;
  return large ? new LargeGraph(plan, onSelect) : new Graph(plan, onSelect);
}

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
  // onlyShown: leave out edges that the filter hides now, for a large drawing that will not change.
  constructor(plan, onSelect, onlyShown = false) {
    this.plan = plan;
    this.onlyShown = onlyShown;
    this.circuit = plan.circuit;
    this.layout = plan.layout;
    this.onSelect = onSelect;
    this.lights = plan.nodes.map(() => new Set()); // node -> elements to light up with it
    this.shownIf = []; // [element, whether the filter shows it]
    this.items = [];
    this.lit = [];
    this.selected = null;
    this.element = this.draw();
    this.setZoom(null);
  }

  draw() {
    const { width, height, compact } = this.layout;
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, class: compact ? "compact" : "roomy", role: "group",
      "aria-label": `Circuit of ${this.circuit.task}: ${this.plan.nodes.length} nodes, ${this.plan.edges.length} edges. Arrow keys move, Escape clears.`,
    });
    this.groups = svg("g", { class: "groups" });
    this.labels = svg("g", { class: "row-labels" });
    picture.append(this.drawBands(), this.drawBoxes(), this.groups, this.drawLinks(), this.drawEdges(), this.drawNodes(), this.labels);
    this.drawLabels();
    this.groups.append(...groupOutlines(this.plan));
    picture.addEventListener("pointerover", (event) => this.light(this.nodeOf(event) ?? this.selected));
    picture.addEventListener("pointerleave", () => this.light(this.selected));
    picture.addEventListener("click", (event) => this.onSelect(this.plan.nodes[this.nodeOf(event)]?.name ?? null));
    picture.addEventListener("keydown", (event) => this.onKey(event));
    return picture;
  }

  nodeOf(event) {
    const name = event.target.closest?.("[data-node]")?.getAttribute("data-node");
    return this.plan.number.get(name) ?? null;
  }

  drawBands() {
    return svg("g", { class: "bands" }, this.plan.bands().map(([top, bottom]) =>
      svg("rect", { x: 8, y: top, width: this.layout.width - 16, height: bottom - top, rx: 10 })));
  }

  drawLabels() {
    let layer = null;
    // Behind the labels once the drawing has scrolled under them.
    this.backing = svg("rect", { class: "backing", x: 0, y: 0, width: 165, height: this.layout.height, visibility: "hidden" });
    this.labels.append(this.backing);
    for (const row of this.layout.rows) {
      const first = row.layer !== null && row.layer !== layer;
      layer = row.layer;
      if (first) this.labels.append(svg("text", { class: "layer-label", x: 20, y: row.y - row.height / 2 - 14 }, `LAYER ${row.layer}`));
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

  // Light the element up with these nodes; hide it where the filter says so.
  remember(element, nodes, shown) {
    for (const node of nodes) this.lights[node].add(element);
    this.shownIf.push([element, shown]);
    return element;
  }

  // The residual stream and the tokens: free, so thin.
  drawLinks() {
    const group = svg("g", { class: "links" }), { plan, layout } = this;
    plan.stream.forEach(({ source, target, channel }, i) => {
      const path = svg("path", { class: "stream", d: curve(plan.streamPoints(i)) }, svg("title", {}, `residual stream, channel ${channel}`));
      group.append(this.remember(path, [source, target], () => plan.joins(source, target)));
    });
    const strongest = { in: 1e-9, out: 1e-9 };
    for (const [chip, , weight] of layout.token_links) strongest[layout.chips[chip].side] = Math.max(strongest[layout.chips[chip].side], Math.abs(weight));
    const chips = layout.chips.map((chip) => this.drawChip(chip));
    for (const [at, node, weight, points] of layout.token_links) {
      const chip = layout.chips[at];
      if (this.onlyShown && points.at(-1)[1] - points[0][1] >= SHORT) continue; // as on the canvas
      const path = svg("path", { class: `token-link ${signClass(weight)}`, d: curve(points), "stroke-width": (0.6 + 1.8 * Math.abs(weight) / strongest[chip.side]).toFixed(2) },
        svg("title", {}, `${chip.side === "in" ? `${chip.label} writes` : `moves ${chip.label} by`} ${signed(weight)}`));
      group.append(this.remember(path, [node], () => plan.shownNodes[node]));
      this.lights[node].add(chips[at]);
    }
    chips.forEach((chip, at) => {
      const nodes = layout.token_links.filter((link) => link[0] === at).map((link) => link[1]);
      this.shownIf.push([chip, () => nodes.some((node) => plan.shownNodes[node])]);
    });
    for (const lane of layout.lanes) {
      const node = plan.number.get(lane.node);
      group.append(this.remember(svg("path", { class: "lane", d: curve(lane.points) }), [node], () => plan.shownNodes[node]));
    }
    for (const [query, key] of plan.products) {
      const [x0, y] = plan.bottom(query), [x1] = plan.places[key];
      const path = svg("path", { class: "product", d: `M${x0} ${y}C${x0} ${y + 10} ${x1} ${y + 10} ${x1} ${y}` },
        svg("title", {}, "query × key: their product steers the attention"));
      group.append(this.remember(path, [query, key], () => plan.joins(query, key)));
    }
    group.append(...chips);
    return group;
  }

  drawChip(chip) {
    const label = svg("text", { x: chip.x, y: chip.y + 4, "text-anchor": "middle" }, chip.label);
    label.append(svg("title", {}, JSON.stringify(chip.text)));
    return svg("g", { class: `chip${chip.candidate ? " candidate" : ""}` },
      svg("rect", { x: chip.x - chip.width / 2, y: chip.y - 12, width: chip.width, height: 24, rx: 5 }), label);
  }

  // Weak edges first, so that strong ones lie on top; then the printed weights.
  drawEdges() {
    const lines = svg("g", { class: "edges" }), numbers = svg("g", { class: "numbers" });
    const { plan, layout: { compact, numbers: places } } = this;
    for (let i = plan.edges.length - 1; i >= 0; i--) {
      if (this.onlyShown && !plan.visible(i)) continue;
      const { source, target, weight, size, given } = plan.edges[i], share = size / plan.widest;
      const path = svg("path", {
        class: `edge ${signClass(weight)}`, d: curve([plan.bottom(source), plan.top(target)]),
        "stroke-width": (compact ? 0.35 + 1.9 * share : 1 + 3.6 * share).toFixed(2),
        "stroke-opacity": compact ? (0.18 + 0.62 * share).toFixed(2) : 0.9,
      }, svg("title", {}, `${plan.nodes[source].name} → ${plan.nodes[target].name}: ${signed(weight, 3)}`));
      const shown = () => plan.visible(i);
      lines.append(this.remember(path, [source, target], shown));
      if (places[given]) {
        const [x, y] = places[given], text = signed(weight), wide = 6.4 * text.length + 4;
        const label = svg("g", {}, svg("rect", { x: x - wide / 2, y: y - 7, width: wide, height: 14, rx: 3 }), svg("text", { x, y: y + 4, "text-anchor": "middle" }, text));
        numbers.append(this.remember(label, [source, target], shown));
      }
    }
    return svg("g", {}, lines, numbers);
  }

  drawNodes() {
    const group = svg("g", { class: "nodes" }), { plan } = this;
    const strongest = largest(plan.nodes, (node) => node.effect || 0) || 1;
    const { node_height: tall, compact } = this.layout;
    plan.nodes.forEach((node, i) => {
      const [x, y, wide] = plan.places[i];
      const item = svg("g", { class: steers(this.circuit, node) ? "node steers" : "node", "data-node": node.name, tabindex: i ? "-1" : "0", role: "button", "aria-pressed": "false" },
        svg("title"),
        svg("rect", { class: "touch", x: x - Math.max(wide, 12) / 2 - 2, y: y - tall / 2 - (compact ? 2 : 9), width: Math.max(wide, 12) + 4, height: tall + (compact ? 4 : 18) }),
        svg("rect", { class: "body", x: x - wide / 2, y: y - tall / 2, width: wide, height: tall, rx: tall / 2 }),
        compact ? svg("text", { class: "name", x: x + 1, y: y - tall / 2 - 3, transform: `rotate(-60 ${x + 1} ${y - tall / 2 - 3})` })
          : svg("text", { class: "name", x, y: y + 4, "text-anchor": "middle" }));
      const share = Math.max(0, node.effect || 0) / strongest;
      if (!compact && share > 0) {
        item.append(svg("rect", { class: "effect", x: x - (wide - 16) * share / 2, y: y + tall / 2 - 5, width: (wide - 16) * share, height: 2.2, rx: 1 }));
      }
      this.shownIf.push([item, () => plan.shownNodes[i]]);
      this.items.push(item);
      group.append(item);
    });
    this.writeNames();
    return group;
  }

  writeNames() {
    this.plan.nodes.forEach((node, i) => {
      const item = this.items[i], text = pillText(this.circuit, node);
      item.setAttribute("aria-label", nodeTitle(this.circuit, node).replaceAll("\n", ", "));
      item.querySelector("title").textContent = nodeTitle(this.circuit, node);
      item.querySelector(".name").textContent = this.layout.compact ? cut(text, 130) : cut(text, this.plan.places[i][2] - 14, 7.4);
      item.classList.toggle("named", Boolean(this.circuit.labels?.nodes?.[node.name]?.name));
    });
  }

  // The circuit's labels have changed.
  relabel() {
    this.writeNames();
    this.groups.replaceChildren(...groupOutlines(this.plan));
  }

  // The plan's filter has changed.
  apply() {
    for (const [element, shown] of this.shownIf) element.classList.toggle("hid", !shown());
    this.groups.replaceChildren(...groupOutlines(this.plan));
    this.light(this.selected);
  }

  // Light up one node and what it touches; null lights nothing and dims nothing.
  light(node) {
    for (const element of this.lit) element.classList.remove("on", "chosen");
    this.lit = [];
    this.element.classList.toggle("focused", this.plan.dims(node));
    if (node === null) return;
    const { plan } = this, ends = [
      ...plan.into[node].filter((e) => plan.visible(e)).map((e) => plan.edges[e].source),
      ...plan.outOf[node].filter((e) => plan.visible(e)).map((e) => plan.edges[e].target), ...plan.free[node]];
    this.items[node].classList.add("chosen");
    for (const element of [this.items[node], ...this.lights[node], ...ends.map((end) => this.items[end])]) {
      element.classList.add("on");
      this.lit.push(element);
    }
  }

  select(name, focus = false) {
    if (this.selected !== null) this.items[this.selected].setAttribute("aria-pressed", "false");
    const node = this.plan.number.get(name) ?? null;
    this.selected = node;
    this.light(node);
    if (node === null) return;
    for (const item of this.items) item.setAttribute("tabindex", "-1");
    this.items[node].setAttribute("tabindex", "0");
    this.items[node].setAttribute("aria-pressed", "true");
    if (focus) this.items[node].focus();
    this.bringIntoView(node);
  }

  // Wide drawings scroll sideways inside their frame; keep the chosen node away from its rim.
  bringIntoView(node) {
    const frame = this.element.parentElement;
    if (!frame || frame.scrollWidth <= frame.clientWidth) return;
    const x = this.plan.places[node][0] * this.zoom;
    if (x < frame.scrollLeft + 170 || x > frame.scrollLeft + frame.clientWidth - 30) frame.scrollLeft = x - frame.clientWidth / 2;
  }

  // Where a node is, in pixels of the screen from the frame's corner.
  placeOf(node) {
    const box = this.element.getBoundingClientRect(), frame = this.element.parentElement.getBoundingClientRect();
    const [x, y] = this.plan.places[node];
    return [x * this.zoom + box.left - frame.left, y * this.zoom + box.top - frame.top];
  }

  get zoom() { return this.element.clientWidth / this.layout.width; }

  // Zooms between which the drawing is as wide as its frame: no smaller than is easy to read.
  get easy() { return this.layout.compact ? [0.75, 1] : [0.8, 1.2]; }

  // The zoom at which all of it is in sight; null: the one that it begins with.
  get whole() {
    const fit = this.element.parentElement.clientWidth / this.layout.width;
    return fit < this.easy[0] ? fit : null;
  }

  // Pixels of the screen for one of the drawing; null: as wide as the frame, within what is easy.
  setZoom(zoom) {
    const pixels = (share) => `${Math.floor(this.layout.width * share)}px`;
    const [least, most] = zoom === null ? this.easy : [zoom, zoom];
    this.element.style.minWidth = pixels(least);
    this.element.style.maxWidth = pixels(most);
  }

  // Row labels stay at the left rim while the drawing scrolls.
  onScroll() {
    const frame = this.element.parentElement;
    if (frame.clientWidth < 560) return; // too narrow: they would hide the nodes
    this.labels.setAttribute("transform", `translate(${frame.scrollLeft / Math.max(0.01, this.zoom)} 0)`);
    this.backing.setAttribute("visibility", frame.scrollLeft > 4 ? "visible" : "hidden");
  }

  onKey(event) {
    const node = this.nodeOf(event);
    if (event.key === "Escape") this.onSelect(null);
    else if (node !== null && (event.key === "Enter" || event.key === " ")) this.onSelect(this.plan.nodes[node].name);
    else if (node !== null && event.key.startsWith("Arrow")) this.onSelect(this.plan.nodes[this.plan.step(node, event.key)].name, true);
    else return;
    event.preventDefault();
  }
}
