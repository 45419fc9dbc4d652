// The sheet of small pictures: only the tiles in sight exist, whatever the number of rows.
"use strict";

(() => {
  const WIDTH = 196; // of a tile at least, with its gap, in CSS pixels
  const HEIGHT = 222;
  const PICTURE = 164; // height of a tile's picture
  const MARGIN = 1; // lines of tiles above and below those in sight
  const MOST_HIGH = 15000000; // pixels; browsers let nothing be much higher, so that beyond it a pixel scrolls several

  const grid = document.getElementById("grid");
  const sheet = document.getElementById("sheet");
  const tiles = new Map(); // place in the view: its element
  const state = { columns: 1, width: WIDTH, current: 0, asked: false, shrink: 1 };
  gallery.grid = {};

  function measure() {
    const wide = grid.clientWidth - 16;
    state.columns = Math.max(1, Math.floor(wide / WIDTH));
    state.width = Math.floor(wide / state.columns);
    const high = Math.ceil(gallery.view.rows.length / state.columns) * HEIGHT + 16;
    state.shrink = Math.max(1, (high - grid.clientHeight) / Math.max(1, MOST_HIGH - grid.clientHeight));
    sheet.style.height = `${Math.min(high, MOST_HIGH)}px`;
  }

  async function paint(tile, row) {
    const canvas = tile.querySelector("canvas");
    let found;
    try {
      found = await gallery.detail(row);
    } catch (error) {
      tile.classList.add("empty");
      return;
    }
    const picture = await gallery.draw.picture(found.image.file);
    if (tile.dataset.row !== String(row) || !tile.isConnected) return; // it was scrolled away meanwhile
    if (!picture) {
      tile.classList.add("empty");
      return;
    }
    const { box, counts } = found.row;
    const part = box && gallery.view.crop ? gallery.draw.around(box, found.image) : null;
    const target = gallery.draw.canvas(canvas, picture, found.image, part, state.width - 12, PICTURE);
    const truth = (found.image.truth || []).filter(([category]) => category === gallery.rows.category[row]);
    for (const [, mask] of truth) {
      gallery.draw.addMask(target, mask, gallery.draw.TRUTH, { fill: 0, dashes: [4, 5] });
    }
    if (counts) gallery.draw.addMask(target, counts, gallery.draw.MASK, { fill: 0.3 });
  }

  function textOf(row) {
    const { sort } = gallery.view;
    const value = gallery.measure(sort) ? gallery.text(gallery.rows.measures[sort][row]) : "";
    const [source] = gallery.source(row);
    const state = gallery.state(row);
    return { name: gallery.name(row), note: ["kept", "found"].includes(state) ? source : state, value };
  }

  function make(place) {
    const row = gallery.view.rows[place];
    const tile = document.createElement("button");
    tile.className = "tile";
    tile.tabIndex = -1;
    tile.setAttribute("role", "option");
    tile.dataset.row = row;
    tile.dataset.place = place;
    const line = Math.floor(place / state.columns);
    tile.style.width = `${state.width - 8}px`;
    tile.style.left = `${8 + (place % state.columns) * state.width}px`;
    tile.dataset.top = 8 + line * HEIGHT;
    const frame = document.createElement("span");
    frame.className = "frame";
    frame.append(document.createElement("canvas"));
    tile.append(frame);
    const { name, note, value } = textOf(row);
    for (const [kind, text] of [["name", name], ["note", note], ["value", value]]) {
      const span = document.createElement("span");
      span.className = kind;
      span.textContent = text;
      tile.append(span);
    }
    tile.title = gallery.caption(row) || gallery.id(row);
    tile.setAttribute("aria-label", `${name}, ${note} ${value}. ${gallery.caption(row)}`);
    sheet.append(tile);
    paint(tile, row);
    return tile;
  }

  // Make the tiles that came into sight, and drop those that left it.
  function fill() {
    state.asked = false;
    const top = grid.scrollTop * state.shrink;
    const first = Math.max(0, Math.floor(top / HEIGHT) - MARGIN) * state.columns;
    const end = Math.min(gallery.view.rows.length, (Math.ceil((top + grid.clientHeight) / HEIGHT) + MARGIN) * state.columns);
    for (const [place, tile] of tiles) {
      if (place < first || place >= end) {
        tile.remove();
        tiles.delete(place);
      }
    }
    for (let place = first; place < end; place++) if (!tiles.has(place)) tiles.set(place, make(place));
    const shift = grid.scrollTop - top; // nought unless the sheet is too high for the browser
    for (const [place, tile] of tiles) {
      tile.style.top = `${Number(tile.dataset.top) + shift}px`;
      tile.classList.toggle("current", place === state.current);
      tile.setAttribute("aria-selected", place === state.current);
    }
  }

  function ask() {
    if (!state.asked) {
      state.asked = true;
      requestAnimationFrame(fill);
    }
  }

  // Draw everything anew: the view has other rows, or the window another size.
  // place: stay where it is; same: tiles that show the same row stay.
  gallery.grid.refresh = ({ place = false, same = false } = {}) => {
    const { columns, width } = state;
    measure();
    for (const [at, tile] of tiles) {
      const stays = same && columns === state.columns && width === state.width;
      if (stays && tile.dataset.row === String(gallery.view.rows[at])) continue;
      tile.remove();
      tiles.delete(at);
    }
    if (!place) {
      state.current = 0;
      grid.scrollTop = 0;
    }
    fill();
  };

  // Make a place of the view the current one, and bring it into sight.
  gallery.grid.go = (place) => {
    if (!gallery.view.rows.length) return;
    state.current = Math.max(0, Math.min(gallery.view.rows.length - 1, place));
    const top = (Math.floor(state.current / state.columns) * HEIGHT) / state.shrink;
    const high = HEIGHT + 16;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + high > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + high - grid.clientHeight;
    fill();
  };

  gallery.grid.current = () => state.current;
  gallery.grid.columns = () => state.columns;
  gallery.grid.lines = () => Math.max(1, Math.floor(grid.clientHeight / HEIGHT));

  grid.addEventListener("scroll", ask, { passive: true });
  window.addEventListener("resize", () => gallery.rows && gallery.grid.refresh({ place: true }));
  grid.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) {
      gallery.grid.go(Number(tile.dataset.place));
      gallery.view.change({ row: gallery.view.key(Number(tile.dataset.row)) });
    }
  });
})();
