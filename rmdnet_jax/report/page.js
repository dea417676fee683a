// The gallery: cards to sort, filter, page through and review. Without this script only the first
// of them are shown, in order of suspicion. Verdicts are defined in corrections.js.
"use strict";
{
  const find = (selector) => document.querySelector(selector);
  const section = find("#suspects");
  const table = section.querySelector("table");
  const body = table.tBodies[0];
  const form = find("#filters");
  const bar = find("#bar");
  const headers = [...table.querySelectorAll("th[data-key]")];
  const rows = [...body.rows, ...find("#rest").content.querySelectorAll("tr")]; // by suspicion
  const classes = [...document.querySelectorAll("#classes li")].map((item) => ({
    cell: item.dataset.cell,
    name: item.textContent,
  }));
  const names = new Map(classes.map(({ cell, name }) => [cell, name]));
  const rowOf = new Map(rows.map((row) => [row.dataset.index, row]));
  const size = Number(section.dataset.cards);
  const corrections = new Corrections(
    `rmdnet_jax corrections ${section.dataset.key}`,
    rows.map(({ dataset: { index, path, given } }) => {
      return { index, path: path ?? "", given: classes[given].cell };
    }),
    classes.map(({ cell }) => cell),
  );

  let sorted = rows;
  let shown = rows; // those that the filters let through
  let page = 0;
  let current = rows[0]; // the card that Tab moves to
  let anchor = rows[0]; // where a selection with Shift begins
  const selected = new Set();

  // ---- display

  const fits = (row) => {
    const { index, given, suggested, kind } = row.dataset;
    const wanted = form.elements;
    const verdict = corrections.verdict(index);
    return (
      [given, ""].includes(wanted.given.value) &&
      [suggested, ""].includes(wanted.suggested.value) &&
      [kind, ""].includes(wanted.kind.value) &&
      [verdict, verdict ? "any" : "none", ""].includes(wanted.verdict.value)
    );
  };

  const tell = (text) => {
    find("#said").value = text;
  };
  const said = ({ length, 0: first }) =>
    length > 1 ? `${length} images` : `image ${first.trim()}`;

  // Updates a card.
  const dress = (row) => {
    if (!row.querySelector(".verdict")) {
      row.append(find("#controls").content.cloneNode(true));
      for (const cell of row.cells) cell.setAttribute("role", "gridcell");
    }
    const { index } = row.dataset;
    const verdict = corrections.verdict(index);
    const stop = row === current ? 0 : -1; // only this card and its controls are reached with Tab
    row.tabIndex = stop;
    row.classList.toggle("reviewed", verdict !== "");
    row.setAttribute("aria-selected", selected.has(row));
    const box = row.querySelector("input");
    box.checked = selected.has(row);
    box.tabIndex = stop;
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.verdict === verdict);
      button.tabIndex = stop;
    }
    const chosen = row.querySelector(".verdict bdi");
    chosen.hidden = verdict !== "class";
    chosen.textContent = `→ ${names.get(corrections.class(index))}`;
  };

  const count = () => {
    const number = (verdict) =>
      rows.filter((row) => corrections.verdict(row.dataset.index) === verdict).length;
    const parts = VERDICTS.map((verdict) => [number(verdict), verdict]).filter(([n]) => n);
    const done = rows.length - number("");
    const away = corrections.elsewhere().length;
    find("#count").value =
      `${done} of ${rows.length} reviewed` +
      (parts.length ? `: ${parts.map((part) => part.join(" ")).join(", ")}` : "") +
      (away ? `; ${away} for images not on this page` : "");
    find("#undo").disabled = !corrections.steps.length;
    find("#save").disabled = !corrections.rows.size;
    find("#kept").textContent = corrections.isKept
      ? "This browser stores them until you save them."
      : "This browser does not store them: save the file before you close this page.";
  };

  // Shows page number `page` of the cards, filtered and sorted.
  const render = () => {
    shown = sorted.filter(fits);
    const pages = Math.max(1, Math.ceil(shown.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    const here = shown.slice(page * size, (page + 1) * size);
    if (!here.includes(current)) current = here[0] ?? rows[0];
    for (const row of selected) if (!shown.includes(row)) selected.delete(row);
    here.forEach(dress);
    const isSame = here.length === body.rows.length && here.every((row, i) => row === body.rows[i]);
    const hadFocus = body.contains(document.activeElement);
    if (!isSame) body.replaceChildren(...here);
    form.querySelector("output").value = `${shown.length} of ${rows.length} shown`;
    find("#page").value = `page ${page + 1} of ${pages}`;
    find("#previous").disabled = page === 0;
    find("#next").disabled = page === pages - 1;
    find("#selection").hidden = !selected.size;
    find("#selection output").value = `${selected.size} selected:`;
    find("#all").disabled = !shown.length;
    count();
    // Focus is not lost when the element that had it disappears.
    const isLost = hadFocus && !body.contains(document.activeElement);
    const isHidden = !selected.size && find("#selection").contains(document.activeElement);
    if (isLost || isHidden) (here.length ? current : find("#start")).focus({ preventScroll: true });
  };

  // Goes to one of the shown cards, on any page.
  const go = (row, takesFocus = true) => {
    current = row;
    page = Math.floor(shown.indexOf(row) / size);
    render();
    if (takesFocus) row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  };

  const turn = (pages) => {
    page += pages;
    current = undefined;
    render();
    table.scrollIntoView({ block: "start" });
  };

  const sort = (header, direction) => {
    const { key } = header.dataset;
    const sign = direction === "ascending" ? 1 : -1;
    sorted = [...rows].sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", direction);
    page = 0;
    render();
  };

  // ---- actions

  // The result of a verdict. For an image of none of the classes, the suggestion is its removal.
  const outcome = (row, verdict, name) => {
    const { index, given, suggested, kind } = row.dataset;
    if (verdict === "suggestion" && kind === "open") return [index, "remove", ""];
    const cells = { keep: classes[given].cell, suggestion: classes[suggested].cell, class: name };
    return [index, verdict, cells[verdict] ?? ""];
  };

  // Gives a verdict to a card, or to all selected ones if it is one of them, and advances.
  const give = (row, verdict, name, goesOn) => {
    const them = selected.has(row) || !row ? [...selected] : [row];
    const what = said(them.map((one) => one.dataset.index));
    if (verdict === "class" && name === undefined) {
      ask(classes, what, (chosen) => give(row, verdict, chosen, goesOn));
      return;
    }
    const later = shown.slice(shown.indexOf(row) + 1);
    const outcomes = them.map((one) => outcome(one, verdict, name));
    corrections.give(outcomes);
    selected.clear();
    const word = them.length > 1 ? verdict : outcomes[0][1];
    tell(`${what}: ${word === "class" ? names.get(name) : word || "no verdict"}`);
    render();
    // The filters may now exclude this card, and others of the selected ones.
    const next = later.find((one) => shown.includes(one)) ?? shown.at(-1);
    if (goesOn && next) go(next);
  };

  const undo = () => {
    const indices = corrections.undo();
    tell(indices ? `undone: ${said(indices)}` : "nothing to undo");
    if (!indices) return;
    const isByKey = body.contains(document.activeElement);
    render();
    const back = rowOf.get(indices.find((index) => shown.includes(rowOf.get(index))));
    if (back) go(back, isByKey);
  };

  const select = (row, isRange) => {
    const wants = isRange || !selected.has(row);
    const [from, to] = [isRange && shown.includes(anchor) ? anchor : row, row]
      .map((end) => shown.indexOf(end))
      .sort((a, b) => a - b);
    for (const one of shown.slice(from, to + 1)) {
      if (wants) selected.add(one);
      else selected.delete(one);
    }
    anchor = row;
    render();
  };

  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([corrections.csv()], { type: "text/csv" }));
    link.download = "corrections.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser must have read it by then
    corrections.saved();
    tell(`${corrections.rows.size} verdicts written to corrections.csv`);
  };

  const load = async (file) => {
    try {
      tell(`${corrections.load(await file.text())} verdicts loaded from ${file.name}`);
    } catch (error) {
      tell(`${file.name} was not loaded: ${error.message}`);
    }
    render();
  };

  // ---- keys, only on a card: elsewhere a letter is typed text

  const letters = Object.fromEntries(
    [...find("#controls").content.querySelectorAll("button")].map((button) => {
      return [button.querySelector("kbd").textContent, button.dataset.verdict];
    }),
  );
  letters.n = "";

  const across = () => [...body.rows].filter((row) => row.offsetTop === body.rows[0].offsetTop);
  const move = (cards) => {
    const place = shown.indexOf(current) + cards;
    if (place in shown) go(shown[place]);
  };

  body.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isUndo = key === "z";
    if (event.altKey || ((event.ctrlKey || event.metaKey) && !isUndo)) return;
    const moves = {
      j: () => 1, ArrowRight: () => 1, ArrowLeft: () => -1,
      ArrowDown: () => across().length, ArrowUp: () => -across().length,
    };
    if (key in moves) move(moves[key]());
    else if (key in letters) event.repeat || give(current, letters[key], undefined, key !== "n");
    else if (isUndo) undo();
    else if (key === "x") select(current, event.shiftKey);
    else if (key === "?") find("#keys").showModal();
    else return;
    event.preventDefault();
  });

  body.addEventListener("focusin", (event) => {
    const row = event.target.closest("tr");
    if (row === current) return;
    const before = current;
    current = row;
    for (const one of [before, row]) if (one) dress(one);
  });

  body.addEventListener("mousedown", (event) => {
    if (event.shiftKey) event.preventDefault(); // select cards, not text
  });

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    const button = event.target.closest("button");
    if (!row) return;
    if (button) {
      const isPressed = button.getAttribute("aria-pressed") === "true";
      const isMouse = event.detail > 0; // with a mouse the page should not move
      if (isPressed) give(row, "", undefined, false);
      else give(row, button.dataset.verdict, undefined, !isMouse);
    } else if (event.target.type === "checkbox" || event.shiftKey) {
      select(row, event.shiftKey);
    }
  });

  // ---- the rest of the controls

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
  const on = (selector, action) => find(selector).addEventListener("click", action);
  on("#start", () => {
    const open = shown.find((row) => !corrections.verdict(row.dataset.index));
    if (open) go(open);
    else tell("all shown images are reviewed");
  });
  on("#all", () => {
    shown.forEach((row) => selected.add(row));
    render();
  });
  on("#help", () => find("#keys").showModal());
  on("#load", () => find("#file").click());
  on("#previous", () => turn(-1));
  on("#next", () => turn(1));
  on("#undo", undo);
  on("#save", save);
  on("#selection", ({ target }) => {
    const button = target.closest("button");
    if (button?.dataset.verdict !== undefined) give(undefined, button.dataset.verdict);
    else if (button) {
      selected.clear();
      render();
    }
  });
  find("#file").addEventListener("change", async ({ target }) => {
    if (target.files.length) await load(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  const refilter = () => {
    page = 0;
    render();
  };
  form.addEventListener("change", refilter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser's own reset comes after this, and would clear the count
    for (const field of form.querySelectorAll("select")) field.value = "";
    refilter();
  });
  addEventListener("storage", ({ key, newValue }) => {
    if (key !== corrections.key) return;
    corrections.follow(newValue);
    render();
  });
  addEventListener("beforeunload", (event) => {
    if (!corrections.isKept && !corrections.isSaved) event.preventDefault();
  });

  table.setAttribute("role", "grid");
  table.setAttribute("aria-multiselectable", "true");
  table.tHead.classList.remove("unseen");
  find("#review").hidden = bar.hidden = false;
  render();
}
