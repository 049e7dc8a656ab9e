// The drawing of a large circuit: the same layout as graph.js on a canvas, of which only the part in the
// frame is drawn. A tall, empty stage inside the frame makes it scroll like any page; the canvas sticks to
// the frame's corner. One focusable stage takes the keys, and what is chosen is said aloud.

const MAX_RATIO = 2; // pixels of the canvas for one of the screen
const SMALL = 0.3; // a zoom at which dots can still be told apart
const LABELS = { here: 165, least: 130 }; // room for the row labels: in the drawing, and on the screen

class LargeGraph {
  constructor(plan, onSelect) {
    this.plan = plan;
    this.circuit = plan.circuit;
    this.layout = plan.layout;
    this.onSelect = onSelect;
    this.selected = null;
    this.hovered = null;
    this.wanted = null; // the zoom asked for; null: fit
    this.onPaper = false;
    this.sheets = new EdgeSheets(plan);
    this.paper = Object.fromEntries(["ground", "links", "dots"].map((name) => [name, document.createElement("canvas")]));
    this.cells = this.findCells();
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.said = el("p", { class: "sr-only", "aria-live": "polite" });
    this.element = el("div", { class: "stage", tabindex: "0", role: "application",
      "aria-label": `Circuit of ${this.circuit.task}: ${plan.nodes.length} nodes, ${plan.edges.length} edges, drawn on a canvas. Arrow keys walk from node to node, Enter starts, Escape clears.` },
    this.canvas, this.said);
    this.listen();
  }

  listen() {
    const { element } = this;
    element.addEventListener("pointermove", (event) => this.hover(this.nodeAt(event)));
    element.addEventListener("pointerleave", () => this.hover(null));
    element.addEventListener("click", (event) => this.onSelect(this.plan.nodes[this.nodeAt(event)]?.name ?? null));
    element.addEventListener("keydown", (event) => this.onKey(event));
  }

  // Nodes by the square of the drawing that they stand in, to find the one under the pointer.
  findCells() {
    const cells = new Map();
    this.plan.places.forEach(([x, y], i) => {
      const key = `${Math.floor(x / 40)} ${Math.floor(y / 40)}`;
      if (cells.has(key)) cells.get(key).push(i); else cells.set(key, [i]);
    });
    return cells;
  }

  nodeAt(event) {
    const box = this.canvas.getBoundingClientRect(), { plan } = this;
    const x = (event.clientX - box.left + this.frame.scrollLeft - this.gutter) / this.zoom;
    const y = (event.clientY - box.top + this.frame.scrollTop) / this.zoom;
    const reach = Math.max(9, 7 / this.zoom);
    let best = null, least = reach * reach;
    for (let i = Math.floor((x - reach) / 40); i <= Math.floor((x + reach) / 40); i++) {
      for (let j = Math.floor((y - reach) / 40); j <= Math.floor((y + reach) / 40); j++) {
        for (const node of this.cells.get(`${i} ${j}`) || []) {
          const [x1, y1] = plan.places[node], distance = (x - x1) ** 2 + (y - y1) ** 2;
          if (plan.shownNodes[node] && distance <= least) { best = node; least = distance; }
        }
      }
    }
    return best;
  }

  hover(node) {
    if (node === this.hovered) return;
    this.hovered = node;
    this.element.title = node === null ? "" : nodeTitle(this.circuit, this.plan.nodes[node]);
    this.element.classList.toggle("pointing", node !== null);
    this.request();
  }

  get frame() { return this.element.parentElement; }

  // Row labels do not shrink with the drawing, so the smaller it is, the more room they need beside it.
  get gutter() { return Math.max(0, LABELS.least - LABELS.here * this.zoom); }

  fit() {
    const { clientWidth } = this.frame, { width } = this.layout;
    return Math.min(clientWidth / width, (clientWidth - LABELS.least) / (width - LABELS.here));
  }

  // The zoom at which all of its width is in sight; null: the one that it begins with.
  get whole() { return this.fit() < SMALL ? Math.max(ZOOMS.least, this.fit()) : null; }

  // Pixels of the screen for one of the drawing; null: as wide as the frame, within reason.
  setZoom(wanted) {
    this.wanted = wanted;
    if (!this.frame) return;
    const { width, height } = this.layout, { frame, canvas } = this;
    this.zoom = wanted ?? Math.min(1, Math.max(SMALL, this.fit()));
    this.element.style.width = `${Math.floor(width * this.zoom + this.gutter)}px`;
    this.element.style.height = `${Math.ceil(height * this.zoom)}px`;
    canvas.style.width = `${frame.clientWidth}px`;
    canvas.style.height = `${Math.min(frame.clientHeight, Math.ceil(height * this.zoom))}px`;
    [this.frameWidth, this.frameHeight] = [frame.clientWidth, frame.clientHeight];
    this.redraw();
  }

  onScroll() { this.redraw(); }

  // The frame may have become wider or narrower.
  onResize() {
    const { clientWidth, clientHeight } = this.frame;
    if (clientWidth !== this.frameWidth || clientHeight !== this.frameHeight) this.setZoom(this.wanted);
  }

