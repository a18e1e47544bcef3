// The samples as flat columns, filled as the scripts under data/ arrive. A row is a sample; an entry
// is one class of a sample, and row r has the entries from entryAt[r] to entryAt[r + 1].
"use strict";

const maskloom = (() => {
  const about = JSON.parse(document.querySelector("#about").textContent);
  const { samples, entries } = about;
  const KEPT_GROUPS = 128; // of pictures, in memory

  const rows = {
    ids: new Array(samples),
    text: new Uint32Array(samples),
    kept: new Uint8Array(samples),
    split: new Uint8Array(samples),
    rule: new Uint16Array(samples),
    picture: new Uint32Array(samples), // number of its pictures from 1, 0 for none
    entryAt: new Uint32Array(samples + 1),
  };
  const each = {
    class: new Uint16Array(entries),
    relation: new Uint8Array(entries),
    begin: new Uint32Array(entries),
    end: new Uint32Array(entries),
  };
  const scores = new Map(about.scores.map((name) => {
    const byImage = name.startsWith("image.");
    return [name, { name, byImage, values: new Float32Array(byImage ? samples : entries).fill(NaN) }];
  }));
  const texts = [];
  const reasons = new Map();
  const lineages = new Map();
  const groups = new Map();
  let loaded = 0; // rows

  const unpack = (base64, Type) => {
    const raw = atob(base64);
    const bytes = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at += 1) bytes[at] = raw.charCodeAt(at);
    return new Type(bytes.buffer);
  };

  const pending = new Map();
  const load = (name) => {
    if (!pending.has(name)) {
      pending.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onload = () => { script.remove(); pending.delete(name); resolve(); };
        script.onerror = () => reject(new Error(`${script.src} is missing`));
        document.head.append(script);
      }));
    }
    return pending.get(name);
  };
  const file = (kind, number) => `${kind}-${String(number).padStart(4, "0")}`;

  // What the scripts under data/ call.
  const table = (_number, part) => {
    const { start, entry } = part;
    for (const [at, id] of part.ids.entries()) rows.ids[start + at] = id;
    const shift = texts.length;
    for (const text of part.texts) texts.push(text);
    rows.text.set(unpack(part.text, Uint32Array).map((code) => code + shift), start);
    rows.kept.set(unpack(part.kept, Uint8Array), start);
    rows.split.set(unpack(part.split, Uint8Array), start);
    rows.rule.set(unpack(part.rule, Uint16Array), start);
    rows.picture.set(unpack(part.picture, Uint32Array), start);
    for (const [at, reason] of Object.entries(part.reasons)) reasons.set(start + Number(at), reason);
    let next = entry;
    for (const [at, count] of unpack(part.counts, Uint16Array).entries()) {
      next += count;
      rows.entryAt[start + at + 1] = next;
    }
    each.class.set(unpack(part.class, Uint16Array), entry);
    each.relation.set(unpack(part.relation, Uint8Array), entry);
    each.begin.set(unpack(part.begin, Uint32Array), entry);
    each.end.set(unpack(part.end, Uint32Array), entry);
    for (const [name, values] of Object.entries(part.scores)) {
      const score = scores.get(name);
      score.values.set(unpack(values, Float32Array), score.byImage ? start : entry);
    }
    loaded = start + part.ids.length;
  };
  const lineage = (number, part) => { lineages.set(number, part); };
  const pictures = (number, group) => {
    groups.set(number, group);
    if (groups.size > KEPT_GROUPS) groups.delete(groups.keys().next().value);
  };

  const loadTable = async (tell) => {
    for (let number = 0; number < about.parts; number += 1) {
      await load(file("table", number));
      tell(loaded === samples);
    }
  };

  const picturesOf = async (row) => {
    const number = rows.picture[row] - 1;
    if (number < 0) return null;
    const group = Math.floor(number / about.group);
    if (!groups.has(group)) await load(file("pictures", group));
    return groups.get(group)[number % about.group];
  };

  const lineageOf = async (row) => {
    const number = Math.floor(row / about.part);
    if (!lineages.has(number)) await load(file("lineage", number));
    const part = lineages.get(number);
    const at = row % about.part;
    const pick = (columns, read) =>
      Object.entries(columns).map(([name, values]) => [name, read(values[at])]);
    return {
      words: part.words[at],
      columns: pick(part.columns, (value) => value),
      addresses: pick(part.addresses, (found) =>
        found && { shard: part.shards[found[0]], digest: part.digests[found[0]], offset: found[1],
          size: found[2], crc32: found[3] }),
    };
  };

  const entriesOf = (row) => {
    const found = [];
    const text = texts[rows.text[row]];
    for (let at = rows.entryAt[row]; at < rows.entryAt[row + 1]; at += 1) {
      found.push({
        at,
        ...about.classes[each.class[at]],
        relation: about.relations[each.relation[at]],
        begin: each.begin[at],
        end: each.end[at],
        phrase: text.slice(each.begin[at], each.end[at]),
      });
    }
    return found;
  };

  const verdictOf = (row) => (rows.kept[row] ? about.splits[rows.split[row]] || "train" : "rejected");

  return {
    about, rows, each, scores, texts, table, lineage, pictures,
    loadTable, picturesOf, lineageOf, entriesOf, verdictOf,
    textOf: (row) => texts[rows.text[row]],
    reasonOf: (row) => reasons.get(row) ?? "",
    loaded: () => loaded,
  };
})();

// An element with properties or attributes, and children: nodes, or text that stays text.
maskloom.element = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

// A prompt with its class words marked in their colours.
maskloom.marked = (row) => {
  const text = maskloom.textOf(row);
  const parts = [];
  let at = 0;
  for (const one of maskloom.entriesOf(row).sort((a, b) => a.begin - b.begin)) {
    parts.push(text.slice(at, one.begin));
    parts.push(maskloom.element("mark", { style: `--c:${one.colour}`, title: one.name }, one.phrase));
    at = one.end;
  }
  return [...parts, text.slice(at)];
};

maskloom.swatch = (colour) =>
  maskloom.element("span", { className: "swatch", style: `--c:${colour}`, ariaHidden: "true" });

maskloom.number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));

maskloom.scoreLabel = (name) =>
  (name.startsWith("image.") ? `${name.slice(6)} of the image` : name).replaceAll("_", " ");

maskloom.VERDICTS = {
  train: "kept for training",
  val: "kept, held out",
  rejected: "rejected",
};
