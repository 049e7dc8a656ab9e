// A circuit made ready for drawing, however large: nodes and edges by number, edges from strong to weak,
// what joins what, and which of them a filter shows. Nothing here draws.
//
// A filter is {min, layers, reach}: the least size of an edge (0: all), the hidden layers (a Set), and which
// part of the circuit around the chosen node is shown ("all", "near", "up", "down", "through").

const REACHES = {
  all: "everything", near: "its neighbours", up: "what feeds it", down: "what it feeds", through: "both ways",
};
const noFilter = () => ({ min: 0, layers: new Set(), reach: "all" });
const largest = (items, size) => items.reduce((most, item) => Math.max(most, size(item)), 0);

class Plan {
  constructor(circuit) {
    this.circuit = circuit;
    this.nodes = circuit.nodes;
    this.layout = circuit.layout;
    this.places = circuit.layout.nodes; // [x, y, width] of each node
    this.number = new Map(circuit.nodes.map((node, i) => [node.name, i]));
    this.layers = [...new Set(circuit.nodes.map((node) => node.layer))].sort((a, b) => a - b);
    this.widest = largest(circuit.edges, (edge) => Math.abs(edge.weight)) || 1;
    this.edges = circuit.edges.map((edge, given) => ({
      source: this.number.get(edge.source), target: this.number.get(edge.target), weight: edge.weight,
      size: Math.abs(edge.weight), given,
    }));
    this.edges.sort((a, b) => b.size - a.size || a.given - b.given); // strongest first
    this.stream = circuit.stream.map((link) => ({ ...link, source: this.number.get(link.source), target: this.number.get(link.target) }));
    this.products = this.findProducts();
    this.join();
    this.filter = noFilter();
    this.chosen = null;
    this.refresh();
  }

  // Pairs of a query and a key whose product makes the attention pattern.
  findProducts() {
    const at = (node) => `${node.layer} ${node.index}`;
    const keys = new Map();
    this.nodes.forEach((node, i) => { if (node.site === "attn.k") keys.set(at(node), i); });
    const pairs = [];
    this.nodes.forEach((node, i) => { if (node.site === "attn.q" && keys.has(at(node))) pairs.push([i, keys.get(at(node))]); });
    return pairs;
  }

  // What lies next to each node: edges by number, and nodes joined by stream or product.
  join() {
    const lists = () => this.nodes.map(() => []);
    [this.into, this.outOf, this.free, this.feeds, this.fed] = [lists(), lists(), lists(), lists(), lists()];
    this.edges.forEach((edge, i) => { this.outOf[edge.source].push(i); this.into[edge.target].push(i); });
    for (const { source, target } of this.stream) {
      this.feeds[source].push(target);
      this.fed[target].push(source);
    }
    for (const [a, b] of [...this.stream.map(({ source, target }) => [source, target]), ...this.products]) {
      this.free[a].push(b);
      this.free[b].push(a);
    }
    this.heads = new Map(); // "layer head" -> its values, and the queries and keys that steer it
    this.headOf = this.nodes.map((node, i) => {
      if (!["attn.q", "attn.k", "attn.v"].includes(node.site)) return null;
      const name = `${node.layer} ${node.head}`;
      if (!this.heads.has(name)) this.heads.set(name, { values: [], steering: [] });
      this.heads.get(name)[node.site === "attn.v" ? "values" : "steering"].push(i);
      return this.heads.get(name);
    });
  }

  // What feeds a node, and what it feeds. A query or key feeds what its head's values feed: it says from
  // where they come.
  before(node) {
    const sources = this.into[node].filter((e) => e < this.count).map((e) => this.edges[e].source);
    const heads = new Set(sources.filter((s) => this.nodes[s].site === "attn.v").map((s) => this.headOf[s]));
    return [...sources, ...[...heads].flatMap((head) => head.steering), ...this.fed[node]];
  }

  after(node) {
    const steers = this.headOf[node]?.steering.includes(node);
    const edges = steers ? this.headOf[node].values.flatMap((v) => this.outOf[v]) : this.outOf[node];
    return [...edges.filter((e) => e < this.count).map((e) => this.edges[e].target), ...this.feeds[node]];
  }