  // Where the canvas lies over the drawing, and the colours of the scheme.
  look() {
    const { frame, canvas, zoom } = this;
    const ratio = Math.min(MAX_RATIO, devicePixelRatio || 1), scale = zoom * ratio;
    const width = parseFloat(canvas.style.width), height = parseFloat(canvas.style.height);
    const left = (frame.scrollLeft - this.gutter) / zoom, top = frame.scrollTop / zoom;
    const style = getComputedStyle(root.host ?? document.documentElement);
    const colours = Object.fromEntries(["paper", "band", "ink", "soft", "faint", "pos", "neg", "pill-line", "shade", "card", "line", "sans", "mono"]
      .map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    return {
      colours, scale, ratio, alpha: 1, pixelWidth: Math.round(width * ratio), pixelHeight: Math.round(height * ratio),
      window: { left, top, right: left + width / zoom, bottom: top + height / zoom },
      place: (pen) => pen.setTransform(scale, 0, 0, scale, -left * scale, -top * scale),
    };
  }

  // Draw everything anew, the edges slice by slice.
  redraw() {
    this.view = this.frame ? this.look() : null;
    if (!this.view?.pixelWidth || !this.view.pixelHeight) { this.view = null; return; } // not on screen
    for (const canvas of [this.canvas, ...Object.values(this.paper)]) {
      canvas.width = this.view.pixelWidth;
      canvas.height = this.view.pixelHeight;
    }
    drawGround(this.paper.ground.getContext("2d"), this.plan, this.view);
    drawLinks(this.paper.links.getContext("2d"), this.plan, this.view);
    drawDots(this.paper.dots.getContext("2d"), this.plan, this.view);
    this.sheets.invalidate(this.view);
    if (this.onPaper) {
      while (this.sheets.advance());
      this.paint();
    } else {
      this.sheets.advance();
      this.request();
    }
  }

  // At most one painting a frame, and one more slice with each until all are there.
  request() {
    this.frameAsked ??= requestAnimationFrame(() => {
      this.frameAsked = null;
      this.paint();
      const more = this.view !== null && this.sheets.advance();
      this.element.setAttribute("aria-busy", String(more));
      if (more) this.request();
    });
  }

  paint() {
    if (!this.view) return;
    const pen = this.canvas.getContext("2d"), { pixelWidth, pixelHeight } = this.view;
    const focus = this.hovered ?? this.selected, dim = this.plan.dims(focus);
    const lay = (canvas) => { pen.setTransform(1, 0, 0, 1, 0, 0); pen.drawImage(canvas, 0, 0); };
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, pixelWidth, pixelHeight);
    lay(this.paper.ground);
    pen.globalAlpha = this.view.alpha = dim ? 0.15 : 1;
    lay(this.paper.links);
    this.sheets.paint(pen);
    this.view.alpha = 1;
    pen.globalAlpha = dim ? 0.4 : 1;
    lay(this.paper.dots);
    pen.globalAlpha = 1;
    if (focus !== null) this.paintFocus(pen, focus);
    drawRowLabels(pen, this.plan, this.view, this.frame);
  }

  // On paper everything is drawn at once, whatever asks for it: no frame comes after.
  print(onPaper) {
    this.onPaper = onPaper;
    this.redraw();
  }

  paintFocus(pen, node) {
    const { plan, view } = this;
    const edges = [...plan.into[node], ...plan.outOf[node]].filter((i) => plan.visible(i));
    this.sheets.strokeOnly(pen, edges);
    drawStreams(pen, plan, view, (link) => link.source === node || link.target === node);
    drawTokenLinks(pen, plan, view, (link) => link[1] === node);
    const ends = new Set([...edges.flatMap((i) => [plan.edges[i].source, plan.edges[i].target]), ...plan.free[node]]);
    ends.delete(node);
    drawFocusDots(pen, plan, view, node, [...ends].filter((i) => plan.shownNodes[i]));
  }

  // The plan's filter has changed; only another least size leaves the sheets as they are.
  apply(onlySize = false) {
    if (onlySize) { this.request(); return; }
    this.redraw();
  }

  relabel() { this.redraw(); }

  // Where a node is, in pixels of the screen from the frame's corner.
  placeOf(node) {
    const [x, y] = this.plan.places[node];
    return [x * this.zoom + this.gutter - this.frame.scrollLeft, y * this.zoom - this.frame.scrollTop];
  }

  select(name, focus = false) {
    const node = this.plan.number.get(name) ?? null;
    this.selected = node;
    if (focus) this.element.focus({ preventScroll: true });
    if (node !== null) {
      this.said.textContent = `${nodeTitle(this.circuit, this.plan.nodes[node]).replaceAll("\n", ", ")}; ${this.plan.into[node].length} edges in, ${this.plan.outOf[node].length} out`;
      this.bringIntoView(node);
    } else {
      this.said.textContent = "";
    }
    this.request();
  }

  bringIntoView(node) {
    if (!this.frame) return;
    const { frame } = this, [x, y] = this.placeOf(node);
    if (x < LABELS.least || x > frame.clientWidth - 30) frame.scrollLeft += x - frame.clientWidth / 2;
    if (y < 40 || y > frame.clientHeight - 40) frame.scrollTop += y - frame.clientHeight / 2;
  }

  onKey(event) {
    const { plan, selected } = this, first = plan.shownNodes.indexOf(true);
    if (event.key === "Escape") this.onSelect(null);
    else if (event.key === "Enter" && selected === null && first >= 0) this.onSelect(plan.nodes[first].name, true);
    else if (event.key.startsWith("Arrow") && selected !== null) this.onSelect(plan.nodes[plan.step(selected, event.key)].name, true);
    else return;
    event.preventDefault();
  }
}
