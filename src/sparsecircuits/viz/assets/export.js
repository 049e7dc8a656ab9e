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
      if (!inside || /^(\.graph svg|\.links)/.test(rule.selectorText)) continue;
      kept.push(rule.cssText.replace(/var\((--[\w-]+)\)/g, (_, name) => values.getPropertyValue(name).trim()));
    }
  }
  return kept.join("\n");
}

// A large circuit, which is on a canvas, as SVG: what the filter shows, and the chosen node.
function drawnAnew(plan) {
  const drawing = new Graph(plan, () => {}, true);
  drawing.apply();
  drawing.select(state.node);
  drawing.element.classList.add("off-screen");
  return drawing.element;
}

// The picture as text.
function drawingText() {
  const { graph, circuit } = state, { plan } = graph, { width, height } = plan.layout;
  const picture = graph instanceof Graph ? graph.element.cloneNode(true) : drawnAnew(plan);
  byId("graph").append(picture); // where the page's rules mean what they mean
  const rules = rulesFor(picture);
  picture.remove();
  for (const element of picture.querySelectorAll(".hid, .touch, .backing")) element.remove();
  picture.querySelector(".row-labels").removeAttribute("transform");
  picture.removeAttribute("style");
  picture.classList.remove("off-screen");
  for (const element of picture.querySelectorAll("[tabindex]")) {
    for (const name of ["tabindex", "role", "aria-pressed", "aria-label"]) element.removeAttribute(name);
  }
  fill(picture, { xmlns: SVG_NS, width, height, role: "img", "aria-label": `Circuit of ${circuit.task}` }, []);
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
  picture.prepend(svg("style", {}, rules), svg("rect", { width, height, fill: paper }));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(picture)}\n`;
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
