// One line chart: axes with units, a line or points for each series, a readout that follows pointer and arrow
// keys, and the same numbers as a table. Series differ by dash as well as by colour.

const CHART = { width: 440, height: 220, left: 56, right: 14, top: 12, bottom: 40 };
const TABLE_ROWS = 16;

// Round values between low and high, about so many.
function ticksBetween(low, high, wanted = 4) {
  if (high <= low) return [low];
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

// The same where equal factors are equally far apart: powers of ten, or 1, 2, 5 times them where those are few.
function factorsBetween(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    found.push(...[1, 2, 5].map((m) => Number((m * power).toPrecision(12))).filter((at) => at >= low * 0.999 && at <= high * 1.001));
  }
  const tens = found.filter((at) => Math.abs(Math.log10(at) - Math.round(Math.log10(at))) < 1e-9);
  return tens.length >= 3 ? tens : found.length >= 2 ? found : [low, high];
}

// A function from values to pixels, with its ticks.
function axis(values, from, to, { log = false, zero = false } = {}) {
  let low = Math.min(...values), high = Math.max(...values);
  if (zero && !log) low = Math.min(0, low);
  if (low === high) { low -= Math.abs(low) * 0.1 || 1; high += Math.abs(high) * 0.1 || 1; }
  const place = log ? (v) => Math.log(v) : (v) => v;
  const at = (value) => from + (to - from) * (place(value) - place(low)) / (place(high) - place(low));
  return { at, ticks: log ? factorsBetween(low, high) : ticksBetween(low, high) };
}

// x, y: { label, format, log, zero }; series: [{ name, points: [[x, y]], between: [[low, high]] of each point, or
// nothing }]; marks: points, not lines.
function lineChart({ title, note, x, y, series, marks = false }) {
  const drawn = series.filter((one) => one.points.length);
  if (!drawn.length) return null;
  const { width, height, left, right, top, bottom } = CHART;
  const across = axis(drawn.flatMap((one) => one.points.map(([v]) => v)), left, width - right, x);
  const up = axis(drawn.flatMap((one) => [...one.points.map(([, v]) => v), ...(one.between || []).flat()]), height - bottom, top, y);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", tabindex: "0", "aria-label": chartSummary(title, x, y, drawn) },
    up.ticks.map((tick) => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: up.at(tick), y2: up.at(tick) }),
      svg("text", { x: left - 8, y: up.at(tick) + 4, "text-anchor": "end" }, y.format(tick))]),
    across.ticks.map((tick) => svg("text", { x: across.at(tick), y: height - bottom + 17, "text-anchor": "middle" }, x.format(tick))),
    svg("line", { class: "base", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
    svg("text", { class: "axis-label", x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, x.label),
    svg("text", { class: "axis-label", x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, y.label));
  drawn.forEach((one, i) => { // behind all lines
    if (!one.between) return;
    const edge = (end) => one.points.map(([a], at) => `${across.at(a).toFixed(1)} ${up.at(one.between[at][end]).toFixed(1)}`);
    picture.append(svg("path", { class: `between between-${i}`, d: `M${[...edge(0), ...edge(1).reverse()].join("L")}Z` }));
  });
  drawn.forEach((one, i) => {
    const path = one.points.map(([a, b]) => `${across.at(a).toFixed(1)} ${up.at(b).toFixed(1)}`);
    if (path.length > 1) picture.append(svg("path", { class: `series series-${i}`, d: `M${path.join("L")}` }));
    if (marks || path.length === 1) picture.append(...one.points.map(([a, b]) => svg("circle", { class: `mark mark-${i}`, cx: across.at(a), cy: up.at(b), r: 3.4 })));
  });
  const readout = el("p", { class: "readout", "aria-live": "polite" });
  followCursor(picture, readout, drawn, across, up, x, y);
  return el("figure", { class: "chart-figure" },
    el("h4", {}, title), picture,
    el("figcaption", {}, drawn.length > 1 ? el("span", { class: "series-names" }, drawn.map((one, i) => el("span", {}, seriesSample(i, marks, one.points.length === 1), one.name))) : null, readout,
      note ? el("p", { class: "note" }, note) : null, chartTable(x, y, drawn)));
}

function chartSummary(title, x, y, series) {
  const ends = series.map(({ name, points }) => {
    const [[x0, y0]] = points, [x1, y1] = points.at(-1);
    return `${name} from ${y.format(y0)} at ${x.format(x0)} to ${y.format(y1)} at ${x.format(x1)}`;
  });
  return `${title}: ${y.label} by ${x.label}; ${ends.join("; ")}. Left and right arrow keys read single points.`;
}

function seriesSample(i, marks, alone) {
  return svg("svg", { width: 26, height: 10, viewBox: "0 0 26 10", "aria-hidden": "true" },
    alone ? null : svg("path", { class: `series series-${i}`, d: "M1 5H25" }), marks || alone ? svg("circle", { class: `mark mark-${i}`, cx: 13, cy: 5, r: 3.4 }) : null);
}

// What a series was last known to be at x, in words, with its interval if it has one.
function latest({ points, between }, x, y) {
  const last = points.findLastIndex(([at]) => at <= x);
  if (last < 0) return "–";
  return y.format(points[last][1], true) + (between ? ` (${between[last].map((end) => y.format(end, true)).join(" to ")})` : "");
}

function followCursor(picture, readout, series, across, up, x, y) {
  const { height, top, bottom } = CHART;
  const line = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  picture.append(line);
  const stops = [...new Set(series.flatMap((one) => one.points.map(([v]) => v)))].sort((a, b) => a - b);
  let place = stops.length - 1;
  const tell = (shown) => {
    const value = stops[place];
    line.setAttribute("visibility", shown ? "visible" : "hidden");
    line.setAttribute("x1", across.at(value));
    line.setAttribute("x2", across.at(value));
    readout.replaceChildren(`${x.format(value, true)} ${x.unit || x.label}: `, series.map((one) => `${one.name} ${latest(one, value, y)}`).join(", "));
  };
  const follow = (event) => {
    const box = picture.getBoundingClientRect(), pixel = (event.clientX - box.left) * CHART.width / Math.max(1, box.width);
    stops.forEach((stop, i) => { if (Math.abs(across.at(stop) - pixel) < Math.abs(across.at(stops[place]) - pixel)) place = i; });
    tell(true);
  };
  picture.addEventListener("pointermove", follow);
  picture.addEventListener("pointerdown", follow);
  picture.addEventListener("pointerleave", () => { place = stops.length - 1; tell(false); });
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    place = Math.max(0, Math.min(stops.length - 1, place + step));
    tell(true);
    event.preventDefault();
  });
  tell(false);
}

