// Helpers: elements whose text is only ever text, numbers as people read them, tokens made visible.

const SVG_NS = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG_NS, tag), attributes, children);
const byId = (id) => root.getElementById(id);

// Put these children, and nothing else, into the element with this id.
function show(id, ...children) {
  const element = byId(id);
  element.replaceChildren();
  return fill(element, {}, children);
}

function signed(value, digits = 2) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
}

function plain(value, digits = 3) {
  return (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

// Three significant digits, without zeros that say nothing.
function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value), text = size < 0.001 || size >= 1e5 ? size.toExponential(1) : String(Number(size.toPrecision(3)));
  return (value < 0 ? "−" : "") + text.replace("-", "−");
}

const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)}%`;
const count = (value) => value.toLocaleString("en-US");

function short(value) {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}B`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  return value >= 1e4 ? `${Math.round(value / 1e3)}k` : count(value);
}

function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

const words = (name) => name.replaceAll("_", " ");

const SIGNS = { "\n": "⏎", "\t": "⇥" };

// The parts of a token: [text, whether it is a sign that stands for something invisible].
function visibleParts(text) {
  const parts = [];
  const lead = text.length - text.trimStart().length;
  let run = "";
  const flush = () => { if (run) parts.push([run, false]); run = ""; };
  [...text].forEach((c, i) => {
    const code = c.codePointAt(0);
    if (c === " " && i < lead) { flush(); parts.push(["·", true]); }
    else if (code < 32) { flush(); parts.push([SIGNS[c] || String.fromCodePoint(0x2400 + code), true]); }
    else run += c;
  });
  flush();
  return parts.length ? parts : [["∅", true]];
}

function token(text, attributes) {
  const special = /^<\|.*\|>$/.test(text);
  return el("code", { ...attributes, class: `tok${special ? " special" : ""} ${attributes?.class || ""}`.trim() },
    visibleParts(text).map(([part, sign]) => (sign ? el("i", {}, part) : part)));
}

// A node's place in the model, in words.
const GLOSSES = {
  "attn.act_in": ["attention read", "One channel of the residual stream, normalised, as this layer's attention reads it."],
  "attn.q": ["query channel", "What the present token looks for. It acts only through its product with the same key channel: where both are large, the head attends."],
  "attn.k": ["key channel", "What each earlier token offers to be found by. It acts only through its product with the same query channel."],
  "attn.v": ["value channel", "What the head carries from the tokens that it attends to."],
  "attn.resid_delta": ["attention write", "One channel that this layer's attention adds to the residual stream."],
  "mlp.act_in": ["MLP read", "One channel of the residual stream, normalised, as this layer's MLP reads it."],
  "mlp.post_act": ["MLP neuron", "One neuron, after its nonlinearity. It works at each token by itself."],
  "mlp.resid_delta": ["MLP write", "One channel that this layer's MLP adds to the residual stream."],
};

function describe(node) {
  const head = node.head === null ? "" : `, head ${node.head}`;
  return `layer ${node.layer}${head}: ${GLOSSES[node.site][0]}`;
}
