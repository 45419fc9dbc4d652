// The way of one label: its captions, what was made on the way to it, the truth, what detectors find, all numbers.
"use strict";

(() => {
  const BEST = 4; // of a detector's finds of the same category
  const sheet = document.getElementById("label");
  const { draw } = gallery;
  gallery.label = { row: -1 };

  // An element of a class with texts and elements in it. Texts stay texts.
  const element = (gallery.element = (name, kind, ...content) => {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    made.append(...content);
    return made;
  });

  // A panel of a title, a picture with layers that `paint` draws, and a note.
  function figure(parts, title, paint, note = "") {
    const canvas = element("canvas");
    const target = draw.canvas(canvas, parts.picture, parts.image, parts.part, parts.wide, parts.high);
    paint(target);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}. ${note}`);
    return element("figure", "", element("figcaption", "", title), canvas, element("span", "note", note));
  }

  function markedCaption({ text, marks }, category, own) {
    const line = element("p", own ? "caption own" : "caption");
    let end = 0;
    for (const [start, stop, number] of marks) {
      if (start < end) continue;
      line.append(text.slice(end, start), element("mark", number === category ? "noun" : "other", text.slice(start, stop)));
      end = stop;
    }
    line.append(text.slice(end));
    return line;
  }

  function panelsOfLabel(parts, row, found) {
    const { image } = parts;
    const { box, counts, maps, noise } = found.row;
    const panels = [];
    if (maps) {
      const [steps, height, width] = maps.shape;
      const values = draw.bytes(maps.cells);
      for (let step = 0; step < steps; step++) {
        const cells = values.subarray(step * height * width, (step + 1) * height * width);
        const note = step ? "what was active before is masked" : "where the noun lies in the picture";
        panels.push(figure(parts, `Activation, iteration ${step + 1}`, (target) => draw.addHeat(target, cells, height, width), note));
      }
    }
    if (image.proposals && image.proposals.length) {
      panels.push(figure(parts, "Proposals, the box", (target) => {
        draw.addProposals(target, image.proposals);
        if (box) draw.addBox(target, box, draw.BOX);
      }, `${image.proposals.length} proposals; yellow: the label's box`));
    }
    if (counts) {
      panels.push(figure(parts, `Mask of ${gallery.source(row)[0]}`, (target) => draw.addMask(target, counts, draw.MASK)));
    }
    if (noise) {
      const title = "Noise, as the student sees it";
      panels.push(figure(parts, title, (target) => {
        draw.addHeat(target, draw.bytes(noise.cells), noise.side, noise.side, box);
        draw.addBox(target, box, draw.BOX);
      }, `variance from ${gallery.text(noise.range[0])} (dark) to ${gallery.text(noise.range[1])} (bright)`));
    }
    return panels;
  }

  function truthPanel(parts, category) {
    const { truth } = parts.image;
    const own = truth.filter(([number]) => number === category);
    return figure(parts, "Truth", (target) => {
      for (const [number, counts] of truth) {
        if (number !== category) draw.addMask(target, counts, "#c8c8c8", { fill: 0, dashes: [7, 5] });
      }
      for (const [, counts] of own) draw.addMask(target, counts, draw.TRUTH);
    }, own.length ? `${own.length} of this category; dashed: others` : "none of this category; dashed: others");
  }

  function detectorPanels(parts, row, found) {
    return Object.entries(parts.image.found || {}).map(([detector, detections]) => figure(parts, detector, (target) => {
      const own = detector === gallery.source(row)[0] ? found.row.counts : "";
      const named = detections.map(([category, score, counts], i) => {
        const colour = draw.COLOURS[i % draw.COLOURS.length];
        draw.addMask(target, counts, colour, { fill: counts === own ? 0.5 : 0.15 });
        return [gallery.summary.categories[category]?.[0] ?? "–", score, counts, colour];
      });
      for (const [name, score, counts, colour] of named) {
        const [x, y] = draw.mask(counts, parts.image.height, parts.image.width).box;
        draw.addText(target, `${name} ${score.toFixed(2)}`, x, y, colour);
      }
    }, detections.length ? "" : "finds nothing"));
  }

  // The rows where each detector is surest of a category: validation images, since no detector is asked for others.
  function bestFinds(category) {
    const { rows } = gallery;
    const best = new Map();
    for (let row = 0; row < rows.ready; row++) {
      if (rows.category[row] !== category || gallery.source(row)[1] !== "detections") continue;
      const name = gallery.source(row)[0];
      const list = best.get(name) || best.set(name, []).get(name);
      list.push(row);
      list.sort((a, b) => rows.measures.score[b] - rows.measures.score[a] || a - b);
      list.length = Math.min(list.length, BEST);
    }
    return best;
  }

  async function showFinds(place, category) {
    for (const [detector, rows] of bestFinds(category)) {
      const line = element("div", "panels");
      place.append(element("h3", "", `${detector} finds it in validation pictures`), line);
      for (const row of rows) {
        const found = await gallery.detail(row);
        const picture = await draw.picture(found.image.file);
        const parts = { picture, image: found.image, part: null, wide: 190, high: 170 };
        const note = `score ${gallery.text(gallery.rows.measures.score[row])}, IoU ${gallery.text(gallery.rows.measures.iou[row])}`;
        const panel = figure(parts, gallery.id(row), (target) => draw.addMask(target, found.row.counts, draw.MASK), note);
        const link = element("button", "plain", panel);
        link.addEventListener("click", () => gallery.view.change({ tab: "detections", row: gallery.view.key(row) }));
        line.append(link);
      }
    }
  }

  function numberTables(numbers) {
    return Object.entries(numbers).map(([table, values]) => {
      const body = element("tbody");
      const notes = gallery.summary.notes[table] || {};
      for (const [name, value] of Object.entries(values)) {
        if (value === "") continue;
        const shown = Array.isArray(value) ? value.map(gallery.text).join(", ") : gallery.text(value);
        body.append(element("tr", "", element("th", "", name), element("td", "number", shown), element("td", "note", notes[name] || "")));
      }
      return element("table", "", element("caption", "", table), body);
    });
  }

  function sameImage(row) {
    const { rows } = gallery;
    const others = [];
    let start = row;
    while (start > 0 && rows.image[start - 1] === rows.image[row]) start--;
    for (let other = start; other < rows.ready && rows.image[other] === rows.image[row]; other++) {
      if (other === row) continue;
      const state = gallery.state(other);
      const note = ["kept", "found"].includes(state) ? gallery.source(other)[0] : state;
      const link = element("button", "chip", `${gallery.category(other)} · ${note}`);
      link.addEventListener("click", () => gallery.view.change({ tab: gallery.view.tabOf(other), row: gallery.view.key(other) }));
      others.push(link);
    }
    return others;
  }

  function head(row) {
    const place = gallery.view.rows.indexOf(row);
    const where = place < 0 ? "not in this view" : `${place + 1} of ${gallery.view.rows.length}`;
    const button = (text, title, act) => {
      const made = element("button", "", text);
      made.title = title;
      made.addEventListener("click", act);
      return made;
    };
    const group = gallery.group(row);
    return element("div", "head",
      button("←", "the one before (left arrow)", () => gallery.label.step(-1)),
      element("span", "where", where),
      button("→", "the next (right arrow)", () => gallery.label.step(1)),
      element("h2", "", gallery.name(row)),
      element("span", `badge ${group}`, group || "no category"),
      element("span", "badge", gallery.source(row)[0]),
      element("span", "badge", gallery.state(row)),
      button("Close", "back to the pictures (Escape)", gallery.label.close));
  }

  function rejectLines({ stage, reason, key, detail }) {
    return element("p", "reject", element("strong", "", `${stage}: ${reason}`), key ? ` (${key})` : "", ` — ${detail}`);
  }

  async function show(row) {
    gallery.label.row = row;
    const found = await gallery.detail(row);
    const picture = await draw.picture(found.image.file);
    if (gallery.label.row !== row) return; // another was asked for meanwhile
    const { image } = found;
    const category = gallery.rows.category[row];
    const side = Math.max(200, Math.min(320, window.innerWidth - 40));
    const part = gallery.view.crop && found.row.box ? draw.around(found.row.box, image) : null;
    const parts = { picture, image, part, wide: side, high: side };
    const body = element("div", "body");
    if (found.row.reject) body.append(rejectLines(found.row.reject));
    const own = gallery.caption(row);
    for (const caption of [...image.captions].sort((a, b) => (b.text === own) - (a.text === own))) {
      body.append(markedCaption(caption, category, caption.text === own));
    }
    const panels = element("div", "panels");
    if (picture) {
      panels.append(figure(parts, "Picture", () => {}, `${image.size.join(" × ")} pixels`), ...panelsOfLabel(parts, row, found));
      if (image.truth && image.truth.length) panels.append(truthPanel(parts, category));
      panels.append(...detectorPanels(parts, row, found));
    } else {
      body.append(element("p", "reject", "There is no picture to show."));
    }
    body.append(panels, element("p", "file", image.path ? `${image.id} · ${image.split} · ${image.path}` : image.id));
    const others = sameImage(row);
    if (others.length) body.append(element("h3", "", "Of the same picture"), element("div", "chips", ...others));
    const finds = element("div");
    body.append(finds, ...numberTables(found.row.numbers));
    sheet.replaceChildren(head(row), body);
    sheet.hidden = false;
    sheet.scrollTop = 0;
    sheet.focus();
    if (!image.found) showFinds(finds, category);
  }

  // Show the row of the address, or none.
  gallery.label.refresh = (again = false) => {
    const key = gallery.view.row;
    const row = key ? gallery.view.find(key) : -1;
    if (row < 0) {
      gallery.label.row = -1;
      sheet.hidden = true;
      document.getElementById("grid").focus({ preventScroll: true });
      return;
    }
    const place = gallery.view.rows.indexOf(row);
    if (place >= 0) gallery.grid.go(place);
    if (again || row !== gallery.label.row) show(row);
  };

  // Walk along the rows of the view.
  gallery.label.step = (by) => {
    const place = gallery.view.rows.indexOf(gallery.label.row) + by;
    if (place >= 0 && place < gallery.view.rows.length) {
      gallery.view.change({ row: gallery.view.key(gallery.view.rows[place]) }, true);
    }
  };

  gallery.label.close = () => gallery.view.change({ row: "" });
})();
