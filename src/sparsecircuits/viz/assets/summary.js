// The top of the page: what was measured over all tasks, and the facts of each model.

// Deleting the circuit leaves the model at chance, raw and refitted: it was needed.
function isNecessary(necessity) {
  const chance = (value) => value >= 0.4 && value <= 0.6;
  return chance(necessity.accuracy) && chance(necessity.refitted_accuracy);
}

function necessityTag(necessity) {
  if (!necessity) return el("span", { class: "faint" }, "–");
  const needed = isNecessary(necessity);
  return el("span", {
    class: `tag ${needed ? "tag-yes" : "tag-no"}`,
    title: `accuracy without the circuit ${percent(necessity.accuracy)}, refitted ${percent(necessity.refitted_accuracy)}`,
  }, needed ? "● necessary" : "○ redundant");
}

function tile(value, label, note) {
  return el("div", { class: "tile" },
    el("div", { class: "tile-value" }, value), el("div", { class: "tile-label" }, label),
    note ? el("div", { class: "tile-note" }, note) : null);
}

function renderSummary(data) {
  const { summary, models } = data;
  const box = byId("summary");
  if (summary) {
    const tiles = [];
    const { geomean_edges: edges, geomean_nodes: nodes } = summary;
    if (edges) tiles.push(tile(`${edges.ratio.toFixed(1)}×`, "fewer edges", `${edges.sparse.toFixed(1)} sparse, ${edges.dense.toFixed(1)} dense`));
    if (nodes) tiles.push(tile(`${nodes.ratio.toFixed(1)}×`, "fewer nodes", `${nodes.sparse.toFixed(1)} sparse, ${nodes.dense.toFixed(1)} dense`));
    const losses = Object.entries(summary.val_loss);
    if (losses.length) {
      tiles.push(tile(losses.map(([, loss]) => loss.toFixed(2)).join(" · "), "validation loss, nats per token", losses.map(([name]) => name).join(" · ")));
    }
    tiles.push(tile(percent(summary.density, 1), "of the weights are nonzero", `seed ${summary.seed}`));
    if (summary.seconds.total) tiles.push(tile(duration(summary.seconds.total), "from text to circuits", `${short(summary.tokens)} tokens`));
    box.append(el("div", { class: "tiles" }, tiles), taskTable(summary, data.circuits));
    if (edges || nodes) box.append(el("p", { class: "note" }, "“Fewer” compares geometric means over the tasks that were pruned in both models: dense over sparse."));
  }
  box.append(modelFacts(models));
}

function modelFacts(models) {
  return el("dl", { class: "models" }, Object.values(models).map((model) => [
    el("dt", {}, model.label),
    el("dd", {}, `${model.n_layer} layers · width ${model.d_model} · ${model.n_head} heads of ${model.d_head} · `
      + `${model.d_mlp} neurons a layer · ${count(model.nonzero)} of ${count(model.parameters)} parameters nonzero · `
      + `validation loss ${model.val_loss.toFixed(3)} after ${short(model.tokens)} tokens`),
  ]));
}

function taskTable(summary, circuits) {
  const names = [...new Set(summary.tasks.flatMap((task) => Object.keys(task.circuit)))];
  const largest = Math.max(10, ...summary.tasks.flatMap((task) => Object.values(task.circuit).map((size) => size?.edges || 0)));
  const head = el("thead", {}, el("tr", {},
    el("th", { scope: "col" }, "task"), el("th", { scope: "col", class: "n" }, "unpruned loss"),
    el("th", { scope: "col", class: "n" }, "accuracy"),
    names.map((name) => el("th", { scope: "col", class: "n" }, `${name}: nodes / edges`)),
    el("th", { scope: "col", class: "n" }, "edge ratio"),
    el("th", { scope: "col", class: "wide" }, "edges: ● sparse ○ dense", logAxis(largest)),
    el("th", { scope: "col" }, "the sparse circuit is")));
  const rows = summary.tasks.map((task) => {
    const { sparse, dense } = task.circuit;
    return el("tr", { class: task.done ? "" : "undone" },
      el("th", { scope: "row" }, words(task.name)),
      el("td", { class: "n" }, task.loss.toFixed(3)),
      el("td", { class: "n" }, percent(task.accuracy, 1)),
      names.map((name) => el("td", { class: "n" }, sizeCell(task, name, circuits))),
      el("td", { class: "n strong" }, sparse && dense ? `${(Math.max(1, dense.edges) / Math.max(1, sparse.edges)).toFixed(1)}×` : "–"),
      el("td", { class: "wide" }, dumbbell(sparse?.edges, dense?.edges, largest)),
      el("td", {}, task.done ? necessityTag(task.necessity) : el("span", { class: "faint" }, "not done by the model")));
  });
  return el("div", { class: "scroller" }, el("table", { class: "tasks" }, head, el("tbody", {}, rows)));
}

function sizeCell(task, name, circuits) {
  const size = task.circuit[name];
  if (!size) return el("span", { class: "faint" }, task.done ? "not pruned" : "–");
  const text = `${count(size.nodes)} / ${count(size.edges)}`;
  const title = `held-out loss ${size.loss.toFixed(3)}, raw ${size.raw_loss.toFixed(3)}`;
  const circuit = circuits.find((c) => c.task === task.name && c.model === name);
  return circuit ? el("a", { href: address(circuit.id), title }, text) : el("span", { title }, text);
}

const LINE = 170;
const logAt = (edges, largest) => 6 + (LINE - 16) * Math.log10(Math.max(1, edges)) / Math.log10(largest);

function powers(largest) {
  const found = [];
  for (let power = 1; power <= largest; power *= 10) found.push(power);
  return found;
}

function logAxis(largest) {
  return svg("svg", { class: "dumbbell", viewBox: `0 0 ${LINE} 12`, width: LINE, height: 12, "aria-hidden": "true" },
    powers(largest).map((power) => svg("text", { x: logAt(power, largest), y: 10, "text-anchor": "middle" }, power >= 1000 ? `${power / 1000}k` : String(power))));
}

// Sparse (filled) and dense (hollow) on one logarithmic line.
function dumbbell(sparse, dense, largest) {
  const at = (edges) => logAt(edges, largest);
  const picture = svg("svg", { class: "dumbbell", viewBox: `0 0 ${LINE} 16`, width: LINE, height: 16, "aria-hidden": "true" },
    powers(largest).map((power) => svg("line", { class: "tick", x1: at(power), x2: at(power), y1: 2, y2: 14 })));
  if (sparse !== undefined && dense !== undefined) picture.append(svg("line", { class: "bar", x1: at(sparse), x2: at(dense), y1: 8, y2: 8 }));
  if (dense !== undefined) picture.append(svg("circle", { class: "hollow", cx: at(dense), cy: 8, r: 4 }));
  if (sparse !== undefined) picture.append(svg("circle", { class: "full", cx: at(sparse), cy: 8, r: 4.5 }));
  return picture;
}
