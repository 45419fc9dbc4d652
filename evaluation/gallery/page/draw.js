// Draws activation, boxes and masks over a plain picture, in the picture's own pixels, sharp at any size.
"use strict";

(() => {
  // Okabe and Ito's colours, which people with any colour vision tell apart.
  const COLOURS = ["#56b4e9", "#e69f00", "#2fb88a", "#cc79a7", "#f0e442", "#d55e00", "#7f9cff"];
  const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39],
    [252, 255, 164]]; // inferno
  const draw = (gallery.draw = { MASK: COLOURS[0], TRUTH: COLOURS[1], BOX: COLOURS[4], COLOURS });

  // A promise of a picture, or of null where it can't be read.
  draw.picture = (file) => new Promise((resolve) => {
    if (!file) {
      resolve(null);
      return;
    }
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = file;
  });

  // The lengths of the runs of COCO's compressed RLE.
  function runs(counts) {
    const lengths = [];
    for (let i = 0; i < counts.length; ) {
      let value = 0;
      let shift = 0;
      let bits;
      do {
        bits = counts.charCodeAt(i++) - 48;
        value |= (bits & 31) << shift;
        shift += 5;
      } while (bits & 32);
      if (bits & 16) value |= -1 << shift;
      if (lengths.length > 2) value += lengths[lengths.length - 2];
      lengths.push(value);
    }
    return lengths;
  }

  // A mask: one byte a pixel, row by row, and the box [x0, y0, x1, y1] outside of which it is empty.
  draw.mask = (counts, height, width) => {
    const pixels = new Uint8Array(height * width);
    const box = [width, height, 0, 0];
    let next = 0; // in RLE's order, column by column
    runs(counts).forEach((length, i) => {
      if (i % 2 && length) {
        for (let p = next, x = Math.floor(p / height), y = p % height; p < next + length; p++, y++) {
          if (y === height) {
            y = 0;
            x++;
          }
          pixels[y * width + x] = 1;
        }
        const [first, last] = [next, next + length - 1];
        const columns = [Math.floor(first / height), Math.floor(last / height)];
        const lines = columns[0] === columns[1] ? [first % height, last % height] : [0, height - 1];
        box[0] = Math.min(box[0], columns[0]);
        box[1] = Math.min(box[1], lines[0]);
        box[2] = Math.max(box[2], columns[1] + 1);
        box[3] = Math.max(box[3], lines[1] + 1);
      }
      next += length;
    });
    return { pixels, box };
  };

  // The edges between a mask's pixels and others, each straight piece once.
  function outline({ pixels, box: [x0, y0, x1, y1] }, width) {
    const path = new Path2D();
    const at = (x, y) => (x < x0 || y < y0 || x >= x1 || y >= y1 ? 0 : pixels[y * width + x]);
    for (let y = y0; y <= y1; y++) {
      for (let x = x0; x < x1; x++) {
        if (at(x, y) === at(x, y - 1)) continue;
        const start = x;
        while (x < x1 && at(x, y) !== at(x, y - 1)) x++;
        path.moveTo(start, y);
        path.lineTo(x, y);
      }
    }
    for (let x = x0; x <= x1; x++) {
      for (let y = y0; y < y1; y++) {
        if (at(x, y) === at(x - 1, y)) continue;
        const start = y;
        while (y < y1 && at(x, y) !== at(x - 1, y)) y++;
        path.moveTo(x, start);
        path.lineTo(x, y);
      }
    }
    return path;
  }

  // A small canvas of so many cells. paint: sets the colours of all, each a number 0xAABBGGRR.
  function cells(height, width, paint) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    paint(new Uint32Array(pixels.data.buffer));
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  const packed = (red, green, blue, alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  // The colours of bytes: dark and faint where nothing is, light and dense where most is.
  const HEAT_OF = Uint32Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (HEAT.length - 1);
    const low = Math.min(HEAT.length - 2, Math.floor(place));
    const channels = HEAT[low].map((channel, i) => Math.round(channel + (place - low) * (HEAT[low + 1][i] - channel)));
    return packed(...channels, Math.round(150 + 0.3 * value));
  });

  // Bytes of base64.
  draw.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // A picture on a canvas of at most `wide` x `high` CSS pixels, of which layers are drawn on top.
  // picture: an image or null; size: {height, width} in its pixels; part: [x0, y0, x1, y1] that is shown.
  draw.canvas = (canvas, picture, size, part, wide, high) => {
    const [x0, y0, x1, y1] = part || [0, 0, size.width, size.height];
    const scale = Math.min(wide / (x1 - x0), high / (y1 - y0));
    const ratio = window.devicePixelRatio || 1;
    const css = [Math.max(1, Math.round((x1 - x0) * scale)), Math.max(1, Math.round((y1 - y0) * scale))];
    [canvas.width, canvas.height] = css.map((length) => Math.round(length * ratio));
    [canvas.style.width, canvas.style.height] = css.map((length) => `${length}px`);
    const context = canvas.getContext("2d");
    const zoom = scale * ratio;
    context.setTransform(zoom, 0, 0, zoom, -x0 * zoom, -y0 * zoom);
    context.imageSmoothingQuality = "high";
    if (picture) context.drawImage(picture, 0, 0, size.width, size.height);
    return { context, size, line: 1 / scale, part: [x0, y0, x1, y1] };
  };

  // Stroke a path in a light colour that a dark edge sets off from any ground.
  function stroke({ context, line }, path, colour, dashes = []) {
    context.lineJoin = context.lineCap = "round";
    context.setLineDash(dashes.map((length) => length * line));
    for (const [style, width] of [["#000d", 3.6], [colour, 1.8]]) {
      context.strokeStyle = style;
      context.lineWidth = width * line;
      context.stroke(path);
    }
    context.setLineDash([]);
  }

  draw.addMask = (target, counts, colour, { fill = 0.4, dashes = [] } = {}) => {
    const { context, size } = target;
    const mask = draw.mask(counts, size.height, size.width);
    const [x0, y0, x1, y1] = mask.box;
    if (x1 <= x0) return; // no pixel
    if (fill) {
      const tint = packed(...rgb(colour), Math.round(255 * fill));
      const tinted = cells(y1 - y0, x1 - x0, (colours) => {
        for (let y = y0, i = 0; y < y1; y++) {
          for (let x = x0; x < x1; x++, i++) if (mask.pixels[y * size.width + x]) colours[i] = tint;
        }
      });
      context.imageSmoothingEnabled = false;
      context.drawImage(tinted, x0, y0);
      context.imageSmoothingEnabled = true;
    }
    stroke(target, outline(mask, size.width), colour, dashes);
  };

  draw.addBox = (target, [x0, y0, x1, y1], colour) => {
    const path = new Path2D();
    path.rect(x0, y0, x1 - x0, y1 - y0);
    stroke(target, path, colour);
  };

  draw.addProposals = (target, boxes) => {
    const { context, line } = target;
    for (const [style, width] of [["#0007", 2.2], ["#fffd", 1]]) {
      context.strokeStyle = style;
      context.lineWidth = width * line;
      for (const [x0, y0, x1, y1] of boxes) context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  };

  // Cells of one byte over the whole picture, or over a box of it.
  draw.addHeat = (target, values, height, width, box) => {
    const { context, size } = target;
    const [x0, y0, x1, y1] = box || [0, 0, size.width, size.height];
    const map = cells(height, width, (colours) => colours.forEach((_, i) => {
      colours[i] = HEAT_OF[values[i]];
    }));
    context.drawImage(map, x0, y0, x1 - x0, y1 - y0);
  };

  // A short text on a ground of its own, at a place of the picture, inside of what is shown.
  draw.addText = (target, text, x, y, colour) => {
    const { context, line, part } = target;
    const high = 17 * line;
    context.font = `600 ${12.5 * line}px system-ui, sans-serif`;
    const wide = context.measureText(text).width + 8 * line;
    const left = Math.max(part[0], Math.min(x, part[2] - wide));
    const top = Math.max(part[1], Math.min(y - high, part[3] - high));
    context.fillStyle = "#000d";
    context.fillRect(left, top, wide, high);
    context.fillStyle = colour;
    context.fillText(text, left + 4 * line, top + 12.8 * line);
  };

  // What a close-up of a box shows: the box and a third of it around, inside the picture.
  draw.around = (box, size) => {
    const [x0, y0, x1, y1] = box;
    const margin = Math.max(8, (x1 - x0) / 3, (y1 - y0) / 3);
    return [Math.max(0, x0 - margin), Math.max(0, y0 - margin), Math.min(size.width, x1 + margin),
      Math.min(size.height, y1 + margin)];
  };
})();
