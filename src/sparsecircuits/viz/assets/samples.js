// Where on pretraining text the chosen node of the whole model is active: snippets from each band of its
// activations, from the top and from the bottom, and from anywhere.

function renderText(circuit, node) {
  const reason = (circuit.left_out || []).find((words) => words.startsWith("pretraining text"));
  if (!circuit.text) {
    show("text", el("h3", {}, "On pretraining text"), el("p", { class: "note" }, `Not on this page${reason ? ` (${reason})` : ""}.`));
    return;
  }
  const measured = `The whole model on ${count(circuit.text.measured)} tokens of its training text.`;
  if (!node || !node.text) {
    show("text", el("h3", {}, "On pretraining text"), el("p", { class: "hint" }, `${measured} Choose a node to see where it is active.`));
    return;
  }
  const { bands, random } = node.text;
  const all = [...bands.flatMap((band) => [...band.top, ...band.bottom]), ...random];
  const reach = Math.max(1e-9, ...all.flatMap(([, , , values]) => values.map((value) => Math.abs(value - node.mean))));
  const list = (snippets) => el("ul", { class: "snippets" }, snippets.map((one) => snippet(circuit.text, one, node.mean, reach)));
  show("text",
    el("div", { class: "prompts-head" }, el("h3", {}, "On pretraining text"), all.length ? scaleLegend(node, reach) : null),
    el("p", { class: "hint" }, `${measured} Ranked by activation, a few places drawn from each band; the number is the activation at the outlined token. ${reason || ""}`),
    bands.length ? el("div", { class: "text-bands", role: "table", "aria-label": `Activations of ${node.name} by band` },
      el("div", { class: "text-band head", role: "row" }, ["", "largest", "smallest"].map((words) => el("span", { role: "columnheader" }, words))),
      bands.map((band, i) => el("div", { class: "text-band", role: "row" },
        el("span", { class: "share", role: "rowheader" }, bandName(bands, i)),
        el("div", { role: "cell" }, el("span", { class: "phone-only" }, "largest"), list(band.top)), el("div", { role: "cell" }, el("span", { class: "phone-only" }, "smallest"), list(band.bottom))))) : null,
    random.length ? el("div", { class: "text-band random" }, el("span", { class: "share" }, "anywhere"), list(random)) : null);
}

function bandName(bands, i) {
  const share = (value) => `${Number((100 * value).toPrecision(3))}%`;
  return i ? `${share(bands[i - 1].share)} to ${share(bands[i].share)}` : `first ${share(bands[i].share)}`;
}

function snippet(text, [window, start, at, values], mean, reach) {
  const tokens = values.map((value, i) => {
    const words = text.vocabulary[text.windows[window][start + i]];
    const away = (value - mean) / reach, strong = Math.abs(away) > 0.08, here = start + i === at;
    const element = token(words, { class: `lit${strong ? ` ${signClass(away)}` : ""}${here ? " here" : ""}`, title: `${JSON.stringify(words)}: ${brief(value)}` });
    element.style.setProperty("--strength", `${Math.round(64 * Math.min(1, Math.abs(away)))}%`);
    return element;
  });
  return el("li", {}, el("span", { class: "n" }, brief(values[at - start])), el("span", { class: "snippet" }, tokens));
}

listeners.node.push(renderText);
