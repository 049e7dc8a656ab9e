// Start a pruning from the page and watch it.

const SECONDS_BETWEEN_LOOKS = 0.5;
let ordered = null; // the latest order, which stays in the form when the list of runs is read anew

function renderPruneForm(runs) {
  const able = runs.filter((run) => !run.why_not_pruned);
  if (!able.length) {
    const why = [...new Set(runs.map((run) => run.why_not_pruned))];
    show("prune", el("h3", {}, "Prune"), el("p", { class: "hint" }, "No run here can be pruned: ", why.join("; ") || "there is none", "."));
    return;
  }
  const tasks = el("select", { id: "prune-task", onchange: () => ask() });
  const run = el("select", { id: "prune-run", onchange: () => fillTasks() }, able.map((one) => el("option", { value: one.key }, one.name)));
  const objective = el("select", { id: "prune-objective" },
    el("option", { value: "faithful" }, "faithful: also with other nodes restored"), el("option", { value: "task" }, "task: as in the paper, quicker"));
  const target = el("input", { id: "prune-target", type: "number", min: 0.001, max: 10, step: "any", value: 0.15 });
  const replace = el("input", { id: "prune-replace", type: "checkbox" });
  const sure = el("label", { id: "prune-sure", hidden: true }, replace, " replace the circuit that is there");
  const chosen = () => able[run.selectedIndex];
  const ask = () => { replace.checked = false; sure.hidden = !chosen().circuits.some((circuit) => circuit.name === tasks.value); };
  const fillTasks = () => { tasks.replaceChildren(...chosen().tasks.map((task) => el("option", { value: task }, words(task)))); ask(); };
  show("prune",
    el("h3", {}, "Prune"),
    el("p", { class: "note" }, "Cut out the smallest circuit that does a task, as the command ", el("code", {}, "sparsecircuits prune"), " does."),
    el("form", { class: "prune-form", onsubmit: (event) => {
      event.preventDefault();
      ordered = { run: run.value, task: tasks.value, objective: objective.value, target: Number(target.value), replace: replace.checked };
      startPruning(ordered);
    } },
      el("label", {}, "run", run), el("label", {}, "task", tasks), el("label", {}, "objective", objective),
      el("label", {}, "target loss, nats", target), sure,
      el("button", { type: "submit", id: "prune-start", class: "quiet" }, "Start")),
    el("div", { id: "pruning", "aria-live": "polite" }));
  if (ordered) { run.value = ordered.run; objective.value = ordered.objective; target.value = ordered.target; }
  fillTasks();
  if (ordered) { tasks.value = ordered.task; ask(); }
}

async function startPruning(order) {
  try {
    await asked("/api/prune", order);
  } catch (error) {
    show("pruning", el("p", { class: "notice" }, error.message));
    return;
  }
  await watchPruning();
}

async function watchPruning() {
  let before = null;
  for (;;) {
    let pruning;
    try {
      pruning = (await asked("/api/pruning")).told.pruning;
    } catch (error) {
      notify(error.message);
      return;
    }
    const running = pruning?.state === "running";
    if (before === "running" && !running) await loadRuns();
    if (pruning && byId("pruning")) renderPruning(pruning);
    if (byId("prune-start")) byId("prune-start").disabled = running;
    if (!running) return;
    before = pruning.state;
    await later(1000 * SECONDS_BETWEEN_LOOKS);
  }
}

const PRUNING_WORDS = { running: "running", done: "● done", failed: "✕ failed", cancelled: "○ cancelled" };

function renderPruning(pruning) {
  const { state, done, total, loss, remark } = pruning;
  const facts = [`${duration(pruning.seconds)} so far`];
  if (loss !== null && loss !== undefined) facts.push(`loss ${plain(loss)}`);
  if (remark) facts.push(remark);
  else if (total && done >= total) facts.push("testing the circuit");
  else if (typeof pruning.seconds_left === "number") facts.push(`about ${duration(pruning.seconds_left)} left for the masks`);
  show("pruning",
    el("p", {}, el("b", {}, `${words(pruning.task)}`), ` in ${pruning.run_name}, objective ${pruning.objective}, target ${pruning.target}: `,
      el("span", { id: "pruning-state" }, PRUNING_WORDS[state]), pruning.note ? `, ${pruning.note}` : null),
    state === "running" ? [
      el("progress", { max: total || null, value: total ? done : null, "aria-label": "mask steps" }), " ",
      el("span", { class: "faint" }, facts.join(", ")), " ",
      el("button", { type: "button", id: "prune-cancel", class: "quiet", onclick: cancelPruning }, "Cancel")] : null);
}

async function cancelPruning() {
  try { await asked("/api/cancel", {}); } catch (error) { notify(error.message); }
}
