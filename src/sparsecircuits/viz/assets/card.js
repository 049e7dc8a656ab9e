// The report card below a circuit: five verdicts, then every test with its control, failed ones too.

const STATES = { yes: ["●", "tag-yes"], no: ["✕", "tag-fail"], open: ["○", "tag-no"] };
const WORDS = { pass: ["● pass", "tag-yes"], FAIL: ["✕ fail", "tag-fail"], open: ["○ open", "tag-no"], "n/a": ["– does not apply", "tag-no"] };

// A number as short as it can be read.
function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 10000)) return value.toExponential(1).replaceAll("-", "−");
  return plain(value, size >= 100 ? 0 : size >= 10 ? 1 : 3);
}

function renderCard(circuit) {
  const card = circuit.card;
  if (!card) {
    show("card", el("p", { class: "note" }, "No report card yet: ", el("code", {}, `sparsecircuits check RUN ${circuit.task}`), " puts this circuit to the tests."));
    return;
  }
  const names = Object.fromEntries(card.tests.map((test) => [test.test, test.name]));
  show("card",
    el("h3", {}, "Is it true? The report card"),
    el("p", { class: "note" }, `${card.level} check. Thresholds are the same for every circuit; a failed test stays on the card.`),
    el("dl", { class: "verdicts" }, card.verdicts.map((verdict) => {
      const [sign, style] = STATES[verdict.state];
      return [
        el("dt", {}, el("span", { class: `tag ${style}` }, `${sign} ${verdict.name}: ${verdict.state}`)),
        el("dd", {}, because(verdict, names)),
      ];
    })),
    el("details", {}, el("summary", {}, tally(card.tests)),
      el("div", { class: "scroller" }, el("table", { class: "tasks card-tests" },
        el("thead", {}, el("tr", {}, ["test", "result", "estimate", "95% interval", "control", "asks"].map((title, i) =>
          el("th", { scope: "col", class: i >= 2 && i <= 4 ? "n" : "" }, title)))),
        el("tbody", {}, card.tests.map(testRow))))));
}

function tally(tests) {
  const number = (word) => tests.filter((test) => test.word === word).length;
  return `All ${tests.length} tests: ${number("pass")} pass, ${number("FAIL")} fail`;
}

function because(verdict, names) {
  const parts = [];
  if (verdict.failed.length) parts.push(`fails ${verdict.failed.map((test) => `${test} ${names[test] || ""}`.trim()).join(", ")}`);
  if (verdict.missing.length) parts.push(`not judged: ${verdict.missing.join(", ")}`);
  if (!parts.length && verdict.state !== "yes") parts.push("needs Sufficient");
  return parts.join("; ") || verdict.meaning;
}

function testRow(test) {
  const [word, style] = WORDS[test.word];
  const [low, high] = test.interval || [null, null];
  return el("tr", {},
    el("th", { scope: "row" }, `${test.test} ${test.name}`),
    el("td", {}, el("span", { class: `tag ${style}`, title: `rules out: ${test.rules_out}` }, word)),
    el("td", { class: "n" }, figure(test.estimate)),
    el("td", { class: "n" }, test.interval ? `${figure(low)} to ${figure(high)}` : "–"),
    el("td", { class: "n", title: test.control_is }, figure(test.control)),
    el("td", { class: "asks" }, test.asks, el("br"), el("span", { class: "faint" }, `${test.figure}; passes: ${test.passes}${test.note ? `. ${test.note}` : ""}`)));
}
