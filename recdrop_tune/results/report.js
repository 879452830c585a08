"use strict";
for (const place of document.querySelectorAll(".figure")) {
  const { data, layout } = JSON.parse(place.querySelector("script").textContent);
  const narrow = place.clientWidth < 500, wide = layout.xaxis2 || data[0].type === "parcoords";
  if (place.clientWidth < 700 && (wide || layout.yaxis.automargin)) {
    layout.width = 700;  // Panels, parallel axes and long names would overlap, so these are scrolled.
  } else if (narrow) {
    layout.legend = { orientation: "h", y: 1, yanchor: "bottom" };
    const corner = { x: 1, xanchor: "right", y: 1, yanchor: "top" };
    for (const note of layout.annotations ?? []) Object.assign(note, corner);
  }
  const { width } = layout, options = { responsive: true, displaylogo: false };
  Plotly.newPlot(place, data, layout, narrow ? { ...options, displayModeBar: false } : options);
  // A4 paper has 700 pixels between its margins.
  addEventListener("beforeprint", () => Plotly.relayout(place, { width: 700 }));
  addEventListener("afterprint", () => Plotly.relayout(place, { width: width ?? null, autosize: !width }));
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
