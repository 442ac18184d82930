// Tables that sort by a click on a header or by Enter and Space on it, and rows that are found.

const collator = new Intl.Collator(undefined, { numeric: true });

const element = (id) => document.getElementById(id);

const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)}%`;

const counted = (number, noun) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** Negative, 0 or positive as for Array.sort; what is missing comes last both ways. */
function compare(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : collator.compare(a, b);
  return descending ? -order : order;
}

/** Puts what is in `cell` into a button that calls `action`. */
function pressable(cell, action, title) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  if (title) button.title = title;
  button.append(...cell.childNodes);
  button.addEventListener("click", action);
  cell.append(button);
}

/**
 * Buttons in the headers that have data-sort; `sort(column, descending, kind)` orders the rows.
 * The first press sorts the way that data-descending says, the next the other way.
 */
function sortable(table, sort) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (!header.dataset.sort) return;
    pressable(header, () => {
      const before = header.getAttribute("aria-sort");
      const first = "descending" in header.dataset ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", before === first ? other : first);
      sort(column, header.getAttribute("aria-sort") === "descending", header.dataset.sort);
    });
  });
}

/** The value that a cell is sorted by: data-value, or else its text; null where there is none. */
function cellValue(cell, kind) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (kind === "text") return text;
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

/** Makes a table whose rows are all in the page sortable. */
function sortRows(table) {
  const body = table.tBodies[0];
  sortable(table, (column, descending, kind) => {
    const keyed = [...body.rows].map((row) => [cellValue(row.cells[column], kind), row]);
    keyed.sort((a, b) => compare(a[0], b[0], descending));
    const sorted = document.createDocumentFragment();
    for (const [, row] of keyed) sorted.append(row);
    body.append(sorted);
  });
}

/** Shows only the rows whose header contains what is typed. */
function findRows(input, table, count) {
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.value = wanted ? `${shown} of ${table.tBodies[0].rows.length}` : "";
  });
}

document.documentElement.classList.add("js");
const data = JSON.parse(element("data").textContent);
