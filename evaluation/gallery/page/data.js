// Asks for the scripts that hold the data, and keeps what they hand over: the summary, the columns of the index, and the
// details that were read last.
"use strict";

const gallery = { summary: null };

(() => {
  const DETAILS_KEPT = 120; // chunks in memory, of some hundred kilobytes each
  const AT_ONCE = 6; // scripts that are read side by side
  const USED = ["kept", "of an earlier round"]; // states of a label that is one
  const waiting = new Map(); // part: what to call with its content
  const details = new Map(); // part: promise, the one that was used last at the end

  gallery.TABS = ["labels", "rejected", "detections"];

  // Every script of data is one call of this.
  gallery.take = (part, text) => {
    const done = waiting.get(part);
    waiting.delete(part);
    if (done) done(JSON.parse(text));
  };

  // A promise of the content of PART.js.
  function read(part) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const end = (act, value) => {
        script.remove();
        act(value);
      };
      waiting.set(part, (content) => end(resolve, content));
      script.onerror = () => end(reject, new Error(`${part}.js can't be read`));
      script.src = `${part}.js`;
      document.head.append(script);
    });
  }

  const padded = (number) => String(number).padStart(5, "0");

  // Rows in columns: numbers of images, captions …; NaN where a row has no such measure.
  function columns(summary) {
    const rows = { count: summary.rows, ready: 0, measures: {} };
    for (const name of ["image", "caption", "category", "source", "state", "instance", "detail"]) {
      rows[name] = new Int32Array(summary.rows).fill(-1);
    }
    for (const [name] of summary.measures) rows.measures[name] = new Float32Array(summary.rows).fill(NaN);
    rows.tab = new Uint8Array(summary.rows); // its place in TABS
    return Object.assign(rows, { ids: [], files: [], captions: [] });
  }

  function addChunk(rows, start, chunk) {
    const used = new Set(USED.map((state) => gallery.summary.states.indexOf(state)));
    const image = rows.ids.length;
    const caption = rows.captions.length;
    for (const [id, file] of chunk.images) {
      rows.ids.push(id);
      rows.files.push(file);
    }
    for (const text of chunk.captions) rows.captions.push(text);
    for (let i = 0; i < chunk.image.length; i++) {
      rows.image[start + i] = image + chunk.image[i];
      rows.caption[start + i] = chunk.caption[i] < 0 ? -1 : caption + chunk.caption[i];
    }
    for (const name of ["category", "source", "state", "instance", "detail"]) rows[name].set(chunk[name], start);
    for (let row = start; row < start + chunk.image.length; row++) {
      const kind = gallery.summary.sources[rows.source[row]][1];
      const rejected = kind === "rejects" || (kind === "labels" && !used.has(rows.state[row]));
      rows.tab[row] = rejected ? 1 : kind === "labels" ? 0 : 2;
    }
    for (const [name, values] of Object.entries(chunk.measures)) {
      const column = rows.measures[name];
      values.forEach((value, i) => {
        if (value !== null) column[start + i] = value;
      });
    }
    rows.ready = start + chunk.image.length;
  }

  // Read the summary and the whole index; progress is called whenever more rows are there.
  gallery.open = async (progress) => {
    const summary = (gallery.summary = await read("summary"));
    gallery.rows = columns(summary);
    gallery.groups = summary.categories.map(([, group]) => group);
    const chunks = [];
    let start = 0;
    for (let i = 0; i < summary.chunks.length; i++) {
      while (chunks.length < Math.min(summary.chunks.length, i + AT_ONCE)) {
        chunks.push(read(`index/${padded(chunks.length)}`));
      }
      addChunk(gallery.rows, start, await chunks[i]);
      chunks[i] = null;
      start += summary.chunks[i];
      progress();
    }
  };

  // A promise of what is drawn and told of a row: {row, image}.
  gallery.detail = async (row) => {
    const part = `details/${padded(gallery.rows.detail[row])}`;
    const chunk = details.get(part) || read(part);
    details.delete(part);
    details.set(part, chunk);
    if (details.size > DETAILS_KEPT) details.delete(details.keys().next().value);
    const content = await chunk;
    const found = content.rows[row];
    return { row: found, image: content.images[found.image] };
  };

  // A file beside the gallery that need not be there.
  gallery.readIfThere = (part) => read(part).catch(() => null);

  // Names of numbers
  gallery.category = (row) => (gallery.summary.categories[gallery.rows.category[row]] || ["–"])[0];
  gallery.name = (row) => (gallery.rows.category[row] < 0 ? gallery.id(row) : gallery.category(row)); // where there is no category
  gallery.group = (row) => gallery.groups[gallery.rows.category[row]] || "";
  gallery.source = (row) => gallery.summary.sources[gallery.rows.source[row]];
  gallery.state = (row) => gallery.summary.states[gallery.rows.state[row]];
  gallery.caption = (row) => gallery.rows.captions[gallery.rows.caption[row]] || "";
  gallery.id = (row) => gallery.rows.ids[gallery.rows.image[row]];
  gallery.file = (row) => gallery.rows.files[gallery.rows.image[row]];
  gallery.measure = (name) => gallery.summary.measures.find(([own]) => own === name);

  // A number as people read it.
  gallery.text = (value) => {
    if (typeof value !== "number") return String(value);
    if (Number.isNaN(value)) return "–";
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
  };
})();
