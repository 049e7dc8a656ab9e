// "Try it", below the drawing of a circuit: a prompt, three models' odds of its next token, changes to nodes.

const live = {
  run: "", circuit: "", text: "", prompts: [], ranges: {}, tokens: [], models: [],
  changes: [], node: null, position: null, // position: the token at which nodes are changed; null: all
  dropped: [], // positions of changes that went with their token since the last change
  answered: null, // the prompt that the odds are of
  shown: "circuit", // whose activations the tokens show
};

const question = () => ({ run: live.run, circuit: live.circuit, text: live.text, changes: live.changes, node: live.node && live.node.name });

const askLive = onlyLatest(async () => {
  const begun = performance.now(), text = live.text;
  try {
    const { told } = await asked("/api/ask", question());
    const before = live.position === null ? null : live.tokens[live.position];
    live.tokens = told.tokens;
    live.models = told.models;
    live.answered = text;
    dropLost();
    // The panel names the token; it stays as it is where that does, so that a slider can be dragged on.
    if (before !== (live.position === null ? null : live.tokens[live.position])) drawNode();
    drawTokens();
    drawOdds();
    // The answer counts when it is on the screen.
    requestAnimationFrame(() => status(`answered in ${Math.round(performance.now() - begun)} ms`));
  } catch (error) {
    status(error.message, true);
    drawFormer(text);
  }
});

// A question was refused: what stands there answers an earlier one, and says so.
function drawFormer(text) {
  if (live.answered === null) return;
  const what = text === live.answered ? "for the former question" : "for the former prompt";
  byId("live-odds").classList.add("former");
  byId("live-tokens").classList.add("former");
  show("live-odds", el("p", { id: "live-former", class: "note" }, what), oddsNow());
}

// Places beyond the end of a shorter prompt are gone, and changes there.
function dropLost() {
  const held = live.changes.filter((change) => change.position === null || change.position < live.tokens.length);
  if (live.position !== null && live.position >= live.tokens.length) live.position = null;
  if (held.length !== live.changes.length) {
    live.dropped.push(...live.changes.filter((change) => !held.includes(change)).map((change) => change.position));
    live.changes = held;
  }
  drawChanges();
}

// "1 change dropped: token 19 is gone"
function droppedWords(positions) {
  const gone = [...new Set(positions)].sort((a, b) => a - b);
  return `${count(positions.length)} ${positions.length === 1 ? "change" : "changes"} dropped: ${gone.length === 1 ? "token" : "tokens"} ${gone.join(", ")} ${gone.length === 1 ? "is" : "are"} gone`;
}

function status(text, wrong = false) {
  byId("live-status").textContent = text;
  byId("live-status").classList.toggle("wrong", wrong);
}

function setUpLive(run, circuit) {
  Object.assign(live, { run, circuit });
  const text = el("textarea", { id: "live-text", rows: 2, spellcheck: "false", autocomplete: "off", oninput: () => typed(text.value) });
  const prompts = el("select", { id: "live-prompts", onchange: () => take(live.prompts[prompts.selectedIndex - 1]) });
  const fold = el("button", { type: "button", class: "quiet", id: "live-fold", "aria-expanded": "true", "aria-controls": "live-body", onclick: () => folded(fold) }, "Fold");
  const panel = el("section", { id: "live", class: "live", "aria-label": "Try it" },
    el("div", { class: "live-head" }, el("h3", {}, "Try it"),
      el("label", {}, el("span", { class: "faint" }, "prompt"), prompts),
      el("span", { id: "live-status", class: "faint", role: "status" }), fold),
    el("div", { id: "live-body", class: "live-body" },
      el("div", { class: "live-left" },
        el("label", { class: "live-prompt" }, el("span", { class: "unseen" }, "Type any prompt"), text),
        el("div", { id: "live-tokens", class: "live-tokens" })),
      el("div", { class: "live-middle" }, el("div", { id: "live-node" }), el("div", { id: "live-changes" })),
      el("div", { id: "live-odds", class: "live-odds" })));
  document.querySelector(".workbench").after(panel);
  if (matchMedia("(max-width: 640px)").matches) folded(fold); // a phone shows the drawing first
  listeners.circuit.push(() => loadPrompts());
  listeners.node.push((shown, node) => { live.node = node; drawNode(); if (live.tokens.length) askLive(); });
}

