// What is done to nodes: frozen at the mean, held at a value, scaled. One change for a node at a place.

const CHANGE_WORDS = {
  ablate: () => "frozen at its mean",
  clamp: (value) => `held at ${plain(value, 2)}`,
  scale: (value) => `scaled × ${value.toFixed(2)}`,
};
const STEPS = 200; // of a slider

const samePlace = (a, b) => a.node === b.node && a.position === b.position;

function addChange(live, change) {
  live.changes = [...live.changes.filter((other) => !samePlace(other, change)), change];
}

function placeWords(position, tokens) {
  if (position === null) return ["at all tokens"];
  const text = tokens[position];
  return ["at token ", String(position), " ", text === undefined ? null : token(text)];
}

// The list of changes, each with a button that takes it back.
function changeList(live, tokens, changed) {
  if (!live.changes.length) return el("p", { class: "hint" }, "No node is changed.");
  const remove = (change) => { live.changes = live.changes.filter((other) => other !== change); changed(); };
  return [
    el("ul", { class: "changes" }, live.changes.map((change) => el("li", {},
      el("code", {}, change.node), " ", CHANGE_WORDS[change.kind](change.value), " ", placeWords(change.position, tokens), " ",
      el("button", { type: "button", class: "quiet", "aria-label": `Take back the change of ${change.node}`, onclick: () => remove(change) }, "×")))),
    el("button", { type: "button", class: "quiet", id: "live-clear", onclick: () => { live.changes = []; changed(); } }, "Take all back"),
  ];
}

// The controls of the chosen node. `changed` is called after each change.
function nodeControls(live, node, tokens, changed) {
  if (!node) return el("p", { class: "hint" }, "Choose a node in the drawing to freeze, hold or scale it.");
  const place = { node: node.name, position: live.position };
  const now = live.changes.find((change) => samePlace(change, place));
  const put = (kind, value) => { addChange(live, { ...place, kind, value }); changed(); };
  const [low, high] = rangeOf(live, node);
  return [
    el("p", { class: "live-node-name" }, el("code", {}, node.name), " ", placeWords(live.position, tokens)),
    el("div", { class: "live-controls" },
      el("button", { type: "button", id: "live-ablate", class: "quiet", "aria-pressed": String(now?.kind === "ablate"), onclick: () => put("ablate", 0) }, `Ablate: freeze at its mean, ${plain(node.mean, 2)}`),
      slider("live-clamp", "Hold at", now?.kind === "clamp" ? now.value : node.mean, low, high, (value) => plain(value, 2), (value) => put("clamp", value)),
      slider("live-scale", "Scale ×", now?.kind === "scale" ? now.value : 1, 0, 3, (value) => value.toFixed(2), (value) => put("scale", value))),
  ];
}

// A node's range: what it was on the task's prompts, its mean in it, and no single point.
function rangeOf(live, node) {
  const [least, most] = live.ranges[node.name] || [node.mean, node.mean];
  const low = Math.min(least, node.mean), high = Math.max(most, node.mean);
  const room = Math.max(0.1 * (high - low), 0.05);
  return [low - room, high + room];
}

function slider(id, label, value, low, high, words, changed) {
  const out = el("output", { for: id }, words(value));
  const input = el("input", { type: "range", id, min: low, max: high, step: (high - low) / STEPS, value, oninput: () => {
    out.textContent = words(Number(input.value));
    changed(Number(input.value));
  } });
  return el("label", { class: "live-slider" }, el("span", {}, label), input, out);
}
