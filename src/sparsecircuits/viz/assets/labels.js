// Labels in the panel: those of the chosen node, or all of the circuit's; where to type them; and how
// changes get into the circuit's file.

// The name, note and groups of a node; null where it has none.
function labelHeading(circuit, node) {
  const label = circuit.labels?.nodes?.[node.name];
  const groups = (circuit.labels?.groups || []).filter((group) => group.nodes.includes(node.name));
  if (!label && !groups.length) return null;
  return el("div", { class: "label-heading" },
    label?.name ? el("p", { class: "label-name" }, label.name) : null,
    label?.note ? el("p", { class: "label-note" }, label.note) : null,
    groups.length ? el("p", { class: "label-groups" }, "in ", groups.map((group) => el("span", { class: "label-group", title: group.note || null }, group.name))) : null);
}

// A form without a <form>: frames of notebooks let none be sent. Enter in a single line sends it as well.
class LabelForm {
  constructor(circuit, redraw) {
    this.circuit = circuit;
    this.redraw = redraw;
    this.said = el("p", { class: "label-said note", role: "status" });
  }

  field(what, words, value, more = {}) {
    const input = what === "note" ? el("textarea", { rows: 2, class: "label-input", ...more }) : el("input", { type: "text", class: "label-input", autocomplete: "off", ...more });
    input.value = value;
    return [input, el("label", { class: "label-field" }, el("span", {}, words), input)];
  }

  async change(kind, key, value) {
    const wrong = value && ["name", "note"].map((what) => objection(what, value[what])).find(Boolean);
    if (wrong) { this.said.textContent = wrong; return; }
    try {
      await changeLabel(this.circuit, kind, key, value);
    } catch (error) {
      this.said.textContent = error.message;
      return;
    }
    state.graph.relabel();
    this.redraw();
  }

  button(words, act, attributes = {}) {
    return el("button", { type: "button", class: "quiet", onclick: act, ...attributes }, words);
  }
}

function nodeForm(circuit, node, redraw) {
  const form = new LabelForm(circuit, redraw), label = circuit.labels.nodes[node.name];
  const typed = (act) => ({ onkeydown: (event) => { if (event.key === "Enter") act(); } });
  const save = () => {
    const value = { name: name.value.trim(), note: note.value.trim() };
    form.change("nodes", node.name, value.name || value.note ? value : null);
  };
  const join = () => {
    const wanted = group.value.trim(), old = groupOf(circuit.labels, wanted);
    if (!wanted) { form.said.textContent = "Give the group a name first."; return; }
    const nodes = [...new Set([...(old?.nodes || []), node.name])];
    form.change("groups", wanted, { name: wanted, note: old?.note || "", nodes });
  };
  const leave = (old) => {
    const nodes = old.nodes.filter((other) => other !== node.name);
    form.change("groups", old.name, nodes.length ? { ...old, nodes } : null);
  };
  const [name, nameField] = form.field("name", "Name", label?.name || "", { id: "label-name", ...typed(save) });
  const [note, noteField] = form.field("note", "Note", label?.note || "", { id: "label-note" });
  const [group, groupField] = form.field("name", "Group", "", { id: "label-group", list: "label-known", ...typed(join) });
  return el("details", { class: "label-edit" },
    el("summary", {}, label ? "Change its label" : "Name this node"),
    nameField, noteField,
    el("p", { class: "label-buttons" }, form.button("Save", save, { id: "label-save" }), label ? form.button("Remove", () => form.change("nodes", node.name, null)) : null),
    groupField, el("datalist", { id: "label-known" }, circuit.labels.groups.map((one) => el("option", { value: one.name }))),
    el("p", { class: "label-buttons" }, form.button("Add to group", join, { id: "label-join" }),
      circuit.labels.groups.filter((one) => one.nodes.includes(node.name)).map((one) => form.button(`Take out of ${one.name}`, () => leave(one)))),
    form.said);
}

