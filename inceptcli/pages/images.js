// Filter the report's images by class and path, sort them, and show them page by page.

const ROWS_AT_ONCE = 100;

const filters = element("image-filters");
const imageTable = element("image-table");
const columns = [
  data.path,
  data.label.map((label) => data.names[label]),
  data.predicted.map((predicted) => data.names[predicted]),
  data.probability,
  data.own,
  data.rank,
];
let order = { column: 3, descending: true };
let found = [];
let numShown = 0;

function fillOptions(select, present) {
  const names = (a, b) => collator.compare(data.names[a], data.names[b]);
  const labels = [...new Set(present)].sort(names);
  for (const label of labels) select.add(new Option(data.names[label], label));
}

/** Filters and sorts again, and shows the first rows. */
function findImages() {
  const { label, predicted, path, wrong, flip } = filters.elements;
  const part = path.value.trim().toLowerCase();
  found = [];
  for (let image = 0; image < data.path.length; image++) {
    if (flip?.value ? data.flip[image] !== +flip.value : wrong.checked && data.rank[image] === 1)
      continue;
    if (label.value && data.label[image] !== +label.value) continue;
    if (predicted.value && data.predicted[image] !== +predicted.value) continue;
    if (part && !(data.prefix + data.path[image]).toLowerCase().includes(part)) continue;
    found.push(image);
  }
  const values = columns[order.column];
  found.sort((a, b) => compare(values[a], values[b], order.descending));
  imageTable.tBodies[0].replaceChildren();
  numShown = 0;
  showMore();
}

function showMore() {
  const rows = document.createDocumentFragment();
  for (const image of found.slice(numShown, numShown + ROWS_AT_ONCE)) {
    const row = document.createElement("tr");
    columns.forEach((values, column) => {
      const cell = row.insertCell();
      const value = values[image];
      cell.textContent = column === 3 || column === 4 ? percent(value, 2) : value;
      cell.className = ["path", "text", "text", "number", "number", "number"][column];
    });
    rows.append(row);
  }
  numShown = Math.min(found.length, numShown + ROWS_AT_ONCE);
  imageTable.tBodies[0].append(rows);
  element("more-images").hidden = numShown === found.length;
  const all = counted(found.length, "image");
  element("image-count").value = numShown < found.length ? `${numShown} of ${all} shown` : all;
}

/** Shows the images of class `label` that were predicted as `predicted`; null means any. */
function showImages(label, predicted) {
  filters.elements.label.value = label ?? "";
  filters.elements.predicted.value = predicted ?? "";
  filters.elements.path.value = "";
  if (filters.elements.flip) filters.elements.flip.value = "";
  filters.elements.wrong.checked = label !== predicted;
  findImages();
  location.hash = "images"; // Back returns to the previous position
  element("images").scrollIntoView();
}

fillOptions(filters.elements.label, data.label);
fillOptions(filters.elements.predicted, data.predicted);
filters.addEventListener("input", findImages);
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => setTimeout(findImages)); // after the form is reset
element("more-images").addEventListener("click", showMore);
sortable(imageTable, (column, descending) => {
  order = { column, descending };
  findImages();
});
imageTable.tHead.rows[0].cells[order.column].setAttribute("aria-sort", "descending");
findImages();

for (const id of ["per-class", "pairs", "unread", "member-table", "changed"])
  if (element(id)) sortRows(element(id));
findRows(element("class-part"), element("per-class"), element("per-class-count"));
for (const row of element("per-class").tBodies[0].rows)
  pressable(row.cells[0], () => showImages(+row.dataset.class, null), "Show its mistakes");

/** Links `cell` to the images of the pair of classes in the data of `place`. */
function leadToImages(cell, place) {
  const { label, predicted } = place.dataset;
  pressable(cell, () => showImages(+label, +predicted), "Show the images");
}
for (const row of element("pairs")?.tBodies[0].rows ?? []) leadToImages(row.cells[0], row);
for (const cell of document.querySelectorAll("#matrix-table td[data-label]"))
  if (cell.textContent) leadToImages(cell, cell);
