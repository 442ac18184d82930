// Draw the confusion matrix of many classes: only pairs that occur, so 1000 x 1000 is fast.

const FONT = "11px system-ui, sans-serif";
const canvas = element("matrix");

function matrix() {
  const size = data.names.length;
  const context = canvas.getContext("2d");
  const counts = new Map();
  const pairs = [];
  for (let at = 0; at < data.pairs.length; at += 3) {
    const [label, predicted, images] = data.pairs.slice(at, at + 3);
    counts.set(label * size + predicted, images);
    pairs.push({ label, predicted, images, shade: Math.sqrt(images / data.totals[label]) });
  }
  pairs.sort((a, b) => a.shade - b.shade); // the strongest last, on top of the others

  let side = 0; // side of the matrix, CSS pixels
  let margin = 0; // space to the left and above
  let zoom = 1;
  let left = 0; // column and row at the top left corner, in cells
  let top = 0;
  let cursor = null; // {row, column}
  let drag = null;

  const cellSide = () => (side / size) * zoom;
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  function moveTo(x, y) {
    const visible = size / zoom;
    left = clamp(x, 0, size - visible);
    top = clamp(y, 0, size - visible);
  }

  function zoomTo(wanted, column, row) {
    const before = zoom;
    zoom = clamp(wanted, 1, Math.max(1, (28 * size) / side));
    moveTo(column - ((column - left) * before) / zoom, row - ((row - top) * before) / zoom);
    draw();
  }

  const middle = () => (cursor && visible(cursor) ? [cursor.column + 0.5, cursor.row + 0.5]
    : [left + size / zoom / 2, top + size / zoom / 2]);
  const visible = (cell) => cell.column >= left - 1 && cell.column <= left + size / zoom
    && cell.row >= top - 1 && cell.row <= top + size / zoom;

  function resize() {
    const width = Math.min(canvas.parentElement.clientWidth, 760);
    context.font = FONT;
    const longest = Math.max(...data.names.map((name) => context.measureText(name).width));
    margin = Math.min(longest + 10, width < 480 ? 74 : 124);
    side = width - margin - 1;
    const ratio = window.devicePixelRatio || 1;
    canvas.style.width = canvas.style.height = `${width}px`;
    canvas.width = canvas.height = Math.round(width * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    zoomTo(zoom, ...middle());
  }

  function draw() {
    const style = getComputedStyle(canvas);
    const colors = {};
    for (const name of ["cell", "ink", "on-cell", "pale", "right", "wrong", "strong"])
      colors[name] = style.getPropertyValue(`--${name}`).trim();
    const cell = cellSide();
    const shown = Math.max(cell - (cell > 6 ? 1 : 0), 2); // visible even with 1000 classes
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.save();
    context.translate(margin, margin);
    context.beginPath();
    context.rect(0, 0, side, side);
    context.fillStyle = colors.cell;
    context.fill();
    context.clip();
    for (const { label, predicted, images, shade } of pairs) {
      const x = (predicted - left) * cell;
      const y = (label - top) * cell;
      if (x < -cell || y < -cell || x > side || y > side) continue;
      const opacity = 0.25 + 0.75 * shade;
      context.globalAlpha = opacity;
      context.fillStyle = colors[label === predicted ? "right" : "wrong"];
      context.fillRect(x, y, shown, shown);
      if (cell < 17) continue;
      context.globalAlpha = 1;
      context.fillStyle = colors[opacity > colors.strong ? "on-cell" : "ink"];
      context.font = FONT;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(images, x + shown / 2, y + shown / 2, shown);
    }
    context.globalAlpha = 1;
    if (cursor) {
      context.strokeStyle = colors.ink;
      const around = Math.max(cell, 5);
      const inset = (around - cell) / 2;
      const x = (cursor.column - left) * cell - inset;
      const y = (cursor.row - top) * cell - inset;
      context.strokeRect(x, y, around, around);
    }
    context.restore();
    drawNames(colors.pale, cell);
  }

  function drawNames(color, cell) {
    context.fillStyle = color;
    context.font = FONT;
    context.textBaseline = "middle";
    // As many names as fit: every one, or every 2nd, 5th, 10th ...
    const step = [1, 2, 5, 10, 20, 50, 100, 200].find((each) => each * cell >= 13) ?? 500;
    const fit = (name) => {
      let text = name;
      while (text.length > 1 && context.measureText(text).width > margin - 8)
        text = `${text.slice(0, text.endsWith("…") ? -2 : -1)}…`;
      return text;
    };
    for (let number = 0; number < size; number += step) {
      const name = fit(data.names[number]);
      const y = (number - top + 0.5) * cell;
      const x = (number - left + 0.5) * cell;
      context.textAlign = "right";
      if (y > 0 && y < side) context.fillText(name, margin - 5, margin + y);
      if (x < 0 || x > side) continue;
      context.save();
      context.translate(margin + x, margin - 5);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(name, 0, 0);
      context.restore();
    }
  }

  function cellAt(event) {
    const column = Math.floor((event.offsetX - margin) / cellSide() + left);
    const row = Math.floor((event.offsetY - margin) / cellSide() + top);
    const named = event.offsetX < margin || event.offsetY < margin;
    return named || row >= size || column >= size ? null : { row, column };
  }

  /** Returns the nearest pair that occurs, within 3 pixels: a pointer is larger than a cell. */
  function nearest(cell) {
    const reach = Math.floor(3 / cellSide());
    let best = null;
    for (let row = cell.row - reach; row <= cell.row + reach; row++)
      for (let column = cell.column - reach; column <= cell.column + reach; column++) {
        if (row < 0 || column < 0 || row >= size || column >= size) continue;
        const distance = (row - cell.row) ** 2 + (column - cell.column) ** 2;
        if (counts.has(row * size + column) && !(best && best.distance <= distance))
          best = { row, column, distance };
      }
    return best ?? cell;
  }

  function pointAt(cell) {
    cursor = cell;
    const { row, column } = cell;
    const images = counts.get(row * size + column) ?? 0;
    const answer = row === column ? "correct" : `predicted as ${data.names[column]}`;
    const share = `${images.toLocaleString("en")} of ${counted(data.totals[row], "image")}`;
    element("matrix-cell").textContent = `${data.names[row]}: ${share} ${answer}`;
    draw();
  }

  function goTo(row, column) {
    const seen = size / zoom;
    const inside = { row: clamp(row, 0, size - 1), column: clamp(column, 0, size - 1) };
    moveTo(
      inside.column < left || inside.column >= left + seen - 1 ? inside.column - seen / 2 : left,
      inside.row < top || inside.row >= top + seen - 1 ? inside.row - seen / 2 : top,
    );
    pointAt(inside);
  }

  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.offsetX, y: event.offsetY, left, top, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      const [x, y] = [event.offsetX - drag.x, event.offsetY - drag.y];
      drag.moved ||= Math.hypot(x, y) > 4;
      if (!drag.moved) return;
      moveTo(drag.left - x / cellSide(), drag.top - y / cellSide());
      draw();
    } else {
      const cell = cellAt(event);
      if (cell) pointAt(nearest(cell));
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const cell = drag && !drag.moved && cellAt(event) && nearest(cellAt(event));
    drag = null;
    if (!cell) return;
    pointAt(cell);
    if (counts.has(cell.row * size + cell.column)) select();
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const cell = cellAt(event);
    if (cell) zoomTo(zoom * 1.003 ** -event.deltaY, cell.column + 0.5, cell.row + 0.5);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const { row, column } = cursor ?? { row: Math.floor(top), column: Math.floor(left) };
    const actions = {
      ArrowUp: () => goTo(row - 1, column),
      ArrowDown: () => goTo(row + 1, column),
      ArrowLeft: () => goTo(row, column - 1),
      ArrowRight: () => goTo(row, column + 1),
      "+": () => zoomTo(zoom * 1.5, ...middle()),
      "-": () => zoomTo(zoom / 1.5, ...middle()),
      Enter: select,
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    actions[event.key]();
  });
  for (const button of document.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => {
      const factor = { in: 2, out: 0.5, reset: 0 }[button.dataset.zoom];
      zoomTo(zoom * factor, ...middle());
    });
  element("matrix-class").addEventListener("change", (event) => {
    const place = data.names.indexOf(event.target.value);
    if (place < 0) return;
    zoom = Math.max(zoom, (18 * size) / side);
    moveTo(place - size / zoom / 2, place - size / zoom / 2);
    pointAt({ row: place, column: place });
  });
  const select = () => cursor && showImages(cursor.row, cursor.column);

  for (const medium of ["print", "(prefers-color-scheme: dark)"])
    window.matchMedia(medium).addEventListener("change", draw);
  new ResizeObserver(resize).observe(canvas.parentElement);
}

if (canvas) matrix();
