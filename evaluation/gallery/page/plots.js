// Small charts as SVG: lines, stacked bars, and bars that lie.
"use strict";

(() => {
  const SPACE = "http://www.w3.org/2000/svg";
  const plots = (gallery.plots = {});

  const svg = (name, attributes, ...content) => {
    const made = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...content);
    return made;
  };
  const text = (x, y, content, kind = "", anchor = "start") => svg("text", { x, y, class: kind, "text-anchor": anchor }, content);
  const tip = (content) => svg("title", {}, content);

  // Round numbers from low to high, about as many as `count`.
  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(6)));
    return found;
  }

  // series: [[name, [[x, y], …]], …]
  plots.lines = (series, { width = 360, height = 210, across = "steps" } = {}) => {
    const [left, right, top, bottom] = [46, 18, 8, 34];
    const points = series.flatMap(([, line]) => line).filter(([, y]) => y !== null);
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const [x0, x1] = [Math.min(...xs, 0), Math.max(...xs, 1)];
    const [y0, y1] = [Math.min(...ys, 0), Math.max(...ys, 1e-9)];
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
    const py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", width, height, role: "img" });
    for (const y of ticks(y0, y1, 4)) {
      chart.append(svg("line", { x1: left, x2: width - right, y1: py(y), y2: py(y), class: "rule" }), text(left - 5, py(y) + 4, gallery.text(y), "", "end"));
    }
    for (const x of ticks(x0, x1, 5)) chart.append(text(px(x), height - bottom + 15, gallery.text(x), "", "middle"));
    chart.append(text(width - right, height - 4, across, "", "end"));
    series.forEach(([name, line], i) => {
      const path = line.filter(([, y]) => y !== null).map(([x, y], at) => `${at ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
      chart.append(svg("path", { d: path, class: `line series${i % 7} dash${Math.floor(i / 7)}` }, tip(name)));
    });
    return chart;
  };

  // edges: of the bins, one more than these; stacks: [[name, class, counts of the bins], …]
  plots.histogram = (edges, stacks, { width = 360, height = 180 } = {}) => {
    const [left, right, top, bottom] = [46, 18, 8, 22];
    const sums = edges.slice(1).map((_, bin) => stacks.reduce((sum, [, , counts]) => sum + counts[bin], 0));
    const most = Math.max(1, ...sums);
    const wide = (width - left - right) / sums.length;
    const py = (y) => height - bottom - (y / most) * (height - top - bottom);
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", width, height, role: "img" });
    for (const y of ticks(0, most, 3)) {
      chart.append(svg("line", { x1: left, x2: width - right, y1: py(y), y2: py(y), class: "rule" }), text(left - 5, py(y) + 4, gallery.text(y), "", "end"));
    }
    sums.forEach((_, bin) => {
      let below = 0;
      for (const [name, kind, counts] of stacks) {
        if (!counts[bin]) continue;
        const y = py(below + counts[bin]);
        const range = `${gallery.text(edges[bin])} to ${gallery.text(edges[bin + 1])}`;
        chart.append(svg("rect", { x: left + bin * wide + 0.5, y, width: wide - 1, height: py(below) - y, class: `bar ${kind}` }, tip(`${name}, ${range}: ${counts[bin]}`)));
        below += counts[bin];
      }
    });
    const low = edges[0];
    const high = edges[edges.length - 1];
    for (const x of ticks(low, high, 5)) {
      const at = left + ((x - low) / (high - low)) * (width - left - right);
      chart.append(text(at, height - bottom + 15, gallery.text(x), "", "middle"));
    }
    return chart;
  };

  // rows: [[name, [[part's name, class, value], …], what is written behind], …]
  plots.bars = (rows, { width = 460, names = 170, behind = 60, most = null, line = 20 } = {}) => {
    const height = rows.length * line + 4;
    const total = (parts) => parts.reduce((sum, [, , value]) => sum + value, 0);
    const end = most ?? Math.max(1e-9, ...rows.map(([, parts]) => total(parts)));
    const scale = (width - names - behind) / end;
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", width, height, role: "img" });
    rows.forEach(([name, parts, note], i) => {
      const y = i * line + 2;
      const label = name.length > 26 ? `${name.slice(0, 25)}…` : name;
      chart.append(svg("text", { x: names - 6, y: y + line - 6, "text-anchor": "end" }, label, tip(name)));
      let x = names;
      for (const [part, kind, value] of parts) {
        chart.append(svg("rect", { x, y: y + 2, width: Math.max(0, value * scale), height: line - 4, class: `bar ${kind}` }, tip(`${name}, ${part}: ${gallery.text(value)}`)));
        x += value * scale;
      }
      chart.append(text(x + 5, y + line - 6, note));
    });
    return chart;
  };

  // entries: [[name, class], …]
  plots.legend = (entries) => gallery.element("div", "legend", ...entries.map(([name, kind]) => {
    const swatch = svg("svg", { width: 14, height: 14, class: "chart" }, svg("rect", { width: 14, height: 14, class: `bar ${kind}` }));
    return gallery.element("span", "", swatch, name);
  }));
})();
