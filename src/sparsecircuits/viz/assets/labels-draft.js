// What people call nodes and groups: the document's labels, and changes made here that are not in the
// circuit's file yet. The browser keeps such changes under the circuit's hash, if it lets us; a change that
// the document has caught up with is forgotten.

const LABEL_LIMITS = { name: 80, note: 2000 };
// Whoever can write the circuit's file sets save: async (circuit, labels, began), where began is what the file
// held when last heard of. Then no change has to wait, unless save fails with an error that keeps it.
const labelling = { save: null, kept: true, turn: Promise.resolve() }; // kept: whether the browser keeps what is typed
const drafts = new WeakMap(); // circuit -> { given: its labels in the document, nodes: Map, groups: Map, refused }; null: taken away

const sameText = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
const labelKey = (circuit) => `sparsecircuits.labels.${circuit.sha256}`;
const groupOf = (labels, name) => labels.groups.find((group) => group.name === name);

// Why a name or a note cannot be kept, as labels.py has it; null: it can.
function objection(what, text) {
  const bad = text.match(what === "note" ? /[^\P{Cc}\n\t]|[\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u : /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u);
  if (bad) return `A ${what} cannot hold the control character U+${bad[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}.`;
  const length = [...text].length;
  return length > LABEL_LIMITS[what] ? `A ${what} has at most ${count(LABEL_LIMITS[what])} characters; this one has ${count(length)}.` : null;
}

function draftOf(circuit) {
  if (!drafts.has(circuit)) {
    drafts.set(circuit, { given: { nodes: {}, groups: [], ...circuit.labels }, nodes: new Map(), groups: new Map() });
    recall(circuit);
  }
  return drafts.get(circuit);
}

// The changes of an earlier visit. Another page may have written there, so only what fits is taken.
function recall(circuit) {
  if (!circuit.sha256) return;
  let kept;
  try { kept = JSON.parse(localStorage.getItem(labelKey(circuit))); } catch { return; } // refused, or not ours
  const known = new Set(circuit.nodes.map((node) => node.name)), draft = drafts.get(circuit);
  const sound = (label) => label === null || ["name", "note"].every((what) => typeof label?.[what] === "string" && !objection(what, label[what]));
  for (const [node, label] of Array.isArray(kept?.nodes) ? kept.nodes : []) {
    if (known.has(node) && sound(label)) draft.nodes.set(node, label);
  }
  for (const [name, group] of Array.isArray(kept?.groups) ? kept.groups : []) {
    if (typeof name === "string" && sound(group) && (!group || (Array.isArray(group.nodes) && group.nodes.length && group.nodes.every((node) => known.has(node))))) draft.groups.set(name, group);
  }
  dropCaughtUp(draft);
}

function dropCaughtUp(draft) {
  for (const [node, label] of draft.nodes) if (sameText(label, Object.hasOwn(draft.given.nodes, node) ? draft.given.nodes[node] : null)) draft.nodes.delete(node);
  for (const [name, group] of draft.groups) if (sameText(group, groupOf(draft.given, name))) draft.groups.delete(name);
}

function keepDraft(circuit) {
  const { nodes, groups } = draftOf(circuit);
  labelling.kept = false;
  if (!circuit.sha256) return;
  try {
    if (nodes.size + groups.size) localStorage.setItem(labelKey(circuit), JSON.stringify({ nodes: [...nodes], groups: [...groups] }));
    else localStorage.removeItem(labelKey(circuit));
    labelling.kept = true;
  } catch { /* a frame without an origin of its own, or a full store: they last as long as the page */ }
}

// The document's labels with the changes made here.
function labelsNow(circuit) {
  const { given, nodes, groups } = draftOf(circuit);
  const named = new Map([...Object.entries(given.nodes), ...nodes]);
  const grouped = new Map([...given.groups.map((group) => [group.name, group]), ...groups]);
  return {
    nodes: Object.fromEntries([...named].filter(([, label]) => label)),
    groups: [...grouped.values()].filter(Boolean),
  };
}

// What the file says where a change made here would replace it: [node or group, its name and note there].
function replacedBy(circuit) {
  const { given, nodes, groups } = draftOf(circuit), told = ({ name, note }) => [name, note].filter(Boolean).join(": ");
  return [
    ...[...nodes.keys()].filter((node) => Object.hasOwn(given.nodes, node)).map((node) => [node, told(given.nodes[node])]),
    ...[...groups.keys()].filter((name) => groupOf(given, name)).map((name) => [name, `${told(groupOf(given, name))} (${groupOf(given, name).nodes.join(", ")})`]),
  ];
}

const changesOf = (circuit) => draftOf(circuit).nodes.size + draftOf(circuit).groups.size;

// Change the label of a node (kind "nodes") or the group of a name ("groups"); null takes it away.
async function changeLabel(circuit, kind, key, value) {
  const draft = draftOf(circuit), at = (name) => circuit.nodes.findIndex((node) => node.name === name);
  if (value?.nodes) value.nodes = [...value.nodes].sort((a, b) => at(a) - at(b)); // as the circuit's file has them
  const had = draft[kind].has(key), before = draft[kind].get(key);
  draft[kind].set(key, value);
  dropCaughtUp(draft);
  if (labelling.save) {
    try {
      await saveDraft(circuit);
    } catch (error) {
      if (had) draft[kind].set(key, before); else draft[kind].delete(key); // nothing was kept, so nothing is shown
      throw error;
    }
  }
  keepDraft(circuit);
  circuit.labels = labelsNow(circuit);
}

// Bring the draft into the file; one save after the other, so that each begins from what the last one wrote.
// What the file's keeper refused, but keeps, stays a draft that says why.
function saveDraft(circuit) {
  const draft = draftOf(circuit);
  const saved = labelling.turn.then(async () => {
    const labels = labelsNow(circuit);
    try {
      await labelling.save(circuit, labels, draft.given);
    } catch (error) {
      if (!error.keeps) throw error;
      draft.refused = error.message;
      return;
    }
    Object.assign(draft, { given: labels, refused: null });
    dropCaughtUp(draft);
  });
  labelling.turn = saved.catch(() => {});
  return saved;
}

function discardDraft(circuit) {
  Object.assign(draftOf(circuit), { nodes: new Map(), groups: new Map(), refused: null });
  keepDraft(circuit);
  circuit.labels = labelsNow(circuit);
}

// A word for a shell: quoted wherever that could matter.
const shellWord = (text) => (/^[\w./:][\w./:-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// What brings the changes into the circuit's file: one command for each.
function labelCommands(circuit) {
  const { nodes, groups } = draftOf(circuit), start = `sparsecircuits label RUN ${shellWord(circuit.task)}`;
  const told = (label) => `--note=${shellWord(label.note)}`;
  return [
    ...[...nodes].map(([node, label]) => `${start} ${shellWord(node)} ${label ? `--name=${shellWord(label.name)} ${told(label)}` : "--remove"}`),
    ...[...groups].map(([name, group]) => `${start} ${group ? `${group.nodes.map(shellWord).join(" ")} ` : ""}--group=${shellWord(name)} ${group ? told(group) : "--remove"}`),
  ].join("\n");
}

const labelsFile = (circuit) => `${JSON.stringify({ format: "sparsecircuits.labels", format_version: 1, circuit_sha256: circuit.sha256, labels: labelsNow(circuit) }, null, 2)}\n`;
