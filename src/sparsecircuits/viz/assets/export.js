// The drawing as it stands, as a file of its own: an SVG with the rules that it needs inside, their colours
// put in, because few programs beside browsers read variables.

const MOST_EXPORTED = 20000; // edges; more make a file that no program opens

// The page's rules that mean something inside this picture, with every var(--x) replaced.
function rulesFor(picture) {
  const values = getComputedStyle(document.documentElement), kept = [];
  for (const sheet of document.styleSheets) {
    for (const rule of sheet.cssRules) {
      if (!(rule instanceof CSSStyleRule) || /:(root|hover|focus)/.test(rule.selectorText)) continue;
      const inside = rule.selectorText.split(",").some((one) => picture.matches(one) || picture.querySelector(one));
      if (!inside || !/svg|text|path|rect|\.(?!tok)/.test(rule.selectorText)) continue;
      kept.push(rule.cssText.replace(/var\((--[\w-]+)\)/g, (_, name) => values.getPropertyValue(name).trim()));
    }
  }
  return kept.join("\n");
}

// The picture as text. A large circuit is drawn for this as SVG, without what the filter hides.
function drawingText() {
  const { graph, circuit } = state, { plan } = graph, { width, height } = plan.layout;
  const drawn = graph instanceof Graph ? graph.element : new Graph(plan, () => {}).element;
  const picture = drawn.cloneNode(true);
  if (drawn !== graph.element) picture.classList.add("off-screen");
  byId("graph").append(picture); // rules match only what is in the page
  try {
    const rules = rulesFor(picture);
    for (const element of picture.querySelectorAll(".hid, .touch, .backing")) element.remove();
    picture.querySelector(".row-labels").removeAttribute("transform");
    picture.removeAttribute("style");
    picture.classList.remove("off-screen");
    for (const element of picture.querySelectorAll("[tabindex]")) for (const name of ["tabindex", "role", "aria-pressed", "aria-label"]) element.removeAttribute(name);
    fill(picture, { xmlns: SVG_NS, width, height, role: "img", "aria-label": `Circuit of ${circuit.task}` }, []);
    const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
    picture.prepend(svg("style", {}, rules), svg("rect", { width, height, fill: paper }));
    return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(picture)}\n`;
  } finally {
    picture.remove();
  }
}

function saveDrawing() {
  const { plan } = state.graph;
  const many = plan.shown > MOST_EXPORTED;
  byId("export-note").textContent = many ? `${count(plan.shown)} edges are too many for a file; at most ${count(MOST_EXPORTED)}. Move the slider first.` : "";
  if (many) return;
  const url = URL.createObjectURL(new Blob([drawingText()], { type: "image/svg+xml" }));
  const link = el("a", { href: url, download: `${state.circuit.id.replace(/[^\w.-]+/g, "-")}.svg` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const exportButton = () => [
  el("button", { id: "export", type: "button", class: "quiet", title: "Save the drawing as it stands", onclick: saveDrawing }, "Save SVG"),
  el("span", { id: "export-note", class: "faint", role: "status" })];
