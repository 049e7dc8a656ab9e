// Finding nodes by name, number, place, label or token; and the keys of the page.

const MOST_FOUND = 12;

// How well one node fits some words, and why: [score, reason]. Score 0: not at all.
function fit(node, asked, label) {
  const q = asked.toLowerCase(), name = node.name.toLowerCase();
  if (name === q) return [100, ""];
  if (String(node.index) === q) return [90, ""];
  if (label?.name.toLowerCase().includes(q)) return [80, ""];
  if (String(node.layer) === q) return [70, ""];
  if (name.includes(q)) return [60, ""];
  for (const [text] of node.tokens_in) if (tokenFits(text, asked)) return [text === asked ? 55 : 30, `written by ${shown(text)}`];
  for (const [text] of node.logits_out) if (tokenFits(text, asked)) return [text === asked ? 55 : 30, `moves ${shown(text)}`];
  if (describe(node).toLowerCase().includes(q)) return [40, ""];
  return label?.note.toLowerCase().includes(q) ? [20, "in its note"] : [0, ""];
}

const shown = (text) => visibleParts(text).map(([part]) => part).join("");
const tokenFits = (text, asked) => text.toLowerCase().includes(asked.toLowerCase()) || shown(text) === asked;

// The best nodes for what was typed: as a whole, or each of its words. [{node, reason}].
function findNodes(circuit, typed) {
  const words = typed.trim().split(/\s+/).filter(Boolean), found = [];
  if (!words.length) return [];
  for (const node of circuit.nodes) {
    const label = circuit.labels?.nodes?.[node.name];
    const whole = fit(node, typed, label), trimmed = whole[0] ? whole : fit(node, typed.trim(), label);
    const each = words.length > 1 ? words.map((word) => fit(node, word, label)) : [];
    const all = each.length && each.every(([score]) => score) ? each.reduce((sum, [score]) => sum + score, 0) / each.length : 0;
    const [score, reason] = trimmed[0] ? trimmed : [all, each.map((part) => part[1]).filter(Boolean).join(", ")];
    if (score) found.push({ node, reason, score });
  }
  return found.sort((a, b) => b.score - a.score || (b.node.effect || 0) - (a.node.effect || 0));
}

class Search {
  constructor() {
    this.found = [];
    this.at = 0;
    this.input = el("input", { id: "search", type: "search", role: "combobox", placeholder: "Find a node ( / )", autocomplete: "off", spellcheck: "false",
      "aria-label": "Find a node by name, number, site, label or token", "aria-expanded": "false", "aria-controls": "search-list", "aria-autocomplete": "list",
      oninput: () => this.update(), onkeydown: (event) => this.onKey(event), onblur: () => this.close(), onfocus: () => this.update() });
    this.list = el("ul", { id: "search-list", class: "search-list", role: "listbox", hidden: true, "aria-label": "Nodes found", onpointerdown: (event) => {
      event.preventDefault(); // keep the focus until the click is done
      const option = event.target.closest("[role=option]");
      if (option) this.take(Number(option.dataset.at));
    } });
    this.element = el("div", { class: "search" }, this.input, this.list);
  }

  update() {
    const all = findNodes(state.circuit, this.input.value);
    this.found = all.slice(0, MOST_FOUND);
    this.at = 0;
    this.list.replaceChildren(...this.found.map(({ node, reason }, i) => el("li", { id: `found-${i}`, role: "option", "data-at": i },
      el("code", {}, node.name), el("span", {}, [state.circuit.labels?.nodes?.[node.name]?.name, describe(node), reason].filter(Boolean).join(" · ")))));
    if (all.length > MOST_FOUND) this.list.append(el("li", { class: "faint", role: "presentation" }, `${count(all.length - MOST_FOUND)} more`));
    if (this.input.value.trim() && !all.length) this.list.append(el("li", { class: "faint", role: "presentation" }, "No node fits"));
    this.list.hidden = !this.list.childElementCount;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.mark();
  }

  mark() {
    [...this.list.querySelectorAll("[role=option]")].forEach((option, i) => option.setAttribute("aria-selected", String(i === this.at)));
    if (this.found.length) this.input.setAttribute("aria-activedescendant", `found-${this.at}`);
    else this.input.removeAttribute("aria-activedescendant");
    this.list.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
  }

  take(at) {
    const { node } = this.found[at];
    this.close();
    this.input.value = "";
    choose(node.name, true);
  }

  onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.found.length) {
      this.at = (this.at + step + this.found.length) % this.found.length;
      this.mark();
    } else if (event.key === "Enter" && this.found.length && !this.list.hidden) this.take(this.at);
    else if (event.key === "Escape") { this.input.value = ""; this.close(); this.input.blur(); }
    else return;
    event.preventDefault();
  }
}

const KEYS = [
  ["/", "find a node"], ["← ↑ → ↓", "walk from the chosen node to the next"], ["Enter", "choose the node in focus, or the first one"],
  ["Esc", "choose none"], ["[ ]", "show more, or fewer, edges"], ["+ − 0", "zoom in, out, fit"], ["Ctrl + wheel", "zoom at the pointer; on a touch screen, two fingers"], ["?", "this list"],
];

function showHelp() {
  const box = byId("help");
  box.replaceChildren(el("h3", {}, "Keys"), el("dl", {}, KEYS.map(([key, what]) => [el("dt", {}, key), el("dd", {}, what)])),
    el("form", { method: "dialog" }, el("button", { class: "quiet" }, "Close")));
  box.showModal();
}

// Keys that work anywhere but where one types.
function setUpKeys() {
  const nudge = (step) => {
    const slider = byId("strength");
    slider.value = Number(slider.value) + step;
    slider.dispatchEvent(new Event("input"));
  };
  const actions = {
    "/": () => byId("search").focus(), "?": showHelp, "[": () => nudge(-1), "]": () => nudge(1),
    "+": () => zoomBy(ZOOMS.step), "=": () => zoomBy(ZOOMS.step), "-": () => zoomBy(1 / ZOOMS.step), 0: zoomToAll,
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open) return;
    if (event.target.closest?.("input:not([type=range], [type=checkbox]), textarea, select, [contenteditable]")) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });
}