  // How many edges are of at least the filter's size: as they are sorted, the first so many.
  strong() {
    let low = 0, high = this.edges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.edges[middle].size >= this.filter.min) low = middle + 1; else high = middle;
    }
    return low;
  }

  // Set the filter and the chosen node's number (null: none). True if more than the least size has changed.
  set(filter, chosen) {
    const before = this.key;
    this.filter = filter;
    this.chosen = chosen;
    this.refresh();
    return this.key !== before;
  }

  refresh() {
    const { layers, reach, min } = this.filter;
    const around = reach !== "all" && this.chosen !== null;
    const inLayer = this.nodes.map((node) => !layers.has(node.layer));
    this.count = this.strong();
    const reached = around ? this.reached(inLayer) : null;
    this.shownNodes = reached ? inLayer.map((shown, i) => shown && reached.has(i)) : inLayer;
    this.near = around && reach === "near" ? this.chosen : null;
    this.shown = 0;
    for (let i = 0; i < this.count; i++) if (this.shows(i)) this.shown++;
    // What a picture of the edges depends on, besides their least size: that of a reach depends on it too.
    this.key = `${[...layers].join()}|${around ? `${reach} ${this.chosen} ${min}` : ""}`;
  }

  // Whether an edge is shown, given that it is strong enough.
  shows(i) {
    const { source, target } = this.edges[i];
    if (this.near !== null && source !== this.near && target !== this.near) return false;
    return this.shownNodes[source] && this.shownNodes[target];
  }

  visible(i) { return i < this.count && this.shows(i); }

  // Whether to dim all but what touches this node: not where only its surroundings are shown anyway.
  dims(node) { return node !== null && (this.filter.reach === "all" || node !== this.chosen); }

  // Streams and products are shown where both of their ends are.
  joins(a, b) {
    return this.shownNodes[a] && this.shownNodes[b] && (this.near === null || a === this.near || b === this.near);
  }

  reached(inLayer) {
    const { reach } = this.filter, found = new Set([this.chosen]);
    const walk = (next) => {
      const seen = new Set([this.chosen]), queue = [this.chosen];
      while (queue.length) {
        for (const n of next(queue.pop())) if (inLayer[n] && !seen.has(n)) { seen.add(n); queue.push(n); }
      }
      for (const n of seen) found.add(n);
    };
    if (reach === "near") for (const n of [...this.before(this.chosen), ...this.after(this.chosen), ...this.free[this.chosen]]) found.add(n);
    if (reach === "up" || reach === "through") walk((n) => this.before(n));
    if (reach === "down" || reach === "through") walk((n) => this.after(n));
    return found;
  }

  // The nearest shown node from node i in the direction of an arrow key; i itself where there is none.
  step(i, key) {
    const [x, y] = this.places[i];
    let best = i, least = Infinity;
    this.places.forEach(([x1, y1], other) => {
      if (other === i || !this.shownNodes[other]) return;
      const fits = { ArrowLeft: y1 === y && x1 < x, ArrowRight: y1 === y && x1 > x, ArrowUp: y1 < y, ArrowDown: y1 > y }[key];
      const distance = Math.abs(y1 - y) * 1e4 + Math.abs(x1 - x);
      if (fits && distance < least) { best = other; least = distance; }
    });
    return best;
  }

  bottom(i) { const [x, y] = this.places[i]; return [x, y + this.layout.node_height / 2]; }

  top(i) { const [x, y] = this.places[i]; return [x, y - this.layout.node_height / 2]; }

  streamPoints(i) { return [this.bottom(this.stream[i].source), ...(this.layout.bends[i] || []), this.top(this.stream[i].target)]; }

  // One band behind each layer's rows: [top, bottom, layer].
  bands() {
    const found = new Map();
    for (const row of this.layout.rows) {
      if (row.layer === null) continue;
      const [top, bottom] = found.get(row.layer) || [Infinity, -Infinity];
      found.set(row.layer, [Math.min(top, row.y - row.height / 2 - 34), Math.max(bottom, row.y + row.height / 2 + 34)]);
    }
    return [...found.entries()].map(([layer, [top, bottom]]) => [top, bottom, layer]);
  }
}

// What a node's pill says: its name if it was given one, else its index.
function pillText(circuit, node) {
  const name = circuit.labels?.nodes?.[node.name]?.name;
  if (name) return name;
  const letter = { "attn.q": "q ", "attn.k": "k ", "attn.v": "v " }[node.site] || "";
  return letter + node.index;
}

// Whether the dense model was steered through it: see bridge.js.
const steers = (circuit, node) => circuit.bridge?.steering?.node === node.name;

function nodeTitle(circuit, node) {
  const label = circuit.labels?.nodes?.[node.name], through = steers(circuit, node) ? "the dense model was steered through it" : null;
  return [label?.name, node.name, describe(node), through, label?.note].filter(Boolean).join("\n");
}

// Text cut to so many pixels, for a letter of about so many.
function cut(text, pixels, letter = 7) {
  const most = Math.max(2, Math.floor(pixels / letter)), letters = [...text];
  return letters.length <= most ? text : letters.slice(0, most - 1).join("") + "…";
}