function groupItem(circuit, group, redraw) {
  const form = new LabelForm(circuit, redraw);
  const [note, noteField] = form.field("note", "Note", group.note);
  return el("li", {},
    el("p", { class: "label-name" }, group.name), group.note ? el("p", { class: "label-note" }, group.note) : null,
    el("p", { class: "label-members" }, group.nodes.map((node) => nodeButton(node, choose))),
    el("details", { class: "label-edit" }, el("summary", {}, "Change"), noteField,
      el("p", { class: "label-buttons" }, form.button("Save", () => form.change("groups", group.name, { ...group, note: note.value.trim() })), form.button("Remove the group", () => form.change("groups", group.name, null))),
      form.said));
}

function allLabels(circuit, redraw) {
  const { nodes, groups } = circuit.labels, named = Object.entries(nodes);
  return [
    el("h4", {}, "Labels"),
    named.length + groups.length ? null : el("p", { class: "hint" }, "No node has a name yet. Choose one to name it."),
    el("ul", { class: "label-list" },
      groups.map((group) => groupItem(circuit, group, redraw)),
      named.map(([node, label]) => el("li", {}, el("p", { class: "label-members" }, nodeButton(node, choose)),
        label.name ? el("p", { class: "label-name" }, label.name) : null, label.note ? el("p", { class: "label-note" }, label.note) : null)))];
}

// Changes that are in this browser alone, and what can be done with them.
function draftBar(circuit, redraw) {
  const changes = changesOf(circuit);
  if (!changes) return null;
  const commands = el("textarea", { class: "label-commands", readonly: true, rows: 4, hidden: true, "aria-label": "Commands" });
  const said = el("p", { class: "note", role: "status" });
  const copy = async () => {
    commands.value = labelCommands(circuit);
    commands.hidden = false;
    commands.select();
    try {
      await navigator.clipboard.writeText(commands.value);
      said.textContent = "Copied; put the run's folder in place of RUN.";
    } catch {
      said.textContent = "Copy this text, and put the run's folder in place of RUN.";
    }
  };
  const download = () => {
    const url = URL.createObjectURL(new Blob([labelsFile(circuit)], { type: "application/json" }));
    el("a", { href: url, download: `${circuit.id.replace(/[^\w.-]+/g, "-")}-labels.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    said.textContent = `Read it with: sparsecircuits label RUN ${shellWord(circuit.task)} --from FILE`;
  };
  const discard = () => { discardDraft(circuit); state.graph.relabel(); redraw(); };
  const { refused } = draftOf(circuit);
  return el("div", { class: "label-draft" },
    refused ? el("p", { class: "notice label-refused", role: "alert" }, refused) : null,
    el("p", { class: "note" }, `${count(changes)} ${changes === 1 ? "change is" : "changes are"} not in the circuit's file: ${labelling.kept ? "kept in this browser only." : "gone when this page closes."}`),
    replacedBy(circuit).map(([where, text]) => el("p", { class: "note label-replaced" }, "In the file, ", el("code", {}, where), ` has: ${text}`)),
    el("p", { class: "label-buttons" },
      el("button", { type: "button", class: "quiet", id: "label-copy", onclick: copy }, "Copy as commands"),
      circuit.sha256 ? el("button", { type: "button", class: "quiet", id: "label-file", onclick: download }, "Save labels file") : null,
      el("button", { type: "button", class: "quiet", id: "label-discard", onclick: discard }, "Discard")),
    commands, said);
}

function renderLabels(circuit, node) {
  const place = el("section", { id: "labels", class: "labels", "aria-label": "Labels" });
  const draw = () => place.replaceChildren(...[].concat(
    node ? [labelHeading(circuit, node), nodeForm(circuit, node, redraw)] : allLabels(circuit, redraw), draftBar(circuit, redraw)).filter(Boolean));
  const redraw = () => { draw(); place.querySelector("summary, button")?.focus(); };
  draw();
  const head = byId("panel").querySelector(".panel-head");
  if (head) head.after(place); else byId("panel").append(place);
}

listeners.circuit.push((circuit) => {
  circuit.labels = labelsNow(circuit);
  state.graph.relabel();
});
listeners.node.push(renderLabels);
