// What the circuit's heads attend to on the task's prompts, in the circuit and in the whole model: a square for
// each query (row) and key (column), its area the share. One head and one pair at a time.

const CELLS = { largest: 13, smallest: 8, room: 480 }, TOKEN_ROOM = 96, HEAD_ROOM = 74;
const attended = { head: 0, pair: 0 };

function renderAttention(circuit) {
  Object.assign(attended, { head: strongestHead(circuit), pair: 0 });
  drawAttention(circuit);
}

// The place of the head whose channels have the largest effects together.
function strongestHead(circuit) {
  const effect = new Map(circuit.nodes.map((node) => [node.name, Math.abs(node.effect || 0)]));
  const sums = (circuit.attention || []).map((head) => head.nodes.reduce((sum, name) => sum + effect.get(name), 0));
  return Math.max(0, sums.indexOf(Math.max(...sums)));
}

// A chosen query, key or value channel brings its head.
function attendTo(circuit, node) {
  const at = node ? (circuit.attention || []).findIndex((head) => head.nodes.includes(node.name)) : -1;
  if (at < 0 || at === attended.head) return;
  attended.head = at;
  drawAttention(circuit);
}

function drawAttention(circuit) {
  const heads = circuit.attention || [];
  if (!heads.length) { show("attention"); return; }
  const head = heads[attended.head];
  const pairs = [...new Set(head.patterns.map((pattern) => pattern.pair))];
  const letters = (nodes) => ["q", "k", "v"].filter((letter) => nodes.some((name) => name.includes(`.attn.${letter}.`))).join(", ");
  const chooser = (id, words, options, key) => el("label", {}, el("span", {}, words),
    el("select", { id, onchange: (event) => { attended[key] = event.target.selectedIndex; drawAttention(circuit); byId(id).focus(); } },
      options.map((option, i) => el("option", { selected: i === attended[key] }, option))));
  const readout = el("p", { class: "readout", "aria-live": "polite" }, "Point at a square, or walk with the arrow keys, to read its share.");
  const sides = ["left", "right"].map((side) => [side, head.patterns.find((one) => one.pair === pairs[attended.pair] && one.side === side)]).filter(([, pattern]) => pattern);
  show("attention",
    el("h3", {}, "What heads attend to"),
    el("div", { class: "attention-choice" },
      chooser("attention-head", "Head", heads.map((one) => `layer ${one.layer}, head ${one.head} (keeps ${letters(one.nodes)})`), "head"),
      pairs.length > 1 ? chooser("attention-pair", "Pair", pairs.map((pair) => String(pair + 1)), "pair") : null),
    el("p", { class: "note" }, `Rows: the token that attends. Columns: what it attends to${head.sink ? ", first the sink (nothing)" : ""}. The larger the square, the larger the share; shares of a row add up to 100%.`),
    readout,
    el("div", { class: "attention-sides" }, sides.map(([side, pattern]) => sideOf(circuit, head, side, pattern, readout))));
}

function sideOf(circuit, head, side, pattern, readout) {
  const sample = circuit.samples.find((one) => one.pair === pattern.pair && one.side === side);
  const grids = [];
  const tell = (query, key) => {
    for (const grid of grids) grid.point(query, key);
    const column = key - head.sink, share = (rows) => el("b", {}, percent(rows[query][key] / 1000, 1));
    readout.replaceChildren();
    fill(readout, {}, [`${side} prompt, token ${query + 1} `, token(sample.tokens[query]), " gives ", column < 0 ? "the sink" : [`token ${column + 1} `, token(sample.tokens[column])],
      ": in the circuit ", share(pattern.circuit), ", in the whole model ", share(pattern.model)]);
  };
  const kinds = [["circuit", "in the circuit"], ["model", "in the whole model"]];
  return el("section", { class: "attention-side" }, el("h4", {}, `${side} prompt, answer `, token(sample.answer)),
    kinds.map(([kind, words]) => {
      const grid = new AttentionGrid(sample, pattern[kind], head, `${side} prompt, ${words}`, tell);
      grids.push(grid);
      return el("figure", { class: "attention-figure" }, el("figcaption", {}, words, ": ", lastRow(sample, pattern[kind], head)), el("div", { class: "scroller" }, grid.element));
    }));
}

