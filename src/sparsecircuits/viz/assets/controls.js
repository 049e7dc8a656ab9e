// Above the drawing: how strong an edge must be, which layers, which part around the chosen node; below it,
// the legend. The filter lives in state.filter and in the address.

const SLIDER_STEPS = 200;
let addressTimer = null;

// The filter as the address has it after "?"; only what differs from showing all.
function filterQuery(plan, filter) {
  const parts = new URLSearchParams();
  if (filter.min > 0) parts.set("min", String(filter.min));
  if (filter.layers.size) parts.set("layers", plan.layers.filter((layer) => !filter.layers.has(layer)).join(","));
  if (filter.reach !== "all") parts.set("reach", filter.reach);
  return parts.toString();
}

// What the address says; anything odd counts as not said.
function filterFrom(query, circuit) {
  const parts = new URLSearchParams(query), filter = noFilter();
  const min = Number(parts.get("min")), reach = parts.get("reach");
  if (Number.isFinite(min) && min > 0) filter.min = min;
  if (Object.hasOwn(REACHES, reach ?? "")) filter.reach = reach;
  if (parts.has("layers")) {
    const shown = new Set(parts.get("layers").split(",").filter(Boolean).map(Number));
    filter.layers = new Set(circuit.nodes.map((node) => node.layer).filter((layer) => !shown.has(layer)));
  }
  return filter;
}

function changeFilter(change) {
  state.filter = { ...state.filter, ...change };
  refreshFilter();
  // A slider changes many times a second; browsers let a page write its address less often.
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => remember(address(state.circuit.id, state.node)), 250);
}

// Make drawing and controls show state.filter.
function refreshFilter() {
  const { graph, filter, node } = state, { plan } = graph;
  const more = plan.set(filter, plan.number.get(node) ?? null);
  graph.apply(!more);
  const slider = byId("strength"), all = plan.edges.length, hidden = all - plan.count;
  slider.value = Math.round(hidden / Math.max(1, all - 1) * Number(slider.max));
  const size = filter.min > 0 ? `size at least ${Number(filter.min.toPrecision(3))}: ` : "";
  const text = `${size}${count(plan.shown)} of ${count(all)} edges`;
  byId("strength-value").textContent = text;
  slider.setAttribute("aria-valuetext", text);
  for (const box of document.querySelectorAll("#layers input")) box.checked = !filter.layers.has(Number(box.value));
  byId("reach").value = filter.reach;
  byId("reach-hint").hidden = filter.reach === "all" || node !== null;
  byId("reset").disabled = filterQuery(plan, filter) === "";
}

// The size of the weakest edge that is left at this place of the slider.
function sizeAt(place, places, { edges }) {
  const hidden = Math.round(place / places * (edges.length - 1));
  return hidden ? edges[edges.length - 1 - hidden].size : 0;
}

function renderControls({ plan }) {
  const steps = Math.max(1, Math.min(SLIDER_STEPS, plan.edges.length - 1));
  const slider = el("input", { id: "strength", type: "range", min: "0", max: steps, step: "1", value: "0", disabled: plan.edges.length < 2, "aria-label": "Hide edges weaker than",
    oninput: () => changeFilter({ min: sizeAt(Number(slider.value), steps, plan) }) });
  const layer = (which) => el("label", {}, el("input", { type: "checkbox", value: which, checked: true, onchange: (event) => {
    const layers = new Set(state.filter.layers);
    if (event.target.checked) layers.delete(which); else layers.add(which);
    changeFilter({ layers });
  } }), String(which));
  show("controls",
    el("div", { class: "control" }, el("span", { class: "control-name", "aria-hidden": "true" }, "Edges"), slider, el("output", { id: "strength-value", for: "strength" })),
    el("fieldset", { id: "layers", class: "control", hidden: plan.layers.length < 2 }, el("legend", { class: "control-name" }, "Layers"), plan.layers.map(layer)),
    el("div", { class: "control" }, el("label", { class: "control-name", for: "reach" }, "Show"),
      el("select", { id: "reach", onchange: (event) => changeFilter({ reach: event.target.value }) },
        Object.entries(REACHES).map(([value, name]) => el("option", { value }, name))),
      el("span", { id: "reach-hint", class: "faint", hidden: true }, "of a node: choose one")),
    el("button", { id: "reset", type: "button", class: "quiet", onclick: () => changeFilter(noFilter()) }, "Reset"));
}

// Beside the controls of one circuit, what all have: search, zoom, saving, keys.
function renderTools() {
  show("tools", new Search().element, zoomButtons(), exportButton(),
    el("button", { type: "button", class: "quiet", "aria-label": "Keys", title: "Keys ( ? )", onclick: showHelp }, "?"));
}

function renderLegend(circuit) {
  const sample = (className) => svg("svg", { width: 34, height: 10, viewBox: "0 0 34 10", "aria-hidden": "true" }, svg("path", { class: className, d: "M1 5H33", "stroke-width": 2.4 }));
  const { plan } = state.graph, large = state.graph instanceof LargeGraph;
  show("legend",
    el("span", {}, sample("edge pos"), "positive weight"), el("span", {}, sample("edge neg"), "negative (dashed)"),
    el("span", {}, `widest line ${plan.edges.length ? plan.widest.toFixed(2) : "0.00"}`), el("span", {}, sample("stream"), "residual stream"),
    circuit.layout.compact ? null : el("span", {}, sample("product"), "query × key"),
    circuit.layout.compact ? null : el("span", {}, el("b", { class: "bar-sample" }), "effect of removing the node"),
    circuit.bridge?.steering ? el("span", {}, svg("svg", { width: 26, height: 14, viewBox: "0 0 26 14", "aria-hidden": "true" }, svg("rect", { class: "node-sample", x: 2, y: 2, width: 22, height: 10, rx: 5 })), "steers the dense model") : null,
    large && plan.edges.length > DASHED ? el("span", {}, `only the ${count(DASHED)} strongest are dashed, and those of the node in focus`) : null);
}
