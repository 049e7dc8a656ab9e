// Odds of the next token, as bars with numbers: after the changes, and how far that is from before.

const MODEL_NAMES = { full: "whole model", circuit: "circuit alone", without: "model without the circuit" };
const SEEN = 0.0005; // smaller differences are none

function oddsOf(model, title) {
  // Between several candidates their shares count: a circuit for a contrast says nothing of other tokens.
  const shared = model.candidates.length > 1;
  const candidates = model.candidates.map((row) => oddsRow(row, shared ? row.share_before : row.before, shared ? row.share_after : row.after));
  return el("section", { class: "odds-of", "aria-label": title },
    el("h4", {}, title),
    el("table", { class: "odds-table" },
      el("colgroup", {}, ["token", "track", "share", "change"].map((part) => el("col", { class: `odds-${part}` }))),
      candidates.length ? [oddsGroup(shared ? "between the candidates" : "candidate"), el("tbody", { class: "candidates" }, candidates)] : null,
      // A circuit's scale suits its candidates, and makes all else look surer than it is.
      oddsGroup(shared && title === MODEL_NAMES.circuit ? "likeliest (scaled for the candidates alone)" : "likeliest next tokens"),
      el("tbody", { class: "likeliest" }, model.top.map((row) => oddsRow(row, row.before, row.after)))));
}

const oddsGroup = (title) => el("tbody", { class: "group" }, el("tr", {}, el("th", { colspan: 4, scope: "rowgroup" }, title)));

function oddsRow(row, before, after) {
  const bar = el("span", { class: "odds-bar" }), mark = el("span", { class: "odds-mark" });
  bar.style.setProperty("--odds", `${100 * after}%`);
  mark.style.setProperty("--odds", `${100 * before}%`);
  const change = after - before, moved = Math.abs(change) >= SEEN;
  return el("tr", { title: `of all tokens: ${percent(row.after, 2)}, before ${percent(row.before, 2)}` },
    el("th", { scope: "row" }, token(row.text)),
    el("td", {}, el("span", { class: "odds-bars", "aria-hidden": "true" }, bar, moved ? mark : null)),
    el("td", { class: "n" }, percent(after, 1)),
    el("td", { class: `n change ${moved ? signClass(change) : ""}` }, moved ? `${change > 0 ? "▲" : "▼"} ${(100 * Math.abs(change)).toFixed(1)}` : ""));
}
