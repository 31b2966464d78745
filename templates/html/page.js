"use strict";
(() => {
  // Tables: a click on a column's title sorts, a field above long ones filters. Without this script the page is whole.
  const words = document.body.dataset;
  const number = /^[^\d+\-]*([+\-]?[\d,]*\.?\d+)/;
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const found = number.exec(text);
    return { text, size: found && /^[\s≤≥+\-\d.,]/.test(text) ? Number(found[1].replaceAll(",", "")) : NaN };
  };
  const compare = (a, b) => {
    const known = [Number.isNaN(a.size), Number.isNaN(b.size)];
    if (known[0] && known[1]) return a.text.localeCompare(b.text);
    if (known[0] || known[1]) return known[0] ? 1 : -1; // what has no value stays last
    return a.size - b.size;
  };
  const sort = (table, heading, column) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, ...value(row, column) }));
    rows.sort((a, b) => (down && !Number.isNaN(a.size) && !Number.isNaN(b.size) ? compare(b, a)
      : down && Number.isNaN(a.size) && Number.isNaN(b.size) ? b.text.localeCompare(a.text) : compare(a, b)));
    for (const { row } of rows) table.tBodies[0].append(row);
  };
  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = words.sort;
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading, column));
      heading.append(button);
    });
    if (rows.length < 8) continue;
    const field = document.createElement("input");
    field.type = "search";
    field.className = "filter";
    field.placeholder = words.filter;
    field.setAttribute("aria-label", words.filter);
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    table.parentElement.before(field);
  }
  // Paper has nothing to unfold.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
})();
