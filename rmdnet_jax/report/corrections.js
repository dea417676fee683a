// The verdicts on labels: the rows of corrections.csv, kept by the browser until they are saved.
"use strict";

const HEADER = ["index", "path", "given_class", "verdict", "class"];
const VERDICTS = ["keep", "suggestion", "class", "remove", "unsure"];
const NAMES_A_CLASS = new Set(["keep", "suggestion", "class"]);

// Rows of cells -> the text of a CSV.
function written(rows) {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

// The rows of a CSV; an error where a quote is not closed, or stands where none may be.
function parsed(text) {
  const cell = /("[^"]*(?:""[^"]*)*"|[^",\r\n]*)(,|\r\n|\n|\r|$)/y;
  const rows = [];
  let row = [];
  while (cell.lastIndex < text.length || row.length) {
    const found = cell.exec(text);
    if (!found) throw new Error(`row ${rows.length + 1} has a quote that does not belong there`);
    const [, content, end] = found;
    row.push(content.startsWith('"') ? content.slice(1, -1).replaceAll('""', '"') : content);
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

class Corrections {
  // key: what the browser keeps them under. images: what is on the page, in its order,
  // {index, path, given}, all texts as they stand in the CSV. classes: the cells of all classes.
  constructor(key, images, classes) {
    this.key = key;
    this.images = new Map(images.map((image) => [image.index, image]));
    this.classes = new Set(classes);
    this.rows = new Map(); // index -> [index, path, given_class, verdict, class]
    this.steps = []; // [[index, the row that was there before or nothing], ...], the latest last
    this.isSaved = true;
    this.isKept = true;
    try {
      this.#take(localStorage.getItem(key));
    } catch {
      this.isKept = false; // the browser keeps nothing for this page, or not what we wrote
    }
  }

  verdict(index) {
    return this.rows.get(index)?.[3] ?? "";
  }

  // The cell of the class that comes out of the verdict.
  class(index) {
    return this.rows.get(index)?.[4] ?? "";
  }

  // Gives verdicts as one step: [[index, verdict, class], ...]; "" takes a verdict back.
  give(verdicts) {
    this.#change(
      verdicts.map(([index, verdict, name]) => {
        const { path, given } = this.images.get(index);
        return [index, verdict && [index, path, given, verdict, name]];
      }),
    );
  }

  // Takes the last step back; the indices that it was about, or nothing.
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

  // Indices of rows, from a file, of images that are not on this page.
  elsewhere() {
    return [...this.rows.keys()].filter((index) => !this.images.has(index));
  }

  // Adds the rows of a corrections.csv as one step, and returns their number; an error, and
  // nothing is added, if it is none or is of other data.
  load(text) {
    const rows = this.#read(text);
    this.#change(rows.map((row) => [row[0], row]));
    return rows.length;
  }

  // Another tab with this page wrote: its verdicts are taken.
  follow(text) {
    this.#take(text);
    this.steps = [];
  }

  saved() {
    this.isSaved = true;
  }

  #take(text) {
    this.rows = new Map(text ? this.#read(text).map((row) => [row[0], row]) : []);
  }

  #read(text) {
    const [header, ...rows] = parsed(text.replace(/^\ufeff/, ""));
    if (`${header}` !== `${HEADER}`) throw new Error(`its first line is not ${HEADER}`);
    rows.forEach((row, place) => {
      const wrong = this.#fault(row);
      if (wrong) throw new Error(`row ${place + 2}: ${wrong}`);
    });
    return rows;
  }

  // What is wrong with a row, or nothing.
  #fault([index, path, given, verdict, name, ...more]) {
    if (name === undefined || more.length) return `it has not ${HEADER.length} cells`;
    if (!/^(0|[1-9]\d*)$/.test(index)) return `${index} is no index`;
    if (!VERDICTS.includes(verdict)) return `${verdict} is no verdict (${VERDICTS.join(", ")})`;
    if (!this.classes.has(given)) return `${given} is no class of this run`;
    if (NAMES_A_CLASS.has(verdict) ? !this.classes.has(name) : name) {
      return `${name || "nothing"} is no class that ${verdict} can have`;
    }
    if (verdict === "keep" && name !== given) return `keep is of ${given}, not of ${name}`;
    const image = this.images.get(index);
    if (image && (image.path !== path || image.given !== given)) {
      return `image ${index} is ${image.path} ${image.given} here, not ${path} ${given}`;
    }
    return "";
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
