// Beside the drawing: the circuit's figures, or everything about one node.

function fact(term, value, note) {
  return el("div", { class: "fact" }, el("dt", {}, term), el("dd", {}, value, note ? el("small", {}, note) : null));
}

function renderFacts(circuit) {
  const { metrics } = circuit;
  const facts = [
    fact("nodes", count(metrics.nodes)),
    fact("edges", count(metrics.edges)),
    fact("loss of the circuit alone", plain(metrics.loss), metrics.met ? ` target ${metrics.target} met` : ` target ${metrics.target} missed`),
    fact("raw", plain(metrics.raw_loss), ` scale ${metrics.scale.toFixed(2)}`),
    fact("whole model", plain(metrics.full_loss)),
    fact("accuracy", percent(metrics.accuracy, 1), ` ${count(metrics.heldout_pairs)} held-out pairs`),
  ];
  if (metrics.necessity) {
    const need = metrics.necessity;
    facts.push(fact("model without the circuit", percent(need.accuracy), ` refitted ${percent(need.refitted_accuracy)}; loss ${plain(need.loss, 2)}, random circuits ${plain(need.random_loss, 2)}`));
  }
  show("facts",
    el("p", { class: "about" }, circuit.about, el("span", { class: "faint" }, circuit.form === "contrast" ? " — contrast of two candidates" : " — one token against all"),
      metrics.necessity ? [" ", necessityTag(metrics.necessity)] : null),
    el("dl", { class: "facts" }, facts),
    ablationTable(circuit, choose),
    (circuit.left_out || []).length ? el("p", { class: "note" }, `To keep this page small, or for want of data, less is shown. ${circuit.left_out.map(sentence).join(" ")}`) : null);
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;

function renderPanel(circuit, node, choose) {
  if (!node) {
    show("panel", el("p", { class: "hint" }, "Choose a node to see what it is, what it is joined to, and where in the prompts it is active. Arrow keys walk through the circuit."), strongest(circuit, choose));
    return;
  }
  const incoming = circuit.edges.filter((edge) => edge.target === node.name);
  const outgoing = circuit.edges.filter((edge) => edge.source === node.name);
  const used = incoming.length + outgoing.length;
  const [kind, gloss] = GLOSSES[node.site];
  const before = circuit.stream.filter((link) => link.target === node.name).map((link) => link.source);
  const after = circuit.stream.filter((link) => link.source === node.name).map((link) => link.target);
  show("panel",
    el("div", { class: "panel-head" },
      el("h3", {}, el("code", { id: "node-name" }, node.name)),
      el("button", { type: "button", class: "quiet", "aria-label": "Clear the selection", onclick: () => choose(null) }, "×")),
    el("p", { class: "kind" }, `Layer ${node.layer}${node.head === null ? "" : `, head ${node.head}`} · ${kind}`),
    el("p", { class: "gloss" }, gloss),
    el("dl", { class: "facts" },
      fact("mean (frozen value)", plain(node.mean)),
      node.gain === undefined ? null : fact("rescaled", `× ${node.gain.toFixed(2)}`, " distance from its mean"),
      fact("effect", node.effect === null ? "not measured" : signed(node.effect, 3), node.effect === null ? null : ` nats if removed${estimated(circuit)}`),
      fact("edges used", `${count(used)} of ${count(node.edges_total)}`, edgesSplit(node, incoming, outgoing)),
      node.text ? fact("on text", percent(node.text.nonzero, node.text.nonzero < 0.1 ? 1 : 0), " of tokens not zero") : null),
    distribution(node),
    positionChart(node),
    edgeList("From", incoming, "source", circuit, choose),
    streamList("Written by (residual stream)", before, choose),
    tokenList("Tokens of the prompts that write it", node.tokens_in),
    tokenList("Tokens of the vocabulary that write it", node.vocabulary_in),
    edgeList("To", outgoing, "target", circuit, choose),
    streamList("Read by (residual stream)", after, choose),
    tokenList("Logits that it moves", node.logits_out));
}

const estimated = (circuit) => (circuit.effects?.estimated ? " (estimated to first order)" : "");

// How many of its weights in the whole model the circuit uses, those that come in and those that go out.
function edgesSplit(node, incoming, outgoing) {
  if (node.edges_in === undefined) return " nonzero in the model";
  return ` nonzero in the model: in ${count(incoming.length)} of ${count(node.edges_in)}, out ${count(outgoing.length)} of ${count(node.edges_out)}`;
}

function distribution(node) {
  if (!node.text?.histogram) return null;
  return el("section", {}, el("h4", {}, "Its values on pretraining text, where not zero"), histogram(node.text.histogram, [[node.mean, "mean"], [0, "zero"]]),
    el("p", { class: "histogram-key" }, "solid line: the mean; dashed: zero"));
}

function positionChart(node) {
  if (!node.positions_in?.length) return null;
  return lineChart({ title: "What positions write into it", x: { label: "position in the prompt", unit: "is the position", format: (value) => String(value) }, y: { label: "value", format: brief, zero: true }, series: [{ name: "value", points: node.positions_in }] });
}

function strongest(circuit, choose) {
  const ranked = circuit.nodes.filter((node) => node.effect !== null).sort((a, b) => b.effect - a.effect).slice(0, 8);
  if (!ranked.length) return null;
  const largest = Math.max(1e-9, ranked[0].effect);
  return el("section", {}, el("h4", {}, `Largest effects, nats if removed${estimated(circuit)}`),
    el("ul", { class: "links" }, ranked.map((node) => weightRow(nodeButton(node.name, choose), node.effect, largest, false))));
}

const nodeButton = (name, choose) => el("button", { type: "button", class: "node-link", onclick: () => choose(name, true) }, name);

function weightBar(weight, largest, coloured = true) {
  const bar = el("span", { class: `weight-bar ${coloured ? signClass(weight) : "neutral"}` });
  bar.style.width = `${Math.max(1, 100 * Math.min(1, Math.abs(weight) / largest))}%`;
  return bar;
}

function weightRow(label, weight, largest, coloured = true) {
  return el("li", {}, label, el("span", { class: "weight-track" }, weightBar(weight, largest, coloured)), el("span", { class: "weight" }, signed(weight)));
}

const SHOWN = 12; // longer lists fold

function edgeList(title, edges, end, circuit, choose) {
  if (!edges.length) return null;
  const largest = Math.max(1e-9, ...circuit.edges.map((edge) => Math.abs(edge.weight)));
  const rows = [...edges].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).map((edge) => weightRow(nodeButton(edge[end], choose), edge.weight, largest));
  return el("section", {}, el("h4", {}, `${title} (${edges.length})`),
    el("ul", { class: "links" }, rows.slice(0, SHOWN)),
    rows.length > SHOWN ? el("details", {}, el("summary", {}, `${rows.length - SHOWN} weaker`), el("ul", { class: "links" }, rows.slice(SHOWN))) : null);
}

function streamList(title, names, choose) {
  if (!names.length) return null;
  return el("section", {}, el("h4", {}, title), el("ul", { class: "links" }, names.map((name) => el("li", {}, nodeButton(name, choose)))));
}

function tokenList(title, tokens) {
  if (!tokens?.length) return null;
  const largest = Math.max(1e-9, ...tokens.map(([, weight]) => Math.abs(weight)));
  return el("section", {}, el("h4", {}, title),
    el("ul", { class: "links" }, tokens.map(([text, weight]) => weightRow(token(text), weight, largest))));
}
