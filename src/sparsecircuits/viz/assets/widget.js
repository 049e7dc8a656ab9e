// The drawing of one circuit and what there is to say of the chosen node, in the cell of a notebook, in a
// shadow tree, so that neither style touches the other. `model` (anywidget's), `cell` and `STYLE` come from
// around this script. model.get("selected") is the chosen node's name or null, on both sides.

const host = el("div", {});
root = host.attachShadow({ mode: "open" });
const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);
root.adoptedStyleSheets = [sheet];
fill(root, {}, [el("div", { class: "widget" },
  el("p", { id: "title", class: "about" }), el("div", { class: "workbench" },
    el("figure", { class: "drawing" }, el("div", { id: "graph", class: "graph" }), el("figcaption", { id: "legend", class: "legend" })),
    el("aside", { id: "panel", class: "panel", "aria-label": "Node" })))]);
cell.append(host);

// As the notebook around: dark where its text is light.
function matchTheme() {
  const [red, green, blue] = getComputedStyle(cell).color.match(/[\d.]+/g).map(Number);
  host.dataset.theme = 0.3 * red + 0.6 * green + 0.1 * blue > 128 ? "dark" : "light";
}

const circuit = model.get("_circuit");

function showNode(name, focus = false) {
  const node = circuit.nodes.find((one) => one.name === name) ?? null;
  state.node = node && node.name;
  state.graph.plan.set(noFilter(), state.graph.plan.number.get(state.node) ?? null);
  state.graph.select(state.node, focus);
  renderPanel(circuit, node, choose);
  const heading = node && labelHeading(circuit, node);
  if (heading) byId("panel").querySelector(".panel-head").after(heading);
}

function choose(name, focus = false) {
  showNode(name, focus);
  if (model.get("selected") === state.node) return;
  model.set("selected", state.node);
  model.save_changes();
}

matchTheme();
state.circuit = circuit;
state.graph = drawGraph(circuit, choose);
byId("title").append(`circuit for ${words(circuit.task)}: ${count(circuit.nodes.length)} nodes, ${count(circuit.edges.length)} edges`);
show("graph", state.graph.element);
byId("graph").classList.toggle("large", state.graph instanceof LargeGraph);
state.graph.setZoom(null); // as wide as the frame that it stands in now
byId("graph").addEventListener("scroll", () => state.graph.onScroll());
renderLegend(circuit);
showNode(model.get("selected"));

// A cell gets its width only when it is in the notebook, and may get another one later.
const watcher = new ResizeObserver(() => { matchTheme(); if (state.graph.onResize) state.graph.onResize(); else state.graph.setZoom(null); });
watcher.observe(byId("graph"));

const hear = () => { if (model.get("selected") !== state.node) showNode(model.get("selected")); };
model.on("change:selected", hear);
return () => { model.off("change:selected", hear); watcher.disconnect(); };
