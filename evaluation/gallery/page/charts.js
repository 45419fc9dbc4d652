// The charts: distributions of the measures, counts and average precision of the categories, rejects, training curves, costs.
"use strict";

(() => {
  const BINS = 24;
  const GROUPS = ["base", "novel", "open", ""];
  const place = document.getElementById("charts");
  const { element, plots } = gallery;
  const groupName = (group) => group || "no category";

  const section = (title, note, ...content) => element("section", "", element("h2", "", title), element("p", "note", note), ...content);
  const card = (title, ...content) => element("figure", "card", element("figcaption", "", title), ...content);

  const rowsOf = (tab) => {
    const found = [];
    for (let row = 0; row < gallery.rows.ready; row++) if (gallery.view.tabOf(row) === tab) found.push(row);
    return found;
  };
  const legendOfGroups = (rows) => {
    const there = new Set(rows.map(gallery.group));
    return plots.legend(GROUPS.filter((group) => there.has(group)).map((group) => [groupName(group), `group-${group || "none"}`]));
  };

  function distribution(name, title, rows) {
    const values = gallery.rows.measures[name];
    const known = rows.filter((row) => !Number.isNaN(values[row]));
    if (!known.length) return null;
    let [low, high] = [Infinity, -Infinity];
    for (const row of known) {
      low = Math.min(low, values[row]);
      high = Math.max(high, values[row]);
    }
    if (high === low) high = low + 1;
    const edges = Array.from({ length: BINS + 1 }, (_, i) => low + ((high - low) * i) / BINS);
    const stacks = GROUPS.map((group) => [groupName(group), `group-${group || "none"}`, new Array(BINS).fill(0)]);
    for (const row of known) {
      const bin = Math.min(BINS - 1, Math.floor(((values[row] - low) / (high - low)) * BINS));
      stacks[GROUPS.indexOf(gallery.group(row))][2][bin]++;
    }
    return card(title, plots.histogram(edges, stacks));
  }

  function distributions() {
    const labels = rowsOf("labels");
    const parts = [];
    for (const [source] of gallery.summary.sources.filter(([, kind]) => kind === "labels")) {
      const rows = labels.filter((row) => gallery.source(row)[0] === source);
      const charts = gallery.summary.measures.map(([name, title]) => distribution(name, `${title}, ${source}`, rows)).filter(Boolean);
      if (charts.length) parts.push(element("div", "cards", ...charts));
    }
    return section("Measures", "Labels by each measure of their quality.", legendOfGroups(labels), ...parts);
  }

  function counts() {
    const labels = new Map();
    const rejected = new Map();
    for (const [tab, map] of [["labels", labels], ["rejected", rejected]]) {
      for (const row of rowsOf(tab)) map.set(gallery.rows.category[row], (map.get(gallery.rows.category[row]) || 0) + 1);
    }
    const rows = gallery.summary.categories
      .map(([name, group], i) => [name, group, labels.get(i) || 0, rejected.get(i) || 0])
      .filter(([, , kept, lost]) => kept + lost)
      .sort((a, b) => b[2] - a[2]);
    const bars = rows.map(([name, group, kept, lost]) => [name, [["labels", `group-${group}`, kept], ["rejected", "rejected", lost]],
      lost ? `${kept} + ${lost}` : `${kept}`]);
    const groups = [...new Set(rows.map(([, group]) => group))].map((group) => [group, `group-${group}`]);
    return card("Labels, and rejected", plots.legend([...groups, ["rejected", "rejected"]]), plots.bars(bars));
  }

  function precision(detector) {
    const rows = gallery.summary.ap.filter(([own, protocol, kind]) => own === detector && kind === "segm" && /^generalized_/.test(protocol));
    if (!rows.length) return null;
    const bars = rows.sort((a, b) => b[4] - a[4]).map(([, protocol, , category, value]) =>
      [category, [["AP50", `group-${protocol.replace("generalized_", "")}`, value]], value.toFixed(1)]);
    return card(`Mask AP50, ${detector}`, plots.bars(bars, { most: 100 }));
  }

  function scores() {
    const rows = gallery.summary.ap.filter(([detector, protocol, kind]) => detector && kind === "segm" && ["generalized", "constrained"].includes(protocol));
    const detectors = [...new Set(rows.map(([detector]) => detector))];
    return detectors.map((detector) => card(`Mask AP50, ${detector}`, plots.bars(
      rows.filter(([own]) => own === detector).map(([, protocol, , group, value]) => [`${group}, ${protocol}`, [["AP50", `group-${group}`, value]], value.toFixed(1)]),
      { most: 100, width: 400 })));
  }

  function categories() {
    const detectors = [...new Set(gallery.summary.ap.map(([detector]) => detector))].filter(Boolean);
    const parts = [counts(), ...detectors.map(precision).filter(Boolean)];
    return section("Categories", "How many labels each has, and how well its objects are found when all names compete (percent).", element("div", "cards", ...parts));
  }

  function rejects() {
    const { rejects: rows } = gallery.summary;
    if (!rows.length) return section("Rejects", "No stage rejected anything.");
    const bars = [...rows].sort((a, b) => b[2] - a[2]).map(([stage, reason, count, counted]) =>
      [`${stage}: ${reason}`, [[reason, counted ? "fault" : "rejected", count]], String(count)]);
    return section("Rejects", "What each stage could not use, and why.",
      plots.legend([["held against the stage", "fault"], ["ordinary", "rejected"]]), plots.bars(bars, { names: 230, width: 620 }));
  }

  function curves() {
    const parts = Object.entries(gallery.summary.curves).map(([stage, lines]) => {
      const series = Object.entries(lines);
      return card(stage, plots.lines(series), plots.legend(series.map(([name], i) => [name, `series${i % 7} dash${Math.floor(i / 7)}`])));
    });
    return section("Training", "Losses and what else the trainings note.", element("div", "cards", ...parts));
  }

  function costs(content) {
    const bars = (place, unit) => [...content].sort((a, b) => b[place] - a[place])
      .map((row) => [row[0], [[unit, "series0", row[place]]], `${gallery.text(row[place])} ${unit}`]);
    return section("Costs", "Time and memory of each stage's last execution, as Snakemake measured them. They are not part of the gallery, but of the file overview/costs.js beside its folder.",
      element("div", "cards", card("Time", plots.bars(bars(1, "s"), { behind: 80 })), card("Memory of the largest process", plots.bars(bars(2, "MiB"), { behind: 90 }))));
  }

  let drawn = false;
  gallery.charts = async () => {
    place.hidden = false;
    if (drawn) return;
    drawn = true;
    const sections = [categories(), distributions(), rejects(), curves()];
    const found = scores();
    if (found.length) sections.unshift(section("Scores", "Percent; generalized: all names compete, constrained: those of the group.", element("div", "cards", ...found)));
    place.replaceChildren(...sections);
    const measured = await gallery.readIfThere("../overview/costs");
    if (measured && measured.length) place.append(costs(measured));
  };
})();
