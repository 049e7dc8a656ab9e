// What a whole layer, sublayer or site does: the rise of the circuit's loss when all of its nodes there are
// removed at once, with the nodes that it holds.

const NODES_NAMED = 6;

function ablationTable(circuit, choose) {
  const rows = circuit.ablations || [];
  if (!rows.length) return null;
  const largest = Math.max(1e-9, ...rows.map((row) => Math.abs(row.effect)));
  return el("details", { class: "ablations" }, el("summary", {}, "Without a layer or a site"),
    el("p", { class: "note" }, `How much the loss rises, in nats, when all nodes of the circuit there are removed at once; on ${count(circuit.effects?.pairs || 0)} held-out pairs.`),
    el("div", { class: "scroller" }, el("table", { class: "tasks" },
      el("thead", {}, el("tr", {}, ["place", "nodes", "nats", "", "of them the strongest"].map((words, i) => el("th", { scope: "col", class: i === 1 || i === 2 ? "n" : "" }, words)))),
      el("tbody", {}, rows.map((row) => ablationRow(circuit, row, largest, choose))))));
}

function ablationRow(circuit, row, largest, choose) {
  const [layer, ...rest] = row.name.split("."), site = rest.join(".");
  const depth = ["", "sub", "subsub"][rest.length];
  const place = !site ? `layer ${layer}` : site === "attn" ? "attention" : site === "mlp" ? "MLP" : GLOSSES[site][0];
  const members = circuit.nodes.filter((node) => node.name.startsWith(`${row.name}.`));
  const named = members.sort((a, b) => Math.abs(b.effect || 0) - Math.abs(a.effect || 0)).slice(0, NODES_NAMED);
  return el("tr", { class: depth }, el("th", { scope: "row" }, place), el("td", { class: "n" }, count(row.nodes)),
    el("td", { class: "n" }, signed(row.effect, 3)), el("td", {}, el("span", { class: "weight-track" }, weightBar(row.effect, largest, false))),
    el("td", {}, rest.length < 2 ? null : el("span", { class: "of" }, named.map((node) => nodeButton(node.name, choose)), members.length > named.length ? el("span", { class: "faint" }, `and ${members.length - named.length}`) : null)));
}
