// Filter the gallery's cards by class and path, and sort them by probability.

const filters = element("card-filters");
const cards = [...element("cards").children];
const folder = element("cards").dataset.folder;
const paths = cards.map((card) => folder + card.querySelector(".path").textContent);

function findCards() {
  const { answer, path } = filters.elements;
  const part = path.value.trim().toLowerCase();
  let shown = 0;
  cards.forEach((card, number) => {
    const isAnswer = !answer.value || card.dataset.answer.split(" ").includes(answer.value);
    card.hidden = !isAnswer || !paths[number].toLowerCase().includes(part);
    shown += !card.hidden;
  });
  const all = counted(cards.length, "image");
  const some = `${shown.toLocaleString("en")} of ${all}`;
  element("card-count").value = shown < cards.length ? some : all;
}

function orderCards() {
  const order = filters.elements.order.value;
  const ordered = cards.map((card) => [+card.dataset.probability, card]);
  if (order !== "given") ordered.sort((a, b) => compare(a[0], b[0], order === "sure"));
  const sorted = document.createDocumentFragment();
  for (const [, card] of ordered) sorted.append(card);
  element("cards").append(sorted);
}

filters.addEventListener("input", (event) => {
  if (event.target.name === "order") orderCards();
  else findCards();
});
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => {
  setTimeout(orderCards); // after the form is reset
  setTimeout(findCards);
});
findCards();
if (element("unread")) sortRows(element("unread"));
