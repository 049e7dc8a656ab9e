// All runs and circuits, a way to put two side by side, and prunings.

const picked = []; // RUN/CIRCUIT of those to compare, the latest two

async function startHome() {
  document.title = "sparsecircuits: runs and circuits";
  byId("title").textContent = "Runs and circuits";
  byId("plain").append(
    el("p", { id: "picked", class: "note" }),
    el("div", { id: "runs" }),
    el("section", { id: "prune", class: "card", "aria-label": "Prune" }));
  await loadRuns();
  await watchPruning();
}

async function loadRuns() {
  try {
    const { told } = await asked("/api/runs");
    show("runs", told.runs.length ? told.runs.map(runSection) : el("p", { class: "notice" }, "No finished run is here yet: sparsecircuits demo makes one."));
    renderPicked();
    renderPruneForm(told.runs);
  } catch (error) {
    notify(error.message);
  }
}

function runSection(run) {
  return el("section", { class: "run", "aria-label": run.name },
    el("h3", {}, run.name, run.bundled ? el("span", { class: "faint" }, " comes with the package") : null),
    el("p", { class: "note" }, `${run.n_layer} layers, ${run.d_model} channels`, run.val_loss === null ? null : `, validation loss ${plain(run.val_loss)} nats per token`),
    run.circuits.length ? circuitTable(run) : run.damaged.length ? null : el("p", { class: "hint" }, "No circuits yet."),
    run.damaged.length ? el("ul", { class: "damaged" }, run.damaged.map(({ name, error }) => el("li", {}, el("b", {}, name), ` is damaged: ${error}`))) : null);
}

function circuitTable(run) {
  return el("div", { class: "scroller" }, el("table", { class: "tasks" },
    el("thead", {}, el("tr", {}, ["circuit", "task", "nodes", "edges", "loss", "target", "compare"].map((title, i) => el("th", { scope: "col", class: i >= 2 && i <= 4 ? "n" : "" }, title)))),
    el("tbody", {}, run.circuits.map((circuit) => el("tr", {},
      el("th", { scope: "row" }, el("a", { href: circuitHref(run.key, circuit.key) }, circuit.name)),
      el("td", {}, words(circuit.task)),
      el("td", { class: "n" }, count(circuit.nodes)),
      el("td", { class: "n" }, circuit.edges === null ? "–" : count(circuit.edges)),
      el("td", { class: "n" }, circuit.loss === null ? "–" : plain(circuit.loss)),
      el("td", {}, circuit.met === null ? "–" : circuit.met ? "met" : "missed"),
      el("td", {}, pickBox(run, circuit)))))));
}

function pickBox(run, circuit) {
  const id = `${run.key}/${circuit.key}`;
  return el("input", { type: "checkbox", "data-pick": id, "aria-label": `Compare ${run.name}, ${circuit.name}`, checked: picked.includes(id), onchange: (event) => {
    if (picked.includes(id)) picked.splice(picked.indexOf(id), 1);
    if (event.target.checked) picked.push(id);
    while (picked.length > 2) picked.shift();
    for (const box of document.querySelectorAll("[data-pick]")) box.checked = picked.includes(box.dataset.pick);
    renderPicked();
  } });
}

function renderPicked() {
  const [left, right] = picked;
  show("picked", right
    ? el("a", { id: "compare-link", href: `/compare#${left}|${right}` }, "Put the two side by side")
    : "Choose two circuits to put them side by side.");
}
