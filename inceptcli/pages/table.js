// Sort tables by a click, Enter or Space on a header, and search rows.

const collator = new Intl.Collator(undefined, { numeric: true });

const element = (id) => document.getElementById(id);

const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)}%`;

const counted = (number, noun) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** Compares as for Array.sort; null comes last in both directions. */
function compare(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : collator.compare(a, b);
  return descending ? -order : order;
}

/** Wraps the content of `cell` in a button that calls `action`. */
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
 * Adds buttons to the headers with data-sort; `sort(column, descending, kind)` orders the rows.
 * The first press sorts descending if data-descending is set, the next in reverse.
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

/** Returns the sort key of a cell: data-value, or else its text; null if it has none. */
function cellValue(cell, kind) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (kind === "text") return text;
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

/** Makes a table sortable; all its rows must be in the page. */
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

/** Shows only the rows whose header contains the text typed. */
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
