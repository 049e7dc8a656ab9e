// Nearer and farther: buttons, Ctrl and the wheel (so trackpads pinch), two fingers. The frame scrolls.

const ZOOMS = { least: 0.1, most: 6, step: 1.25 };

// What buttons and keys zoom about: the chosen node where it is in sight, else the frame's middle.
function zoomCentre() {
  const { clientWidth, clientHeight } = byId("graph"), { graph, node } = state;
  const [x, y] = node === null ? [-1, -1] : graph.placeOf(graph.plan.number.get(node));
  return x >= 0 && x <= clientWidth && y >= 0 && y <= clientHeight ? [x, y] : [clientWidth / 2, clientHeight / 2];
}

// Set the drawing's zoom (null: what is easy to read) from its left end on.
function zoomTo(zoom) {
  state.graph.setZoom(zoom);
  byId("graph").scrollLeft = 0;
  afterZoom();
}

function afterZoom() {
  state.graph.onScroll();
  byId("zoom-value").textContent = percent(state.graph.zoom);
}

// Change the zoom by a factor, keeping the point of the frame at (x, y) where it is.
function zoomBy(factor, point = zoomCentre()) {
  const frame = byId("graph"), { graph } = state, before = graph.zoom, [x, y] = point;
  const rim = () => graph.gutter ?? 0; // what lies beside the drawing
  const [left, top] = [(frame.scrollLeft + x - rim()) / before, (frame.scrollTop + y) / before];
  graph.setZoom(Math.min(ZOOMS.most, Math.max(ZOOMS.least, before * factor)));
  frame.scrollLeft = left * graph.zoom + rim() - x;
  frame.scrollTop = top * graph.zoom - y;
  afterZoom();
}

const zoomToAll = () => zoomTo(state.graph.whole);

const zoomButtons = () => el("span", { class: "zoom", role: "group", "aria-label": "Zoom" },
  el("button", { type: "button", class: "quiet", "aria-label": "Zoom out", title: "Zoom out (−)", onclick: () => zoomBy(1 / ZOOMS.step) }, "−"),
  el("output", { id: "zoom-value", class: "faint" }),
  el("button", { type: "button", class: "quiet", "aria-label": "Zoom in", title: "Zoom in (+)", onclick: () => zoomBy(ZOOMS.step) }, "+"),
  el("button", { type: "button", class: "quiet", title: "Show all of it (0)", onclick: zoomToAll }, "Fit"));

function setUpZoom() {
  const frame = byId("graph"), fingers = new Map();
  const at = (point) => { const box = frame.getBoundingClientRect(); return [point.clientX - box.left, point.clientY - box.top]; };
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomBy(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 100), at(event));
  }, { passive: false });
  const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
  frame.addEventListener("pointerdown", (event) => { if (event.pointerType === "touch") fingers.set(event.pointerId, event); });
  frame.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, event);
    if (!before) return;
    const [[x0, y0], [x1, y1]] = [...fingers.values()].map(at);
    zoomBy(spread() / before, [(x0 + x1) / 2, (y0 + y1) / 2]);
  });
  for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, (event) => fingers.delete(event.pointerId));
  frame.addEventListener("scroll", () => state.graph.onScroll());
  new ResizeObserver(() => {
    if (!state.graph) return;
    state.graph.onResize?.();
    byId("zoom-value").textContent = percent(state.graph.zoom);
  }).observe(frame);
}
