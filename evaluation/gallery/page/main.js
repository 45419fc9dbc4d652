// Starts the page: fills the filters, shows what the address says, listens to keys.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const filters = byId("filters");
  const THEMES = ["system", "light", "dark"];
  let loading = true;
  let shown = ""; // the view whose rows are on the sheet

  function options(name, entries) {
    const select = filters.elements[name];
    select.replaceChildren(...entries.map(([value, text]) => {
      const option = gallery.element("option", "", text);
      option.value = value;
      return option;
    }));
    if (![...select.options].some((option) => option.value === gallery.view[name])) {
      const option = gallery.element("option", "", `${gallery.view[name]} (none)`); // an address of another run
      option.value = gallery.view[name];
      select.append(option);
    }
    select.value = gallery.view[name];
  }

  function fillFilters() {
    const { summary, view, rows } = gallery;
    const there = { category: new Set(), source: new Set(), state: new Set() };
    for (let row = 0; row < rows.ready; row++) {
      if (view.tabOf(row) !== view.tab) continue;
      for (const name of ["category", "source", "state"]) there[name].add(rows[name][row]);
    }
    const categories = [...there.category].filter((number) => number >= 0).map((number) => summary.categories[number]);
    const sources = [...new Set([...there.source].map((number) => summary.sources[number][0]))];
    const states = [...there.state].map((number) => summary.states[number]).sort();
    const names = categories.map(([name, group]) => [name, `${name} (${group})`]).sort((a, b) => a[0].localeCompare(b[0], "en"));
    const groups = ["base", "novel", "open"].filter((group) => categories.some(([, own]) => own === group));
    options("category", [["", "all"], ...names]);
    options("group", [["", "all"], ...groups.map((name) => [name, name])]);
    options("source", [["", "all"], ...sources.map((name) => [name, name])]);
    options("state", [["", "all"], ...states.map((name) => [name, name])]);
    options("sort", [["", "as they come"], ...view.measures().map(([name, title]) => [name, title])]);
    filters.elements.order.value = view.order;
    filters.elements.crop.checked = view.crop === "1";
    if (document.activeElement !== filters.elements.q) filters.elements.q.value = view.q;
  }

  // Bring the page to what the view says.
  gallery.show = ({ again = false } = {}) => {
    const { view } = gallery;
    for (const button of byId("tabs").children) button.setAttribute("aria-current", button.dataset.tab === view.tab);
    const charts = view.tab === "charts";
    byId("grid").hidden = charts;
    filters.hidden = charts;
    byId("charts").hidden = !charts;
    if (charts && !loading) gallery.charts();
    const rows = ["tab", "category", "group", "source", "state", "sort", "order", "q", "crop"].map((name) => view[name]).join("\n");
    if (!charts && (again || rows !== shown)) {
      const same = rows === shown;
      shown = rows;
      fillFilters();
      view.select();
      gallery.grid.refresh({ place: same, same });
    }
    const count = view.rows.length;
    byId("count").textContent = charts ? "" : `${count} of ${gallery.rows.ready}${loading ? " so far" : ""}`;
    byId("message").hidden = charts || count > 0;
    byId("message").textContent = loading ? "Loading …" : gallery.rows.count ? "Nothing fits these filters." : "The run has no labels.";
    if (!loading) gallery.label.refresh();
  };

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    byId("theme").textContent = { system: "◐ system", light: "☀ light", dark: "☾ dark" }[name];
    try {
      localStorage.setItem("gallery-theme", name);
    } catch (error) {
      // a browser that keeps nothing for files
    }
  }

  function storedTheme() {
    try {
      return localStorage.getItem("gallery-theme");
    } catch (error) {
      return null;
    }
  }

  byId("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  });
  byId("tabs").addEventListener("click", (event) => {
    const { tab } = event.target.dataset;
    if (tab) gallery.view.change({ tab, row: "", category: "", source: "", state: "", sort: "", q: "" });
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", (event) => {
    const { name, type, value, checked } = event.target;
    gallery.view.change({ [name]: type === "checkbox" ? (checked ? "1" : "") : value, row: "" }, type === "search");
  });
  for (const name of ["popstate", "hashchange"]) {
    window.addEventListener(name, () => {
      gallery.view.read();
      if (gallery.rows) gallery.show();
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select") || !gallery.rows) return;
    const { grid, label, view } = gallery;
    const open = !byId("label").hidden;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns(), ArrowDown: grid.columns() };
    const pages = { PageUp: -1, PageDown: 1 };
    if (open && event.key === "Escape") label.close();
    else if (open && (event.key === "ArrowLeft" || event.key === "ArrowRight")) label.step(steps[event.key]);
    else if (!open && view.tab !== "charts" && event.key in steps) grid.go(grid.current() + steps[event.key]);
    else if (!open && view.tab !== "charts" && event.key in pages) grid.go(grid.current() + pages[event.key] * grid.columns() * grid.lines());
    else if (!open && view.tab !== "charts" && event.key === "Home") grid.go(0);
    else if (!open && view.tab !== "charts" && event.key === "End") grid.go(view.rows.length - 1);
    else if (!open && view.tab !== "charts" && event.key === "Enter" && !event.target.closest("button") && view.rows.length) {
      view.change({ row: view.key(view.rows[grid.current()]) });
    } else return;
    event.preventDefault();
  });

  async function start() {
    setTheme(THEMES.includes(storedTheme()) ? storedTheme() : "system");
    gallery.view.read();
    let first = true;
    await gallery.open(() => {
      if (first) gallery.show({ again: true });
      else byId("count").textContent = `${gallery.rows.ready} of ${gallery.rows.count} read`;
      first = false;
    });
    loading = false;
    gallery.show({ again: true });
    document.body.dataset.ready = Math.round(performance.now()); // milliseconds
  }

  start().catch((error) => {
    byId("message").hidden = false;
    byId("message").textContent = `The gallery can't be shown: ${error.message}. Is the folder whole?`;
  });
})();