// In numbers: what the last token, where the answer is read, attends to most.
function lastRow(sample, rows, head) {
  const ranked = rows.at(-1).map((share, key) => [share, key - head.sink]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([share]) => share > 0);
  return el("span", { class: "faint" }, "last token → ", ranked.map(([share, key], i) => [i ? ", " : "", key < 0 ? "sink" : token(sample.tokens[key]), ` ${percent(share / 1000)}`]));
}

class AttentionGrid {
  constructor(sample, rows, head, name, tell) {
    this.rows = rows;
    this.at = [rows.length - 1, rows.at(-1).indexOf(Math.max(...rows.at(-1)))];
    const keys = rows.length + (head.sink ? 1 : 0);
    const cell = this.cell = Math.max(CELLS.smallest, Math.min(CELLS.largest, Math.floor(CELLS.room / keys)));
    const width = TOKEN_ROOM + keys * cell + 36, height = HEAD_ROOM + rows.length * cell + 4;
    const differs = new Set(sample.differs);
    const label = (i, place) => svg("text", { class: differs.has(i) ? "differs" : null, "font-size": Math.min(10, cell + 1), ...place }, shortToken(sample.tokens[i]));
    const middle = (i) => (i + 0.5) * cell;
    this.element = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "attention-grid", role: "img", tabindex: "0", "aria-label": `Attention of layer ${head.layer}, head ${head.head}, ${name}. Arrow keys read single shares.` });
    this.element.append(svg("g", { class: "stairs" }, rows.map((row, query) => svg("rect", { x: TOKEN_ROOM, y: HEAD_ROOM + query * cell, width: row.length * cell, height: cell }))));
    this.element.append(svg("g", { class: "tokens" }, rows.map((_, i) => [
      label(i, { x: TOKEN_ROOM - 6, y: HEAD_ROOM + middle(i) + 3.5, "text-anchor": "end" }),
      label(i, { transform: `translate(${TOKEN_ROOM + middle(i + (head.sink ? 1 : 0)) + 3} ${HEAD_ROOM - 5}) rotate(-62)` })]),
    head.sink ? svg("text", { class: "sink", transform: `translate(${TOKEN_ROOM + middle(0) + 3} ${HEAD_ROOM - 5}) rotate(-62)` }, "sink") : null));
    this.element.append(svg("g", { class: "shares" }, rows.map((row, query) => row.map((share, key) => this.square(query, key, share)))));
    this.cursor = svg("rect", { class: "cell", width: cell, height: cell, visibility: "hidden" });
    this.element.append(this.cursor);
    this.listen(tell);
  }

  // Below half a per cent nothing is drawn; the readout still says it.
  square(query, key, share) {
    if (share < 5) return null;
    const side = this.cell * Math.sqrt(share / 1000), rest = (this.cell - side) / 2;
    return svg("rect", { x: (TOKEN_ROOM + key * this.cell + rest).toFixed(1), y: (HEAD_ROOM + query * this.cell + rest).toFixed(1), width: side.toFixed(1), height: side.toFixed(1) });
  }

  listen(tell) {
    this.element.addEventListener("pointermove", (event) => this.follow(event, tell));
    this.element.addEventListener("pointerdown", (event) => this.follow(event, tell));
    this.element.addEventListener("focus", () => tell(...this.at));
    this.element.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      const query = Math.max(0, Math.min(this.rows.length - 1, this.at[0] + step[0]));
      tell(query, Math.max(0, Math.min(this.rows[query].length - 1, this.at[1] + step[1])));
      event.preventDefault();
    });
  }

  follow(event, tell) {
    const box = this.element.getBoundingClientRect(), scale = this.element.viewBox.baseVal.width / Math.max(1, box.width);
    const key = Math.floor(((event.clientX - box.left) * scale - TOKEN_ROOM) / this.cell), query = Math.floor(((event.clientY - box.top) * scale - HEAD_ROOM) / this.cell);
    if (query >= 0 && query < this.rows.length && key >= 0 && key < this.rows[query].length) tell(query, key);
  }

  point(query, key) {
    this.at = [query, key];
    fill(this.cursor, { x: TOKEN_ROOM + key * this.cell, y: HEAD_ROOM + query * this.cell, visibility: "visible" }, []);
  }
}

function shortToken(text) {
  const whole = visibleParts(text).map(([part]) => part).join("");
  return whole.length > 11 ? `${whole.slice(0, 10)}…` : whole;
}

listeners.circuit.push(renderAttention);
listeners.node.push(attendTo);