async function loadPrompts() {
  try {
    const { told } = await asked("/api/prompts", { run: live.run, circuit: live.circuit });
    Object.assign(live, { prompts: told.prompts, ranges: told.ranges });
    if (told.writable) labelling.save = saveLabels;
  } catch (error) {
    status(error.message, true);
    return;
  }
  show("live-prompts", el("option", {}, "typed"), live.prompts.map((one) => el("option", {}, `pair ${one.pair + 1}, ${one.side}: …${one.text.slice(-30)}`)));
  drawNode();
  take(live.prompts[0]);
}

// Labels go straight into the circuit's file, unless it holds others than this page began from.
async function saveLabels(circuit, labels, began) {
  try {
    await asked("/api/labels", { run: live.run, circuit: live.circuit, sha256: circuit.sha256, labels, began });
  } catch (error) {
    if (!error.told?.labels) throw error;
    throw Object.assign(new Error("labels changed elsewhere; reload to see them, yours are kept in this browser"), { keeps: true });
  }
}

// Take one of the task's prompts.
function take(prompt) {
  if (!prompt) return;
  byId("live-text").value = prompt.text;
  typed(prompt.text);
}

function typed(text) {
  live.text = text;
  byId("live-prompts").selectedIndex = 1 + live.prompts.findIndex((one) => one.text === text);
  askLive();
}

function folded(button) {
  const open = byId("live-body").hidden;
  byId("live-body").hidden = !open;
  button.textContent = open ? "Fold" : "Unfold";
  button.setAttribute("aria-expanded", String(open));
}

// A change was made or taken back: the sliders stay as they are, so that one can be dragged on.
function changed() {
  live.dropped = [];
  drawChanges();
  askLive();
}

function drawChanges() {
  show("live-changes",
    live.dropped.length ? el("p", { id: "live-dropped", class: "note", role: "status" }, droppedWords(live.dropped)) : null,
    changeList(live, live.tokens, () => { drawNode(); changed(); }));
  const now = live.node && live.changes.find((change) => samePlace(change, { node: live.node.name, position: live.position }));
  byId("live-ablate")?.setAttribute("aria-pressed", String(now?.kind === "ablate"));
}

function drawNode() {
  show("live-node", nodeControls(live, live.node, live.tokens, changed));
}

const oddsNow = () => live.models.map((model) => oddsOf(model, MODEL_NAMES[model.name]));

function drawOdds() {
  byId("live-odds").classList.remove("former");
  byId("live-tokens").classList.remove("former");
  show("live-odds", oddsNow());
}

// The prompt's tokens, each a button that chooses where nodes are changed, with the chosen node's activation.
function drawTokens() {
  const values = live.node && live.models.find((model) => model.name === live.shown).activations;
  const reach = values ? Math.max(1e-9, ...values.after.concat(values.before).map((value) => Math.abs(value - live.node.mean))) : 1;
  const focused = document.activeElement?.dataset?.at;
  const place = (position) => { live.position = position === live.position ? null : position; drawTokens(); drawNode(); };
  show("live-tokens",
    el("div", { class: "live-chips", role: "group", "aria-label": "Where nodes are changed: all tokens, or one" },
      el("button", { type: "button", class: "live-chip all", "aria-pressed": String(live.position === null), onclick: () => place(null) }, "all tokens"),
      live.tokens.map((text, i) => el("button", { type: "button", class: "live-chip", "data-at": i, "aria-pressed": String(live.position === i), onclick: () => place(i) },
        values ? litToken(text, values.after[i], reach) : token(text), values ? el("small", {}, plain(values.after[i], 2)) : null))),
    values ? el("label", { class: "faint" }, "activation of ", el("code", {}, live.node.name), " in the ",
      el("select", { id: "live-shown", onchange: (event) => { live.shown = event.target.value; drawTokens(); } },
        live.models.map((model) => el("option", { value: model.name, selected: model.name === live.shown }, MODEL_NAMES[model.name])))) : null);
  if (focused !== undefined) document.querySelector(`#live-tokens [data-at="${Number(focused)}"]`)?.focus();
}

function litToken(text, value, reach) {
  const away = (value - live.node.mean) / reach;
  const chip = token(text, { class: Math.abs(away) > 0.08 ? `lit ${signClass(away)}` : "lit" });
  chip.style.setProperty("--strength", `${Math.round(64 * Math.min(1, Math.abs(away)))}%`);
  return chip;
}
