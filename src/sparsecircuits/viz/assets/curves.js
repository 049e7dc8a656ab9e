// Below a circuit: how it was found, how its size goes with the loss that is asked for, how the model was trained.

const numberOf = (digits) => (value) => plain(value, Math.abs(value) >= 100 ? 0 : digits);
const wholeNumber = (value) => (value >= 1e4 ? short(value) : count(Math.round(value)));

function renderCurves(circuit) {
  const training = data.models[circuit.model].training;
  const groups = [
    ["How the circuit was found", pruningCharts(circuit.pruning, circuit.metrics), "The steps of this pruning were not stored."],
    ["Size against loss", circuit.sweep ? [sweepChart(circuit.sweep)] : [], `No sweep yet: sparsecircuits prune RUN ${circuit.task} --sweep 0.05 0.1 0.15 0.3 0.6 finds a circuit for each target.`],
    ["How the model was trained", training ? trainingCharts(training, data.models[circuit.model].tokens) : [], "The run came without its metrics."],
  ];
  show("curves", el("h3", {}, "Curves"),
    groups.some(([, charts]) => charts.length) ? el("div", { class: "chart-grid" }, groups.flatMap(([, charts]) => charts)) : null,
    groups.filter(([, charts]) => !charts.length).map(([name, , missing]) => el("p", { class: "note" }, `${name}: ${missing}`)));
}

function pruningCharts(pruning, metrics) {
  if (!pruning) return [];
  const x = { label: "mask step", unit: "mask steps", format: wholeNumber };
  const by = (values) => pruning.step.map((step, i) => [step, values[i]]);
  return [
    lineChart({ title: "Pruning: nodes that the masks keep", x, y: { label: "nodes", format: wholeNumber, log: true }, series: [{ name: "nodes", points: by(pruning.nodes).filter(([, n]) => n > 0) }],
      note: `Then nodes were tried one by one; the circuit has ${count(metrics.nodes)}.` }),
    lineChart({ title: "Pruning: task loss while masks learn", x, y: { label: "task loss, nats", format: numberOf(3), zero: true }, series: [{ name: "loss", points: by(pruning.loss) }, { name: "target", points: [pruning.step[0], pruning.step.at(-1)].map((step) => [step, metrics.target]) }],
      note: "Of one batch at a time, under the whole model’s scale." }),
  ];
}

function sweepChart(points) {
  const missed = points.filter((point) => !point.met).length;
  const by = (key) => points.filter((point) => point[key] > 0).map((point) => [point.target, point[key]]);
  return lineChart({ title: "Size against loss", marks: true, x: { label: "target loss, nats", unit: "nats", format: (value) => String(value) }, y: { label: "nodes, edges", format: wholeNumber, log: true },
    series: [{ name: "edges", points: by("edges") }, { name: "nodes", points: by("nodes") }],
    note: missed ? `${missed} of ${points.length} targets were missed; their best circuits are shown.` : `A pruning for each of ${points.length} targets.` });
}

// The validation at the end of training is on eight times the text of those before, so it stands apart.
function trainingCharts(training, tokens) {
  const atEnd = ([at]) => at >= tokens, during = training.val_loss.filter((point) => !atEnd(point));
  const x = { label: "training tokens", unit: "tokens", format: short };
  return [
    lineChart({ title: "Training: loss", x, y: { label: "nats per token", format: numberOf(2) }, series: [{ name: "training", points: training.loss }, { name: "validation", points: during }, { name: "at the end, on more text", points: training.val_loss.filter(atEnd) }] }),
    lineChart({ title: "Training: density of the weight matrices", x, y: { label: "nonzero", format: (value) => percent(value, value < 0.1 ? 1 : 0), log: training.density.every(([, v]) => v > 0) }, series: [{ name: "density", points: training.density }] }),
  ].filter(Boolean);
}

listeners.circuit.push(renderCurves);
