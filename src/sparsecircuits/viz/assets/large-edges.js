// The edges of a large circuit on a canvas. They are sorted from strong to weak and cut into slices; each
// slice is drawn once onto a sheet of its own, strong slices first, one a frame. A picture of the strongest
// edges is then a few sheets laid over one another and a piece of one slice, so that the slider answers at
// once however many edges there are. Only what the window shows is drawn.

const SLICES = 10;
const DASHED = 1000; // so many of the strongest edges are dashed where negative; finer lines would show none
const THICK = 400; // so many have a width of their own; the others are hairlines, which draw far faster

class EdgeSheets {
  constructor(plan) {
    this.plan = plan;
    const size = Math.max(200, Math.ceil(plan.edges.length / SLICES));
    this.slices = [];
    for (let from = 0; from < plan.edges.length; from += size) {
      this.slices.push({ from, to: Math.min(from + size, plan.edges.length), sheet: document.createElement("canvas"), ready: false });
    }
  }

  // Everything must be drawn again: another filter, another part of the drawing, other colours.
  invalidate(view) {
    this.view = view;
    for (const slice of this.slices) slice.ready = false;
  }

  // Draw the next slice that is needed and not ready. False: none was left.
  advance() {
    const slice = this.slices.find(({ from, ready }) => !ready && from < this.plan.count);
    if (!slice) return false;
    const { sheet } = slice, { pixelWidth, pixelHeight } = this.view;
    if (sheet.width !== pixelWidth || sheet.height !== pixelHeight) { sheet.width = pixelWidth; sheet.height = pixelHeight; }
    const pen = sheet.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, pixelWidth, pixelHeight);
    this.view.place(pen);
    this.stroke(pen, slice.from, slice.to);
    slice.ready = true;
    return true;
  }

  // Lay the strongest edges, as many as the filter lets through, onto the pen's canvas.
  paint(pen) {
    const { count } = this.plan;
    for (const { from, to, sheet, ready } of [...this.slices].reverse()) {
      if (from >= count) continue;
      if (to > count) {
        this.view.place(pen);
        this.stroke(pen, from, count);
      } else if (ready) {
        pen.setTransform(1, 0, 0, 1, 0, 0);
        pen.drawImage(sheet, 0, 0);
      }
    }
  }

  // Weak before strong. Neighbours in size look alike, so fifty at a time share a stroke.
  stroke(pen, from, to) {
    const { plan, view } = this;
    for (let end = to; end > from;) {
      const thick = end <= THICK, start = Math.max(from, end - (thick ? 1 : 50));
      for (const sign of [-1, 1]) {
        pen.beginPath();
        let any = false;
        for (let i = start; i < end; i++) {
          if ((plan.edges[i].weight < 0 ? -1 : 1) === sign && plan.shows(i) && this.trace(pen, i)) any = true;
        }
        if (any) this.finish(pen, start, sign, thick);
      }
      end = start;
    }
    pen.setLineDash([]);
    pen.globalAlpha = view.alpha;
  }

  finish(pen, rank, sign, thick) {
    const share = this.plan.edges[rank].size / this.plan.widest;
    const dense = Math.max(0.4, Math.min(1, Math.sqrt(4000 / this.plan.edges.length))); // thousands of lines: fainter
    pen.strokeStyle = sign < 0 ? this.view.colours.neg : this.view.colours.pos;
    pen.lineWidth = thick ? 0.6 + 1.9 * share : Math.min(1 / this.view.scale, 0.6);
    pen.globalAlpha = this.view.alpha * (0.18 * dense + 0.62 * share);
    pen.setLineDash(sign < 0 && rank < DASHED ? [4, 2.5] : []);
    pen.stroke();
  }

  // Add one edge to the path; false if it is nowhere in the window.
  trace(pen, i) {
    const { source, target } = this.plan.edges[i], { window: w } = this.view;
    const [x0, y0] = this.plan.bottom(source), [x1, y1] = this.plan.top(target);
    if (Math.max(y0, y1) < w.top || Math.min(y0, y1) > w.bottom || Math.max(x0, x1) < w.left || Math.min(x0, x1) > w.right) return false;
    const middle = (y0 + y1) / 2;
    pen.moveTo(x0, y0);
    pen.bezierCurveTo(x0, middle, x1, middle, x1, y1);
    return true;
  }

  // The edges of the node in focus, each for itself and full.
  strokeOnly(pen, edges) {
    this.view.place(pen);
    for (const i of edges) {
      const { size, weight } = this.plan.edges[i];
      pen.beginPath();
      if (!this.trace(pen, i)) continue;
      pen.strokeStyle = weight < 0 ? this.view.colours.neg : this.view.colours.pos;
      pen.lineWidth = 0.9 + 1.9 * size / this.plan.widest;
      pen.setLineDash(weight < 0 ? [4, 2.5] : []);
      pen.stroke();
    }
    pen.setLineDash([]);
  }
}