// The numbers, at most so many rows; made when it is unfolded.
function chartTable(x, y, series) {
  const fold = el("details", { class: "chart-table" }, el("summary", {}, "as a table"));
  fold.addEventListener("toggle", () => {
    if (!fold.open || fold.children.length > 1) return;
    const stops = [...new Set(series.flatMap((one) => one.points.map(([v]) => v)))].sort((a, b) => a - b);
    const every = Math.ceil(stops.length / TABLE_ROWS);
    const rows = stops.filter((_, i) => i % every === 0 || i === stops.length - 1);
    fold.append(el("div", { class: "scroller" }, el("table", { class: "tasks" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "n" }, x.label), series.map((one) => el("th", { scope: "col", class: "n" }, one.name)))),
      el("tbody", {}, rows.map((stop) => el("tr", {}, el("th", { scope: "row", class: "n" }, x.format(stop, true)),
        series.map((one) => el("td", { class: "n" }, latest(one, stop, y)))))))));
  });
  return fold;
}

// Bars of equal width over a line of values; marks: [[value, words]].
function histogram({ low, high, counts }, marks) {
  const width = 300, height = 64, base = 48, most = Math.max(1, ...counts);
  const reach = [low, high, ...marks.map(([value]) => value)], left = Math.min(...reach), right = Math.max(...reach);
  const at = (value) => 6 + (width - 12) * (right > left ? (value - left) / (right - left) : 0.5);
  const wide = (at(high) - at(low)) / counts.length;
  const text = (value, anchor) => svg("text", { x: at(value), y: height - 3, "text-anchor": anchor }, brief(value));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "histogram", role: "img", "aria-label": `Values that are not zero: from ${brief(low)} to ${brief(high)}; ${marks.map(([value, words]) => `${words} ${brief(value)}`).join(", ")}` },
    counts.map((n, i) => svg("rect", { x: at(low) + i * wide, y: base - 44 * n / most, width: Math.max(1, wide - 1), height: 44 * n / most },
      svg("title", {}, `${brief(low + (high - low) * i / counts.length)} to ${brief(low + (high - low) * (i + 1) / counts.length)}: ${count(n)} tokens`))),
    svg("line", { class: "base", x1: 6, x2: width - 6, y1: base, y2: base }),
    marks.map(([value, words], i) => svg("path", { class: `at at-${i}`, d: `M${at(value)} 2V${base + 4}` }, svg("title", {}, `${words} ${brief(value)}`))),
    text(left, "start"), right > left ? text(right, "end") : null);
}
