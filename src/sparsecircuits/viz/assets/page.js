// The start: show a document, follow the address, keep the choice (which circuit, which node) in it.
// What brings the document calls start(data) once; parts that want to hear of a choice register in
// `listeners`.

const READS = { format: "sparsecircuits.page", version: 2 };

// Half a character, as a file name of undecodable bytes gives, cannot stand in an address.
const whole = (text) => text.replace(/\p{Cs}/gu, "\ufffd");

// What an address says; as it stands if it is badly escaped, as one that was typed may be.
function unescaped(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

// Circuit ids and node names may hold anything; each part of the address is escaped by itself, so that the
// first plain "?" begins the filter of the drawing.
function address(id, node) {
  const filter = state.circuit?.id === id && state.graph ? filterQuery(state.graph.plan, state.filter) : "";
  return "#" + [...id.split("/"), ...(node ? [node] : [])].map((part) => encodeURIComponent(whole(part))).join("/") + (filter ? `?${filter}` : "");
}

// The circuit, node and filter that an address names; an unknown circuit falls back to the first one, and
// `missing` says so.
function resolve(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const wanted = unescaped(path);
  const fits = data.circuits.filter((c) => wanted === whole(c.id) || wanted.startsWith(`${whole(c.id)}/`));
  const circuit = fits.sort((a, b) => b.id.length - a.id.length)[0];
  if (!circuit) return { circuit: data.circuits[0] || null, node: null, filter: noFilter(), missing: path ? `No circuit ${quoted(wanted || path)} is here; this is the first one.` : "" };
  const name = wanted.slice(circuit.id.length + 1);
  const known = circuit.nodes.some((node) => node.name === name);
  const missing = name && !known ? `No node ${quoted(name)} is in this circuit; it is shown with none chosen.` : "";
  return { circuit, node: known ? name : null, filter: filterFrom(query, circuit), missing };
}

const MOST_QUOTED = 80;
const quoted = (text) => `“${text.length > MOST_QUOTED ? `${text.slice(0, MOST_QUOTED)}…` : text}”`;

// What the address named in vain, until something else is chosen.
function tellMissing(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function choose(name, focus = false) {
  tellMissing("");
  state.node = name;
  const node = state.circuit.nodes.find((n) => n.name === name) || null;
  refreshFilter();
  state.graph.select(name, focus);
  renderPanel(state.circuit, node, choose);
  renderPrompts(state.circuit, node);
  remember(address(state.circuit.id, name));
  heard("node", state.circuit, node);
}

function showCircuit(circuit) {
  state.circuit = circuit;
  state.graph = drawGraph(circuit, choose);
  show("graph", state.graph.element);
  byId("graph").classList.toggle("large", state.graph instanceof LargeGraph);
  byId("graph").scrollTo(0, 0);
  renderControls(state.graph);
  zoomTo(null);
  renderChooser(circuit);
  renderFacts(circuit);
  renderLegend(circuit);
  renderCard(circuit);
  heard("circuit", circuit);
}

function remember(hash) {
  // Frames without an address of their own (a notebook's) may refuse; the page works without.
  try { history.replaceState(null, "", hash); } catch { /* no deep links there */ }
}

function renderChooser(circuit) {
  const tasks = [...new Set(data.circuits.map((c) => c.task))];
  const go = (id) => { location.hash = address(id); };
  const select = el("select", { id: "task", onchange: (event) => {
    const task = tasks[event.target.selectedIndex];
    go((data.circuits.find((c) => c.task === task && c.model === circuit.model) || data.circuits.find((c) => c.task === task)).id);
  } }, tasks.map((task) => el("option", { selected: task === circuit.task }, words(task))));
  const models = data.circuits.filter((c) => c.task === circuit.task);
  show("chooser",
    el("label", {}, el("span", {}, "Circuit for"), select),
    el("div", { class: "segments", role: "group", "aria-label": "Model" }, models.map((c) =>
      el("a", { href: address(c.id), "aria-current": c === circuit ? "true" : null }, data.models[c.model].label))));
}

function follow() {
  const { circuit, node, filter, missing } = resolve(location.hash);
  if (!circuit) return;
  state.filter = filter;
  if (circuit !== state.circuit) showCircuit(circuit);
  choose(node);
  tellMissing(missing);
}

// In a frame without an address of its own (a notebook's), "#…" would lead to the page around it.
function keepLinksInside() {
  if (location.protocol !== "about:") return;
  addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  });
}

function setUpTheme() {
  const html = document.documentElement, button = byId("theme");
  const dark = () => (html.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { state.graph?.redraw?.(); button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { html.dataset.theme = dark() ? "light" : "dark"; label(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
}

// On paper nothing can be unfolded, so everything is, and it is light; afterwards all is as before.
function setUpPrint() {
  const root = document.documentElement;
  let opened = [], theme;
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const fold of opened) fold.open = true;
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    state.graph.print?.(true);
  });
  addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    state.graph.print?.(false);
  });
}

// Show this document: everything begins here.
function start(wanted) {
  data = wanted;
  setUpTheme();
  if (data.format !== READS.format || data.version !== READS.version) {
    byId("title").textContent = "This page cannot show its document";
    byId("notice").textContent = `It holds ${String(data.format)} version ${String(data.version)}; this page reads ${READS.format} version ${READS.version}. Write the page again with the version of sparsecircuits that made the document.`;
    byId("notice").hidden = false;
    return;
  }
  document.title = data.title;
  byId("title").textContent = data.title;
  byId("content").hidden = false;
  byId("foot").textContent = `Made by sparsecircuits · page format ${data.version} · this file needs no network`;
  renderSummary(data);
  if (!data.circuits.length) {
    show("explorer", el("p", { class: "notice" }, "No circuit was found, so there is none to show."));
    return;
  }
  renderTools();
  setUpZoom();
  setUpKeys();
  addEventListener("hashchange", follow);
  keepLinksInside();
  setUpPrint();
  follow();
}
