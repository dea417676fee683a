// Asks for the right class in a dialog with a search field, for ten classes as for 10,000.
"use strict";

// Classes that are listed at once; the search finds the others.
const LISTED = 200;

// classes: [{name, cell}, ...]. what: "image 7". take: called with the chosen class's cell.
function ask(classes, what, take) {
  const dialog = document.querySelector("#choose");
  const form = dialog.querySelector("form");
  const [search, found] = dialog.querySelectorAll("input, select");

  const list = () => {
    const wanted = search.value.trim().toLowerCase();
    const isFar = ({ name }) => !name.toLowerCase().startsWith(wanted);
    const hits = classes
      .filter(({ name, cell }) => `${name}\n${cell}`.toLowerCase().includes(wanted))
      .sort((a, b) => isFar(a) - isFar(b));
    found.replaceChildren(
      ...hits.slice(0, LISTED).map(({ name, cell }) => new Option(name, cell)),
    );
    found.selectedIndex = 0;
    const more = hits.length > LISTED ? `, the first ${LISTED} listed` : "";
    dialog.querySelector("output").value = `${hits.length} of ${classes.length} classes${more}`;
  };

  search.oninput = list;
  search.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = found.selectedIndex + step;
    if (place in found.options) found.selectedIndex = place;
  };
  found.ondblclick = () => form.requestSubmit();
  found.onkeydown = ({ key }) => {
    if (key === "Enter") form.requestSubmit();
  };
  form.onsubmit = (event) => {
    event.preventDefault(); // the dialog would close by itself, but its event comes later
    dialog.close();
    if (event.submitter?.value !== "cancel" && found.value) take(found.value);
  };
  dialog.querySelector("h3").textContent = `Which class is right for ${what}?`;
  search.value = "";
  list();
  dialog.showModal();
  search.focus();
}
