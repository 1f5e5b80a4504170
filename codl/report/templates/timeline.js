"use strict";
/* Draws the timelines of a report: worlds (predicted, measured) above one another on one time axis, then counters.
   Data: see codl/report/timeline.py. Times are nanoseconds. Only text nodes and canvas text are ever written. */
(() => {
  const LANE = 24, STRIP = 16, AXIS = 22, TITLE = 20, COUNTER = 58, GAP = 8;
  const [LANE_, KIND, LABEL, ID, CHAIN, QUEUED, START, END, DETAIL, AFTER] = Array(10).keys();
  const tip = document.getElementById("tip");
  const all = [];

  const ms = (ns) => {
    const value = ns / 1e6;
    return value >= 100 ? value.toFixed(1) : value >= 1 ? value.toFixed(3) : value.toPrecision(3);
  };

  class Timeline {
    constructor(box) {
      this.box = box;
      this.canvas = box.querySelector("canvas");
      this.data = JSON.parse(box.querySelector("script").textContent);
      this.total = Math.max(1, ...this.data.worlds.map((w) => w.makespan));
      this.byId = this.data.worlds.map((w) => new Map(w.spans.map((s, i) => [s[ID], i])));
      this.chains = this.data.worlds.map((w) => this.chainsOf(w));
      this.from = 0;
      this.to = this.total;
      this.picked = null;
      this.layout();
      this.listen();
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    text(number) { return this.data.texts[number]; }

    /* Extent of each chain over its commands; enqueues run ahead and would blur it. */
    chainsOf(world) {
      const found = new Map();
      for (const s of world.spans) {
        if (!this.text(s[CHAIN]) || this.text(s[KIND]) === "enqueue") continue;
        const old = found.get(s[CHAIN]);
        if (old) { old[0] = Math.min(old[0], s[START]); old[1] = Math.max(old[1], s[END]); }
        else found.set(s[CHAIN], [s[START], s[END]]);
      }
      return [...found];
    }

    layout() {
      let y = AXIS;
      this.rows = [];
      this.data.worlds.forEach((world, w) => {
        this.rows.push({ type: "title", y, text: `${world.name}, ${ms(world.makespan)} ms` });
        y += TITLE;
        this.rows.push({ type: "chains", y, w });
        y += STRIP;
        world.lanes.forEach((name, lane) => {
          this.rows.push({ type: "lane", y, w, lane, name });
          y += LANE;
        });
        y += GAP;
      });
      for (const counter of this.data.counters) {
        this.rows.push({ type: "counter", y, counter });
        y += COUNTER;
      }
      this.height = y + 4;
      this.canvas.style.height = `${this.height}px`;
    }

    get gutter() { return this.width < 560 ? 56 : 96; }
    get scale() { return (this.width - this.gutter - 6) / (this.to - this.from); }
    x(ns) { return this.gutter + (ns - this.from) * this.scale; }
    time(x) { return this.from + (x - this.gutter) / this.scale; }

    draw() {
      const ratio = window.devicePixelRatio || 1;
      this.width = this.canvas.clientWidth;
      if (!this.width) return;
      this.canvas.width = Math.round(this.width * ratio);
      this.canvas.height = Math.round(this.height * ratio);
      const style = getComputedStyle(document.documentElement);
      this.color = (name) => style.getPropertyValue(`--${name}`).trim();
      const g = (this.g = this.canvas.getContext("2d"));
      g.scale(ratio, ratio);
      g.font = "12px system-ui, sans-serif";
      g.textBaseline = "middle";
      g.fillStyle = this.color("surface");
      g.fillRect(0, 0, this.width, this.height);
      let drawn = 0;
      this.axis();
      for (const row of this.rows) {
        if (row.type === "title") this.label(row.text, row.y + TITLE / 2, "ink", 4, this.width);
        else if (row.type === "chains") this.drawChains(row);
        else if (row.type === "lane") drawn += this.drawLane(row);
        else this.drawCounter(row);
      }
      this.arrows();
      this.canvas.dataset.spans = drawn;
      this.canvas.dataset.from = this.from;
      this.canvas.dataset.to = this.to;
    }

    label(text, y, color, x, room) {
      const g = this.g;
      g.save();
      g.beginPath();
      g.rect(x, y - 12, Math.max(0, room), 24);
      g.clip();
      g.fillStyle = this.color(color);
      g.fillText(text, x, y);
      g.restore();
    }

    axis() {
      const g = this.g, wanted = (this.to - this.from) / Math.max(2, (this.width - this.gutter) / 90);
      const power = 10 ** Math.floor(Math.log10(wanted));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= wanted);
      g.strokeStyle = this.color("line");
      g.lineWidth = 1;
      for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
        const x = Math.round(this.x(t)) + 0.5;
        g.beginPath();
        g.moveTo(x, AXIS - 4);
        g.lineTo(x, this.height);
        g.stroke();
        const digits = Math.max(0, Math.ceil(-Math.log10(step / 1e6)));
        this.label(`${(t / 1e6).toFixed(digits)} ms`, AXIS / 2 - 1, "faint", x + 2, 88);
      }
    }

    clip(row, height, body) {
      const g = this.g;
      g.save();
      g.beginPath();
      g.rect(this.gutter, row.y, this.width - this.gutter - 2, height);
      g.clip();
      body(g);
      g.restore();
    }

    drawChains(row) {
      this.label("chains", row.y + STRIP / 2, "faint", 4, this.gutter - 8);
      this.clip(row, STRIP, (g) => {
        for (const [chain, [start, end]] of this.chains[row.w]) {
          const x = this.x(start), w = Math.max(1, this.x(end) - x - 1);
          g.fillStyle = this.color("chain");
          g.fillRect(x, row.y + 1, w, STRIP - 3);
          if (w > 24) this.label(this.text(chain), row.y + STRIP / 2, "soft", Math.max(x, this.gutter) + 3, w - 4);
        }
      });
    }

    drawLane(row) {
      this.label(row.name, row.y + LANE / 2, "soft", 4, this.gutter - 8);
      let drawn = 0, until = -1, lastKind = -1;
      this.clip(row, LANE, (g) => {
        g.strokeStyle = this.color("line");
        g.strokeRect(this.gutter, row.y + 0.5, this.width, LANE);
        this.data.worlds[row.w].spans.forEach((s, index) => {
          if (s[LANE_] !== row.lane) return;
          drawn += 1;
          if (s[END] < this.from || s[START] > this.to) return;
          const x = this.x(s[START]), end = Math.max(x + 1, this.x(s[END]));
          if (end - until < 0.5 && s[KIND] === lastKind) return; /* hidden behind its neighbour */
          until = end;
          lastKind = s[KIND];
          const kind = this.text(s[KIND]);
          g.fillStyle = this.color(kind) || this.color("faint");
          const gap = end - x > 4 ? 1 : 0;
          g.fillRect(x, row.y + 3, end - x - gap, LANE - 6);
          if (this.isPicked(row.w, index)) {
            g.strokeStyle = this.color("ink");
            g.lineWidth = 2;
            g.strokeRect(x, row.y + 3, Math.max(2, end - x - gap), LANE - 6);
            g.lineWidth = 1;
          }
          const left = Math.max(x, this.gutter) + 4, room = end - left - 4;
          if (room > 26) this.label(this.text(s[LABEL]), row.y + LANE / 2, "on", left, room);
        });
      });
      return drawn;
    }

    drawCounter(row) {
      const { name, unit, points, world } = row.counter, bottom = row.y + COUNTER - 10, tall = COUNTER - 28;
      const top = Math.max(1e-12, ...points.map((p) => p[1]));
      this.label(`${name}, ${unit} (${world}), up to ${top.toPrecision(3)}`, row.y + 6, "faint", 4, this.width - 8);
      this.clip(row, COUNTER, (g) => {
        g.beginPath();
        g.moveTo(this.x(0), bottom);
        let y = bottom;
        for (const [time, value] of points) {
          const x = this.x(time);
          g.lineTo(x, y);
          y = bottom - (value / top) * tall;
          g.lineTo(x, y);
        }
        const end = this.x(this.data.worlds.find((w) => w.name === world).makespan);
        g.lineTo(end, y);
        g.lineTo(end, bottom);
        g.globalAlpha = 0.15;
        g.fillStyle = this.color("kernel");
        g.fill();
        g.globalAlpha = 1;
        g.strokeStyle = this.color("kernel");
        g.lineWidth = 1.5;
        g.stroke();
        g.lineWidth = 1;
      });
    }

    isPicked(w, index) {
      if (!this.picked) return false;
      if (this.picked.w === w) return this.picked.index === index;
      return this.byId[w].get(this.data.worlds[this.picked.w].spans[this.picked.index][ID]) === index;
    }

    /* From what the picked span waited for, in either world. */
    arrows() {
      if (!this.picked) return;
      const id = this.data.worlds[this.picked.w].spans[this.picked.index][ID];
      this.data.worlds.forEach((world, w) => {
        const span = world.spans[this.byId[w].get(id)], origin = span && world.spans[span[AFTER]];
        if (!origin) return;
        const y = (s) => this.rows.find((r) => r.type === "lane" && r.w === w && r.lane === s[LANE_]).y + LANE / 2;
        const g = this.g, x = this.x(span[START]), up = y(span);
        g.save();
        g.beginPath();
        g.rect(this.gutter, 0, this.width, this.height);
        g.clip();
        g.strokeStyle = g.fillStyle = this.color("ink");
        g.beginPath();
        g.moveTo(this.x(origin[END]), y(origin));
        g.lineTo(x, up);
        g.stroke();
        g.beginPath();
        g.arc(x, up, 3, 0, 7);
        g.fill();
        g.restore();
      });
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      const row = this.rows.find((r) => r.type === "lane" && y >= r.y && y < r.y + LANE);
      if (!row || x < this.gutter) return null;
      const near = 3 / this.scale, time = this.time(x);
      let best = null, distance = near;
      this.data.worlds[row.w].spans.forEach((s, index) => {
        if (s[LANE_] !== row.lane) return;
        const d = time < s[START] ? s[START] - time : time > s[END] ? time - s[END] : 0;
        if (d < distance) { distance = d; best = { w: row.w, index }; }
      });
      return best;
    }

    describe({ w, index }) {
      const world = this.data.worlds[w], s = world.spans[index];
      const lines = [
        this.text(s[ID]),
        `${this.text(s[KIND])} on ${world.lanes[s[LANE_]]}: ${ms(s[END] - s[START])} ms`,
        `from ${ms(s[START])} to ${ms(s[END])} ms, queued at ${ms(s[QUEUED])} ms`,
      ];
      if (this.text(s[DETAIL])) lines.push(this.text(s[DETAIL]));
      if (world.spans[s[AFTER]]) lines.push(`after ${this.text(world.spans[s[AFTER]][ID])}`);
      this.data.worlds.forEach((other, o) => {
        const twin = o === w ? null : other.spans[this.byId[o].get(s[ID])];
        if (!twin) return;
        const [predicted, real] = (w === 0 ? [s, twin] : [twin, s]).map((t) => t[END] - t[START]);
        const error = real ? `, error ${((100 * (predicted - real)) / real).toFixed(1)} %` : "";
        lines.push(`${other.name}: ${ms(twin[END] - twin[START])} ms${error}`);
      });
      return lines.join("\n");
    }

    show(event) {
      const found = this.at(event);
      tip.hidden = !found;
      if (!found) return;
      tip.textContent = this.describe(found);
      const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
      const below = event.clientY + 16 + tip.offsetHeight < window.innerHeight;
      tip.style.left = `${Math.max(4, left)}px`;
      tip.style.top = `${below ? event.clientY + 16 : Math.max(4, event.clientY - 12 - tip.offsetHeight)}px`;
    }

    zoom(factor, center = (this.from + this.to) / 2) {
      const span = Math.min(this.total, Math.max(1000, (this.to - this.from) * factor));
      const share = (center - this.from) / (this.to - this.from);
      this.move(center - share * span, span);
    }

    move(from, span = this.to - this.from) {
      this.from = Math.min(Math.max(0, from), this.total - span);
      this.to = this.from + span;
      this.draw();
    }

    do(what) {
      if (what === "in") this.zoom(0.5);
      else if (what === "out") this.zoom(2);
      else this.move(0, this.total);
    }

    listen() {
      const canvas = this.canvas;
      let drag = null;
      canvas.addEventListener("pointerdown", (e) => {
        drag = { x: e.clientX, from: this.from, moved: false };
        canvas.setPointerCapture(e.pointerId);
      });
      canvas.addEventListener("pointermove", (e) => {
        if (drag && Math.abs(e.clientX - drag.x) > 3) drag.moved = true;
        if (drag && drag.moved) this.move(drag.from - (e.clientX - drag.x) / this.scale);
        this.show(e);
      });
      canvas.addEventListener("pointerup", (e) => {
        if (drag && !drag.moved) {
          this.picked = this.at(e);
          this.draw();
        }
        drag = null;
      });
      canvas.addEventListener("pointercancel", () => { drag = null; });
      canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
      canvas.addEventListener("dblclick", (e) => {
        this.zoom(0.5, this.time(e.clientX - canvas.getBoundingClientRect().left));
      });
      canvas.addEventListener("wheel", (e) => {
        if (e.ctrlKey || e.metaKey) {
          e.preventDefault();
          this.zoom(1.002 ** e.deltaY, this.time(e.clientX - canvas.getBoundingClientRect().left));
        } else if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
          e.preventDefault();
          this.move(this.from + e.deltaX / this.scale);
        }
      }, { passive: false });
      canvas.addEventListener("keydown", (e) => {
        const step = (this.to - this.from) / 8;
        const keys = {
          "+": () => this.do("in"), "=": () => this.do("in"), "-": () => this.do("out"), "0": () => this.do("fit"),
          ArrowLeft: () => this.move(this.from - step), ArrowRight: () => this.move(this.from + step),
        };
        if (keys[e.key] && !e.ctrlKey && !e.metaKey) { e.preventDefault(); keys[e.key](); }
      });
      this.box.querySelectorAll("button").forEach((b) => b.addEventListener("click", () => this.do(b.dataset.do)));
    }
  }

  document.querySelectorAll(".timeline").forEach((box) => all.push(new Timeline(box)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach((t) => t.draw()));
})();
