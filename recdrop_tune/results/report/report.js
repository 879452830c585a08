"use strict";
// The figures come as data; each is drawn in the colours of the page, and anew when these change.
const dark = matchMedia("(prefers-color-scheme: dark)");
const templates = JSON.parse(document.getElementById("templates").textContent);
const figures = [...document.querySelectorAll(".figure")].map((place) => ({
  place, ...JSON.parse(place.querySelector("script").textContent),
}));
function draw() {
  const template = dark.matches ? templates.dark : templates.light;
  const modebar = { bgcolor: "rgba(0,0,0,0)", color: dark.matches ? "#7b8698" : "#a3acbb" };
  const options = { responsive: true, displaylogo: false };
  for (const { place, data, layout } of figures) {
    Plotly.react(place, data, { ...layout, template, modebar }, options);
  }
}
draw();
dark.addEventListener("change", draw);

// Tables are sorted by a click on a column; what is missing stays last.
function key(row, column) {
  const cell = row.cells[column];
  if (cell.classList.contains("missing")) return null;
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b));
}
for (const head of document.querySelectorAll("table.sortable th")) {
  head.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    const rows = [...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign));
    body.append(...rows);
  });
}
