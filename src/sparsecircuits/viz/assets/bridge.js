// Below a circuit: what it says of the dense model that its model has a bridge to.

const DIRECTIONS = { bridge: "the node, through the bridge", means: "the dense model’s own means", gradient: "best by gradient", random: "random" };
const CARRIED = { own: "its own reads", all: "all channels", circuit: "the circuit’s nodes", rest: "all other channels", random: "as many random nodes" };

function locationWords(name) {
  const [layer, half] = name.split(".");
  return half === "resid_in" ? `before attention ${layer}` : half === "resid_mid" ? `before MLP ${layer}` : "before the unembedding";
}

function signedLoss(value) {
  return (value < 0 ? "−" : "+") + plain(Math.abs(value), 3);
}

// A share, which may be negative; nothing is "-0%".
function shareWords(value) {
  const whole = Math.round(100 * value);
  return `${whole < 0 ? "−" : ""}${Math.abs(whole)}%`;
}

const nodesWords = (many) => (many === 1 ? "1 node" : `${count(many)} nodes`);

function renderBridge(circuit) {
  const bridge = circuit.bridge;
  if (!bridge) {
    show("bridge");
    return;
  }
  show("bridge",
    el("h3", {}, "Through the bridge"),
    el("p", { class: "note" }, "This model was trained beside a dense one, ", el("b", {}, bridge.dense), ", with a map each way at every place of the residual stream. What follows was done to the dense model."),
    bridge.transfer ? transferPart(bridge.transfer) : null,
    bridge.steering ? steeringPart(bridge.steering, circuit.form) : null,
    bridge.report ? reportPart(bridge.report) : null);
}

function transferPart(transfer) {
  const { circuit, random } = transfer.share, rows = Object.keys(CARRIED).filter((name) => transfer.share[name]);
  const largest = Math.max(1, ...rows.map((name) => Math.abs(transfer.share[name].estimate)));
  const beside = random ? [`; with as many random nodes ${shareWords(random.estimate)}`, `, with random nodes ${shareWords(transfer.flips.random)}`] : ["", ""];
  return el("div", { class: "bridge-part" },
    el("h4", {}, "Does the circuit explain the dense model?"),
    el("p", {}, `Where the dense model reads ${nodesWords(transfer.nodes.length)} of the circuit as on a pair’s other prompt, it goes ${shareWords(circuit.estimate)} of the way to that prompt’s answer${beside[0]}. ${shareWords(transfer.flips.circuit)} of ${count(transfer.prompts)} answers flip${beside[1]}.`),
    el("div", { class: "scroller" }, el("table", { class: "tasks bridge-shares" },
      el("thead", {}, el("tr", {}, ["what is carried over", "share of its change of mind", "95%", ""].map((title, i) => el("th", { scope: "col", class: i === 1 || i === 2 ? "n" : "" }, title)))),
      el("tbody", {}, rows.map((name) => {
        const share = transfer.share[name];
        return el("tr", {}, el("th", { scope: "row" }, CARRIED[name]), el("td", { class: "n" }, shareWords(share.estimate)),
          el("td", { class: "n" }, `${shareWords(share.low)} to ${shareWords(share.high)}`),
          el("td", {}, el("span", { class: "weight-track" }, weightBar(share.estimate, largest, name === "circuit"))));
      })))),
    transfer.left_out ? el("p", { class: "note" }, `${nodesWords(transfer.left_out)} of the circuit ${transfer.left_out === 1 ? "does not read the residual stream, and is" : "do not read the residual stream, and are"} not carried.`) : null);
}

// Of one token against all there are no two answers to compare, so there is one chart.
function steeringPart(steering, form) {
  const x = { label: "strength", unit: "strength", format: numberOf(1) }, { strengths } = steering;
  const chart = (key, title) => lineChart({ title, x, y: { label: "probability", format: numberOf(2), zero: true }, note: "Bands and brackets: 95%.",
    series: Object.keys(DIRECTIONS).map((name) => steering.curves.find((curve) => curve.name === name)).filter(Boolean)
      .map((curve) => ({ name: DIRECTIONS[curve.name], points: strengths.map((strength, i) => [strength, curve[key][i]]), between: strengths.map((_, i) => [curve[`${key}_low`][i], curve[`${key}_high`][i]]) })) });
  const bridge = steering.curves.find((curve) => curve.name === "bridge");
  const [key, of] = form === "contrast" ? ["pair", "of the two"] : ["p_other", "of all tokens"];
  const side = steering.side === "both" ? "" : `${steering.side} `;
  const between = `${percent(bridge[`${key}_low`].at(-1))} to ${percent(bridge[`${key}_high`].at(-1))}`;
  return el("div", { class: "bridge-part" },
    el("h4", {}, "Steering the dense model through one node"),
    el("p", {}, "What ", nodeButton(steering.node, choose), ` is on the other prompt, less what it is on the own, goes through the bridge at every token. At strength ${strengths.at(-1)} the other answer has ${percent(bridge[key].at(-1))} ${of} (95%: ${between}), at strength ${strengths[0]} it has ${percent(bridge[key][0])}. That is of ${count(steering.prompts)} held-out ${side}prompts, ${percent(steering.right)} of which are answered rightly when nothing is steered. All directions are equally long.`),
    el("div", { class: "chart-grid" }, form === "contrast" ? chart("pair", "The other answer, of the two") : null, chart("p_other", "The other answer, of all tokens")));
}

function reportPart(report) {
  const most = Math.max(0.1, ...report.to_sparse.map(Math.abs), ...report.to_dense.map(Math.abs));
  const cell = (value) => el("td", { class: `n heat-${value > 0 ? "neg" : "pos"}-${Math.round(5 * Math.abs(value) / most)}` }, signedLoss(value));
  return el("div", { class: "bridge-part" },
    el("h4", {}, "Hybrids of the two models"),
    el("p", {}, `Loss of runs that are one model up to a place and the other from there on, above the worse of the two (dense ${plain(report.dense, 3)}, sparse ${plain(report.sparse, 3)} nats a token): ${signedLoss(report.mean_excess)} on average, ${signedLoss(report.largest_excess)} at worst.`),
    el("div", { class: "scroller" }, el("table", { class: "tasks bridge-heat" },
      el("thead", {}, el("tr", {}, ["place", "dense, then sparse", "sparse, then dense", "encoder misses", "decoder misses"].map((title, i) => el("th", { scope: "col", class: i ? "n" : "" }, title)))),
      el("tbody", {}, report.names.map((name, i) => el("tr", {}, el("th", { scope: "row" }, locationWords(name)), cell(report.to_sparse[i]), cell(report.to_dense[i]),
        el("td", { class: "n" }, percent(report.encode[i])), el("td", { class: "n" }, percent(report.decode[i]))))))));
}

listeners.circuit.push(renderBridge);
