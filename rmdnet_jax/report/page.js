// Sorts and filters the gallery. Without this script it stands in order of suspicion.
"use strict";
{
  const table = document.querySelector("#suspects table");
  const form = document.querySelector("#filters");
  const rows = [...table.tBodies[0].rows]; // most suspicious first: what ties are left in
  const headers = [...table.querySelectorAll("th[data-key]")];

  const sort = (header, direction) => {
    const { key } = header.dataset;
    const sign = direction === "ascending" ? 1 : -1;
    const sorted = [...rows].sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
    table.tBodies[0].append(...sorted);
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", direction);
  };

  const filter = () => {
    const { given, suggested } = form.elements;
    for (const row of rows) {
      row.hidden =
        (given.value !== "" && row.dataset.given !== given.value) ||
        (suggested.value !== "" && row.dataset.suggested !== suggested.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").value = `${shown} of ${rows.length} shown`;
  };

  for (const header of headers) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => {
      const { first } = header.dataset;
      const other = first === "ascending" ? "descending" : "ascending";
      sort(header, header.getAttribute("aria-sort") === first ? other : first);
    });
    header.replaceChildren(button);
  }
  table.tHead.classList.remove("unseen");
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser's own reset comes after this, and would empty the count
    for (const field of form.querySelectorAll("select")) field.value = "";
    filter();
  });
  form.hidden = false;
  filter();
}
