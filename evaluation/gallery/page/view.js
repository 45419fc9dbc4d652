// Which rows are shown in which order: filters and sorting, kept in the address bar behind #.
"use strict";

(() => {
  const DEFAULTS = {
    tab: "labels", category: "", group: "", source: "", state: "", sort: "", order: "worst", q: "", crop: "", row: "",
  };

  const view = (gallery.view = { ...DEFAULTS, rows: new Uint32Array(0) });

  // labels, rejected or detections
  view.tabOf = (row) => gallery.TABS[gallery.rows.tab[row]];

  view.read = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(DEFAULTS)) view[name] = given.get(name) ?? DEFAULTS[name];
    if (!["labels", "rejected", "detections", "charts"].includes(view.tab)) view.tab = DEFAULTS.tab;
  };

  // Change some of the view; replace: without a new entry in the browser's history.
  view.change = (changes, replace = false) => {
    Object.assign(view, changes);
    const params = new URLSearchParams();
    for (const [name, usual] of Object.entries(DEFAULTS)) if (view[name] !== usual) params.set(name, view[name]);
    const hash = `#${params}`;
    if (hash === (location.hash || "#")) return;
    if (replace) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
    gallery.show();
  };

  // A row by what it is, so that an address outlives another run that made other rows.
  view.key = (row) => [gallery.id(row), gallery.category(row), gallery.source(row)[0], gallery.rows.instance[row],
    gallery.state(row)].join("\u001f");

  view.find = (key) => {
    for (let row = 0; row < gallery.rows.ready; row++) {
      if (key.startsWith(gallery.id(row)) && view.key(row) === key) return row;
    }
    return -1;
  };

  // Captions that hold every word that is looked for: one byte a caption.
  function captionsWith(words) {
    return Uint8Array.from(gallery.rows.captions, (text) => {
      const lower = text.toLowerCase();
      return words.every((word) => lower.includes(word)) ? 1 : 0;
    });
  }

  // Find the rows of the view, and sort them. Those without the measure come last, rows alike as they lie in the index.
  view.select = () => {
    const { rows, summary } = gallery;
    const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
    const named = words.length ? captionsWith(words) : null;
    const fits = new Map(); // a source and a state
    const kept = new Uint32Array(rows.ready);
    let count = 0;
    for (let row = 0; row < rows.ready; row++) {
      const kind = rows.source[row] * 4096 + rows.state[row];
      if (!fits.has(kind)) {
        fits.set(kind, view.tabOf(row) === view.tab && (!view.source || gallery.source(row)[0] === view.source) &&
          (!view.state || gallery.state(row) === view.state));
      }
      if (!fits.get(kind)) continue;
      if (view.category && gallery.category(row) !== view.category) continue;
      if (view.group && gallery.group(row) !== view.group) continue;
      if (named && !(rows.caption[row] >= 0 && named[rows.caption[row]])) continue;
      kept[count++] = row;
    }
    view.rows = kept.slice(0, count);
    const measure = gallery.measure(view.sort);
    if (!measure) return;
    const values = rows.measures[view.sort];
    const sign = (measure[2] === "low") === (view.order === "worst") ? 1 : -1;
    const last = (value) => (Number.isNaN(value) ? Infinity : sign * value);
    view.rows.sort((a, b) => {
      const x = last(values[a]);
      const y = last(values[b]);
      return x === y ? a - b : x - y;
    });
  };

  // Measures that at least one row of the tab has.
  view.measures = () => gallery.summary.measures.filter(([name]) => {
    const values = gallery.rows.measures[name];
    for (let row = 0; row < gallery.rows.ready; row++) {
      if (!Number.isNaN(values[row]) && view.tabOf(row) === view.tab) return true;
    }
    return false;
  });
})();
