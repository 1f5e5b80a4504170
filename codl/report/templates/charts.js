"use strict";
/* Reads the values of a chart back at the pointer. Data: see codl/report/charts.py. Only text nodes are written. */
(() => {
  const tip = document.getElementById("tip");
  const three = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))));

  /* The value that a series shows at a place: the last one of steps, else the nearest one. */
  function valueAt({ kind, points }, x) {
    let before = -1;
    for (let i = 0; i < points.length && points[i][0] <= x; i++) before = i;
    if (kind === "steps") return before < 0 ? null : points[before][1];
    const near = [points[before], points[before + 1]].filter(Boolean);
    if (!near.length) return null;
    return near.reduce((a, b) => (Math.abs(a[0] - x) <= Math.abs(b[0] - x) ? a : b))[1];
  }

  function show(event, area, cursor, data, along) {
    const box = area.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)), x = share * data.end;
    const lines = [`${along} ${three(x)}`];
    for (const series of data.series) {
      if (series.kind === "losses") continue;
      const value = valueAt(series, x);
      lines.push(`${series.name}: ${value === null ? "–" : three(value)}`);
    }
    cursor.hidden = tip.hidden = false;
    cursor.style.left = `${100 * share}%`;
    tip.textContent = lines.join("\n");
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, event.clientY - 12 - tip.offsetHeight)}px`;
  }

  document.querySelectorAll(".chart").forEach((chart) => {
    const area = chart.querySelector(".area"), cursor = chart.querySelector(".cursor");
    const data = JSON.parse(chart.querySelector("script").textContent);
    area.addEventListener("pointermove", (event) => show(event, area, cursor, data, chart.dataset.along));
    area.addEventListener("pointerleave", () => { cursor.hidden = tip.hidden = true; });
  });
})();
