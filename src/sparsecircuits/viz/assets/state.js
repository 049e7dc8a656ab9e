// What all parts share: the document, what is chosen, and who wants to hear of a choice.

let root = document; // where the page's elements are: a notebook's widget has a tree of its own
let data = null; // the document, from start() on
const state = { circuit: null, node: null, graph: null, filter: null }; // node: its name; filter: see plan.js

// Functions called as f(circuit) after a circuit is shown, and as f(circuit, nodeOrNull) after a node is chosen.
const listeners = { circuit: [], node: [] };

const heard = (kind, ...what) => listeners[kind].forEach((listener) => listener(...what));
