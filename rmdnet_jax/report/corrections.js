// The verdicts on labels: the rows of corrections.csv, kept by the browser until they are saved.
// What a row may be data/corrections.py says: a file that a run accepts is accepted here.
"use strict";

const HEADER = ["index", "path", "given_class", "verdict", "class"]; // what is written
const VERDICTS = ["keep", "suggestion", "class", "remove", "unsure"];
const NAMES_A_CLASS = new Set(["keep", "suggestion", "class"]);

// Rows of cells -> the text of a CSV.
function written(rows) {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

// The rows of a CSV, {line, cells}, an empty line without cells; an error where quotes are not
// closed, or do not end their cell. A quote in a cell that does not begin with one is a letter.
function parsed(text) {
  const cell = /("[^"]*(?:""[^"]*)*"|(?!")[^,\r\n]*)(,|\r\n|\n|\r|$)/y;
  const rows = [];
  let cells = [];
  let line = 1; // where the row ends
  while (cell.lastIndex < text.length || cells.length) {
    const found = cell.exec(text);
    if (!found) throw new Error(`line ${line} has a quote that does not belong there`);
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

// As base/text.py has it: a cell that a spreadsheet would compute has a ' before it.
const START = String.raw`(?:[=+@]|-(?!\p{Nd}+(?:\.\p{Nd}+)?$))`;
const FORMULA = new RegExp(`^'*${START}`, "u");
const KEPT = new RegExp(`^'+${START}`, "u");
const cellOf = (text) => (FORMULA.test(text) ? `'${text}` : text);
const ofCell = (cell) => (KEPT.test(cell) ? cell.slice(1) : cell);
const nameOf = (cell) => ofCell(cell).normalize("NFC");

class Corrections {
  // key: what the browser keeps them under. images: what is on the page, in its order,
  // {index, path, given}, all texts as they stand in the CSV. classes: the cells of all classes.
  constructor(key, images, classes) {
    this.key = key;
    this.images = new Map(images.map((image) => [image.index, image]));
    this.paths = new Map(); // path -> the images that are called so
    for (const image of images) {
      const path = ofCell(image.path);
      this.paths.set(path, [...(this.paths.get(path) ?? []), image]);
    }
    this.classes = new Map(classes.map((cell) => [nameOf(cell), cell]));
    // Index, or "index path" where the image is not on the page -> [index, path, given_class,
    // verdict, class].
    this.rows = new Map();
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

  // Keys of rows, from a file, of images that are not on this page.
  elsewhere() {
    return [...this.rows.keys()].filter((index) => !this.images.has(index));
  }

  // Adds the rows of a corrections.csv as one step, and returns their number; an error, and
  // nothing is added, if it is none or is of other data.
  load(text) {
    const rows = this.#read(text);
    this.#change([...rows]);
    return rows.size;
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
    this.rows = text ? this.#read(text) : new Map();
  }

  // The rows of a file as `rows` has them.
  #read(text) {
    const [header, ...lines] = parsed(text.replace(/^\ufeff/, ""));
    const columns = (header?.cells ?? []).map((name) => name.trim());
    const isTwice = HEADER.some((name) => columns.indexOf(name) !== columns.lastIndexOf(name));
    const namesImages = columns.includes("path") || columns.includes("index");
    if (!columns.includes("verdict") || !namesImages || isTwice) {
      throw new Error("its columns are not verdict, class, path or index, each once");
    }
    const places = HEADER.map((name) => columns.indexOf(name));
    const rows = new Map();
    const labels = new Map(); // what each row makes of its image
    for (const { line, cells } of lines) {
      if (!cells.length) continue;
      try {
        if (cells.length !== columns.length) {
          throw new Error(`it has ${cells.length} cells, and the first line ${columns.length}`);
        }
        const [key, row] = this.#row(places.map((place) => cells[place] ?? ""));
        const [, , given, verdict, name] = row;
        // Of an image that is not here it may not be known which class is kept.
        const label = NAMES_A_CLASS.has(verdict) ? name || given : `no class: ${verdict}\n`;
        const other = labels.get(key);
        if (other && label && other !== label) {
          throw new Error(`${verdict} ${name} disagrees with another row of the image`);
        }
        if (!rows.has(key)) rows.set(key, row);
        labels.set(key, other || label);
      } catch (error) {
        throw new Error(`line ${line}: ${error.message}`);
      }
    }
    return rows;
  }

  // The key and the row that five cells come to; an error says what is wrong with them.
  #row(cells) {
    const [path, given, name] = [ofCell(cells[1]), this.#class(cells[2]), this.#class(cells[4])];
    const verdict = cells[3].trim();
    let index = cells[0].trim();
    if (!VERDICTS.includes(verdict)) {
      throw new Error(`${verdict || "nothing"} is no verdict (${VERDICTS.join(", ")})`);
    }
    if (!path && !index) throw new Error("it has neither a path nor an index");
    if (index && !/^\d{1,18}$/.test(index)) throw new Error(`${index} is no index`);
    index = index.replace(/^0+(?=\d)/, "");
    const takes = { remove: !name, unsure: !name, keep: true }[verdict] ?? name;
    if (!takes) throw new Error(`${name || "nothing"} is no class that ${verdict} can have`);
    const image = this.#image(path, index);
    const label = image?.given ?? given;
    if (given && given !== label) {
      throw new Error(`the label of image ${image.index} is ${label} here, not ${given}`);
    }
    if (verdict === "keep" && label && name && name !== label) {
      throw new Error(`keep is of ${label}, not of ${name}`);
    }
    if (image) {
      const chosen = verdict === "keep" ? label : name;
      return [image.index, [image.index, image.path, label, verdict, chosen]];
    }
    const key = path ? `${index} ${path}` : index;
    return [key, [index, cellOf(path), given, verdict, name]];
  }

  // The cell of a class, as this page has it.
  #class(cell) {
    const found = cell && this.classes.get(nameOf(cell));
    if (found === undefined) throw new Error(`${cell} is no class of this run`);
    return found;
  }

  // The image of the page that a row is of, or nothing. A path goes before an index, which may be
  // of a test picture; names that look the same are told apart by it.
  #image(path, index) {
    if (!path) return this.images.get(index);
    const found = (this.paths.get(path) ?? []).filter((image) => !index || image.index === index);
    if (found.length > 1) throw new Error(`${found.length} images are called ${path}`);
    if (!found.length && this.paths.has("")) throw new Error("images have no paths here");
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
