// The task's prompts, left and right of a pair one under another, token by token; the chosen node's
// activation as colour (blue and underlined above its mean, orange and dashed below).

const PAIRS_AT_FIRST = 4;

function renderPrompts(circuit, node) {
  const pairs = new Map();
  for (const sample of circuit.samples) pairs.set(sample.pair, [...(pairs.get(sample.pair) || []), sample]);
  if (!pairs.size) { show("prompts"); return; }
  const reach = node ? Math.max(1e-9, ...circuit.samples.flatMap((s) => (s.activations[node.name] || []).map((a) => Math.abs(a - node.mean)))) : 1;
  const blocks = [...pairs.entries()].map(([pair, sides]) => pairBlock(pair, sides, node, reach));
  show("prompts",
    el("div", { class: "prompts-head" }, el("h3", {}, "On the task’s prompts"), node ? scaleLegend(node, reach) : el("p", { class: "hint" }, "Choose a node to colour the tokens by its activation.")),
    ...blocks.slice(0, PAIRS_AT_FIRST),
    blocks.length > PAIRS_AT_FIRST ? el("details", {}, el("summary", {}, `${blocks.length - PAIRS_AT_FIRST} more pairs`), blocks.slice(PAIRS_AT_FIRST)) : null);
}

function scaleLegend(node, reach) {
  return el("p", { class: "scale" }, "activation of ", el("code", {}, node.name), el("span", { class: "ramp-row" },
    el("span", {}, plain(node.mean - reach, 2)), el("span", { class: "ramp", "aria-hidden": "true" }),
    el("span", {}, plain(node.mean + reach, 2))), el("span", { class: "faint" }, `plain = its mean, ${plain(node.mean, 2)}`));
}

function pairBlock(pair, sides, node, reach) {
  const ordered = [...sides].sort((a, b) => (a.side < b.side ? -1 : 1));
  const length = Math.max(...ordered.map((sample) => sample.tokens.length));
  const line = el("div", { class: "columns" });
  for (let i = 0; i < length; i++) {
    const differs = ordered.some((sample) => sample.differs.includes(i));
    line.append(el("span", { class: `column${differs ? " differs" : ""}` }, ordered.map((sample) => cell(sample, i, node, reach))));
    if (ordered.every((sample) => (sample.tokens[i] || "").includes("\n"))) line.append(el("span", { class: "break" }));
  }
  return el("article", { class: "pair" }, line, el("div", { class: "answers" }, ordered.map((sample) => answer(sample))));
}

function cell(sample, i, node, reach) {
  if (i >= sample.tokens.length) return el("span", { class: "tok" });
  const value = node ? sample.activations[node.name]?.[i] : undefined;
  if (value === undefined) return token(sample.tokens[i], { title: JSON.stringify(sample.tokens[i]) });
  const away = (value - node.mean) / reach;
  const strong = Math.abs(away) > 0.08;
  const element = token(sample.tokens[i], { class: strong ? `lit ${signClass(away)}` : "lit", title: `${JSON.stringify(sample.tokens[i])}: ${plain(value)}` });
  element.style.setProperty("--strength", `${Math.round(64 * Math.min(1, Math.abs(away)))}%`);
  return element;
}

function answer(sample) {
  return el("p", { class: "answer" }, el("span", { class: "side" }, sample.side), "answer ", token(sample.answer),
    sample.other ? [" not ", token(sample.other)] : null,
    el("span", { class: "odds" }, ` circuit ${percent(sample.probability)}`, el("span", { class: "faint" }, ` · whole model ${percent(sample.full_probability)}`)));
}
