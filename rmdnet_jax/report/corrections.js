// The verdicts on labels: the rows of corrections.csv, stored by the browser until they are saved.
// data/corrections.py defines what a row may be: a file that a run accepts is accepted here.
"use strict";

const HEADER = ["index", "path", "given_class", "verdict", "class"]; // what is written
const VERDICTS = ["keep", "suggestion", "class", "remove", "unsure"];
const NAMES_A_CLASS = new Set(["keep", "suggestion", "class"]);

// Rows of cells -> the text of a CSV.
function written(rows) {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

// The rows of a CSV, {line, cells}; an empty line has no cells. Quotes that are not closed, or do
// not end their cell, are an error. A quote in a cell that does not begin with one is plain text.
function parsed(text) {
  const cell = /("[^"]*(?:""[^"]*)*"|(?!")[^,\r\n]*)(,|\r\n|\n|\r|$)/y;
  const rows = [];
  let cells = [];
  let line = 1; // where the row ends
  while (cell.lastIndex < text.length || cells.length) {
    const found = cell.exec(text);
    if (!found) throw new Error(`line ${line} has a misplaced quote`);
    const [, content, end] = found;
    line += content.match(/\r\n|\n|\r/g)?.length ?? 0;
    const isQuoted = content.startsWith('"');
    cells.push(isQuoted ? content.slice(1, -1).replaceAll('""', '"') : content);
    if (end === ",") continue;
    rows.push({ line, cells: cells.length > 1 || content ? cells : [] });
    line += 1;
    cells = [];
  }
  return rows;
}

// As in base/text.py: a cell that a spreadsheet would evaluate is prefixed with '.
const START = String.raw`(?:[=+@]|-(?!\p{Nd}+(?:\.\p{Nd}+)?$))`;
const FORMULA = new RegExp(`^'*${START}`, "u");
const KEPT = new RegExp(`^'+${START}`, "u");
const cellOf = (text) => (FORMULA.test(text) ? `'${text}` : text);
const ofCell = (cell) => (KEPT.test(cell) ? cell.slice(1) : cell);
const nameOf = (cell) => ofCell(cell).normalize("NFC");

class Corrections {
  // key: where the browser stores them. images: those on the page, in its order,
  // {index, path, given}, all texts as in the CSV. classes: the cells of all classes.
  constructor(key, images, classes) {
    this.key = key;
    this.images = new Map(images.map((image) => [image.index, image]));
    this.paths = new Map(); // path -> the images with this path
    for (const image of images) {
      const path = ofCell(image.path);
      this.paths.set(path, [...(this.paths.get(path) ?? []), image]);
    }
    this.classes = new Map(classes.map((cell) => [nameOf(cell), cell]));
    // Index, or "index path" where the image is not on the page -> [index, path, given_class,
    // verdict, class].
    this.rows = new Map();
    this.steps = []; // [[index, the previous row or nothing], ...], the latest last
    this.isSaved = true;
    this.isKept = true;
    try {
      this.#take(localStorage.getItem(key));
    } catch {
      this.isKept = false; // the browser stores nothing for this page, or not what we wrote
    }
  }

  verdict(index) {
    return this.rows.get(index)?.[3] ?? "";
  }

  // The cell of the class that results from the verdict.
  class(index) {
    return this.rows.get(index)?.[4] ?? "";
  }

  // Gives verdicts as one step: [[index, verdict, class], ...]; "" removes a verdict.
  give(verdicts) {
    this.#change(
      verdicts.map(([index, verdict, name]) => {
        const { path, given } = this.images.get(index);
        return [index, verdict && [index, path, given, verdict, name]];
      }),
    );
  }

  // Undoes the last step; returns the indices that it changed, or nothing.
  undo() {
    const step = this.steps.pop();
    if (!step) return undefined;
    this.#put(step);
    this.#keep();
    return step.map(([index]) => index);
  }

  // corrections.csv: in the order of the page, then the rows of images that are not on it.
  csv() {
    const here = [...this.images.keys()].filter((index) => this.rows.has(index));
    const order = [...here, ...this.elsewhere()];
    return written([HEADER, ...order.map((index) => this.rows.get(index))]);
  }

  // Keys of rows, from a file, of images that are not on this page.
  elsewhere() {
    return [...this.rows.keys()].filter((index) => !this.images.has(index));
  }

  // Adds the rows of a corrections.csv as one step, and returns their number. If it is invalid or
  // of other data, it throws an error and adds nothing.
  load(text) {
    const rows = this.#read(text);
    this.#change([...rows]);
    return rows.size;
  }

  // Another tab with this page stored verdicts: they replace these.
  follow(text) {
    this.#take(text);
    this.steps = [];
  }

  saved() {
    this.isSaved = true;
  }

  #take(text) {
    this.rows = text ? this.#read(text) : new Map();
  }

  // The rows of a file, in the form of `rows`.
  #read(text) {
    const [header, ...lines] = parsed(text.replace(/^\ufeff/, ""));
    const columns = (header?.cells ?? []).map((name) => name.trim());
    const isTwice = HEADER.some((name) => columns.indexOf(name) !== columns.lastIndexOf(name));
    const namesImages = columns.includes("path") || columns.includes("index");
    if (!columns.includes("verdict") || !namesImages || isTwice) {
      throw new Error("it needs the columns verdict, class, and path or index, each once");
    }
    const places = HEADER.map((name) => columns.indexOf(name));
    const rows = new Map();
    const labels = new Map(); // the label that each row gives its image
    for (const { line, cells } of lines) {
      if (!cells.length) continue;
      try {
        if (cells.length !== columns.length) {
          throw new Error(`it has ${cells.length} cells, but the header has ${columns.length}`);
        }
        const [key, row] = this.#row(places.map((place) => cells[place] ?? ""));
        const [, , given, verdict, name] = row;
        // For an image that is not on the page, the class to keep may be unknown.
        const label = NAMES_A_CLASS.has(verdict) ? name || given : `no class: ${verdict}\n`;
        const other = labels.get(key);
        if (other && label && other !== label) {
          throw new Error(`${verdict} ${name} contradicts another row of this image`);
        }
        if (!rows.has(key)) rows.set(key, row);
        labels.set(key, other || label);
      } catch (error) {
        throw new Error(`line ${line}: ${error.message}`);
      }
    }
    return rows;
  }

  // The key and the row for five cells; an error says what is wrong with them.
  #row(cells) {
    const [path, given, name] = [ofCell(cells[1]), this.#class(cells[2]), this.#class(cells[4])];
    const verdict = cells[3].trim();
    let index = cells[0].trim();
    if (!VERDICTS.includes(verdict)) {
      throw new Error(`the verdict is ${verdict || "empty"}; expected one of ${VERDICTS.join(", ")}`);
    }
    if (!path && !index) throw new Error("it has neither a path nor an index");
    if (index && !/^\d{1,18}$/.test(index)) throw new Error(`${index} is not an index`);
    index = index.replace(/^0+(?=\d)/, "");
    const takes = { remove: !name, unsure: !name, keep: true }[verdict] ?? name;
    if (!takes) {
      const what = name ? `the class ${name}` : "an empty class";
      throw new Error(`the verdict ${verdict} cannot have ${what}`);
    }
    const image = this.#image(path, index);
    const label = image?.given ?? given;
    if (given && given !== label) {
      throw new Error(`the label of image ${image.index} is ${label} here, not ${given}`);
    }
    if (verdict === "keep" && label && name && name !== label) {
      throw new Error(`keep means ${label} here, not ${name}`);
    }
    if (image) {
      const chosen = verdict === "keep" ? label : name;
      return [image.index, [image.index, image.path, label, verdict, chosen]];
    }
    const key = path ? `${index} ${path}` : index;
    return [key, [index, cellOf(path), given, verdict, name]];
  }

  // The cell of a class, as on this page.
  #class(cell) {
    const found = cell && this.classes.get(nameOf(cell));
    if (found === undefined) throw new Error(`${cell} is not a class of this run`);
    return found;
  }

  // The image on the page that a row is about, or nothing. A path takes precedence over an index,
  // which may be of a test image; the index distinguishes paths that look the same.
  #image(path, index) {
    if (!path) return this.images.get(index);
    const found = (this.paths.get(path) ?? []).filter((image) => !index || image.index === index);
    if (found.length > 1) throw new Error(`${found.length} images have the path ${path}`);
    if (!found.length && this.paths.has("")) throw new Error("the images on this page have no paths");
    return found[0];
  }

  #change(changes) {
    if (!changes.length) return;
    this.steps.push(changes.map(([index]) => [index, this.rows.get(index)]));
    this.#put(changes);
    this.#keep();
  }

  #put(changes) {
    for (const [index, row] of changes) {
      if (row) this.rows.set(index, row);
      else this.rows.delete(index);
    }
  }

  #keep() {
    this.isSaved = false;
    try {
      localStorage.setItem(this.key, this.csv());
      this.isKept = true;
    } catch {
      this.isKept = false;
    }
  }
}
