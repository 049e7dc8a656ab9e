// Two circuits side by side: figures, shared nodes where they are of one model, and odds on one prompt.

const SIDES = ["left", "right"];
const PARTS = { shared: ["◆", "in both"], left: ["◧", "only left"], right: ["◨", "only right"] };
const FIGURES = [
  ["task", "task", words], ["nodes", "nodes", count], ["edges", "edges", count],
  ["loss", "loss of the circuit alone", plain], ["raw_loss", "raw loss", plain], ["accuracy", "accuracy", (x) => percent(x, 1)],
  ["full_loss", "whole model’s loss", plain], ["without", "accuracy of the model without it", (x) => percent(x, 1)],
  ["target", "target", String], ["scale", "scale", (x) => x.toFixed(2)],
  ["n_layer", "layers", count], ["d_model", "channels", count], ["nonzero", "nonzero weights", count],
];
const compared = { left: null, right: null, text: "" };

async function startCompare() {
  document.title = "sparsecircuits: side by side";
  byId("title").textContent = "Side by side";
  byId("plain").append(el("div", { id: "sides", class: "sides" }), el("div", { id: "figures" }), el("div", { id: "overlap" }), el("div", { id: "both", class: "both" }));
  try {
    const { told } = await asked("/api/runs");
    const all = told.runs.flatMap((run) => run.circuits.map((circuit) => ({ id: `${run.key}/${circuit.key}`, run: run.key, circuit: circuit.key, name: circuit.name, of: run.name })));
    addEventListener("hashchange", () => followCompare(all));
    if (all.length) await followCompare(all);
    else notify("There are no circuits to compare yet.");
  } catch (error) {
    notify(error.message);
  }
}

// The address names both: #RUN/CIRCUIT|RUN/CIRCUIT, all of them plain keys.
async function followCompare(all) {
  const wanted = unescaped(location.hash.replace(/^#/, "")).split("|");
  SIDES.forEach((side, i) => { compared[side] = all.find((one) => one.id === wanted[i]) || all[Math.min(i, all.length - 1)]; });
  show("sides", SIDES.map((side) => el("label", {}, `${PARTS[side][0]} ${side}`,
    el("select", { id: `side-${side}`, onchange: (event) => { compared[side] = all[event.target.selectedIndex]; location.hash = `${compared.left.id}|${compared.right.id}`; } },
      all.map((one) => el("option", { selected: one === compared[side] }, `${one.of}: ${one.name}`))))));
  try {
    const { told } = await asked("/api/compare", Object.fromEntries(SIDES.map((side) => [side, named(compared[side])])));
    notify("");
    renderFigures(told);
    renderOverlap(told);
    await renderBoth();
  } catch (error) {
    notify(error.message);
  }
}

const named = (one) => ({ run: one.run, circuit: one.circuit });

function renderFigures(told) {
  const cell = (value, write) => el("td", { class: "n" }, value === null || value === undefined ? "–" : write(value));
  show("figures", el("div", { class: "scroller" }, el("table", { class: "tasks" },
    el("thead", {}, el("tr", {}, el("th", {}), SIDES.map((side) => el("th", { scope: "col", class: "n" },
      `${PARTS[side][0]} `, el("a", { href: circuitHref(compared[side].run, compared[side].circuit) }, `${told[side].run}: ${told[side].name}`))))),
    el("tbody", {}, FIGURES.map(([key, title, write]) => el("tr", {}, el("th", { scope: "row" }, title), SIDES.map((side) => cell(told[side][key], write))))))));
}

function renderOverlap({ overlap }) {
  if (!overlap) { show("overlap", el("p", { class: "note" }, "These are circuits of different models, so that none of their nodes are the same.")); return; }
  const { counts, nodes, jaccard } = overlap;
  show("overlap",
    el("h3", {}, "Nodes"),
    el("p", { class: "note" }, jaccard === null ? "Both are empty." : `Both are cut out of one model; ${percent(jaccard)} of all their nodes are in both.`),
    el("div", { class: "parts" }, Object.entries(PARTS).map(([part, [sign, title]]) => el("section", { class: `part part-${part}`, "aria-label": title },
      el("h4", {}, `${sign} ${title}: ${count(counts[part].nodes)} nodes, ${count(counts[part].edges)} edges`),
      el("ul", {}, nodes[part].map((name) => el("li", {}, el("a", { href: nodeHref(part === "right" ? "right" : "left", name) }, el("code", {}, name))))),
      nodes[part].length < counts[part].nodes ? el("p", { class: "hint" }, `and ${count(counts[part].nodes - nodes[part].length)} more`) : null))));
}

// A circuit's own page knows which node is meant by the end of its address.
const nodeHref = (side, name) => `${circuitHref(compared[side].run, compared[side].circuit)}#node=${encodeURIComponent(name)}`;

async function renderBoth() {
  const { told } = await asked("/api/prompts", named(compared.left));
  compared.text = compared.text || told.prompts[0]?.text || "";
  const text = el("textarea", { id: "both-text", rows: 2, spellcheck: "false", oninput: () => { compared.text = text.value; askBoth(); } });
  text.value = compared.text;
  show("both",
    el("h3", {}, "The same prompt"),
    el("label", { class: "live-prompt" }, el("span", { class: "unseen" }, "Type any prompt"), text),
    el("p", { id: "both-status", class: "faint", role: "status" }),
    el("div", { id: "both-odds", class: "both-odds" }));
  askBoth();
}

const askBoth = onlyLatest(async () => {
  const text = compared.text;
  try {
    const answers = await Promise.all(SIDES.map((side) => asked("/api/ask", { ...named(compared[side]), text })));
    byId("both-status").textContent = "";
    show("both-odds", SIDES.map((side, i) => el("section", { "aria-label": side },
      el("h4", {}, `${PARTS[side][0]} ${compared[side].of}: ${compared[side].name}`),
      el("div", { class: "live-odds" }, answers[i].told.models.map((model) => oddsOf(model, MODEL_NAMES[model.name]))))));
  } catch (error) {
    byId("both-status").textContent = error.message;
  }
});
