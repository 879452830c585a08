"use strict";
for (const place of document.querySelectorAll(".figure")) {
  const { data, layout } = JSON.parse(place.querySelector("script").textContent);
  Plotly.newPlot(place, data, layout, { responsive: true, displaylogo: false });
}

// A click on a column sorts a table by it. Missing values stay last.
function key(row, column) {
  const text = row.cells[column].textContent;
  return text === "-" ? null : isNaN(text) ? text : Number(text);
}
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b));
}
for (const head of document.querySelectorAll("th")) {
  head.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    body.append(...[...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign)));
  });
}
