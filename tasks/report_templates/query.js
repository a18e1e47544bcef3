// What is asked for: the address's hash as filters, and the rows that answer it.
"use strict";

maskloom.query = (() => {
  const { about, rows, each, scores, texts } = maskloom;
  const FACETS = ["class", "verdict", "rule", "relation"];
  const VERDICTS = ["train", "val", "rejected"];
  const VALUES = {
    class: about.classes.map((one) => one.name),
    verdict: VERDICTS,
    rule: about.rules.map((rule) => rule.key).filter((key) => key),
    relation: about.relations,
  };
  // Why an entry or a row is not in the answer, as bits.
  const CLASS = 1, VERDICT = 2, RULE = 4, RELATION = 8, OTHER = 16;

  const parse = (hash) => {
    const given = new URLSearchParams(hash.replace(/^#/, ""));
    const query = {
      text: given.get("q") ?? "",
      pictured: given.has("pictured"),
      sort: given.get("sort") ?? "",
      page: Math.max(1, Number(given.get("page")) || 1),
      sample: given.get("sample"),
      ranges: new Map(),
    };
    for (const facet of FACETS) query[facet] = new Set(given.getAll(facet));
    for (const [name, value] of given) {
      const range = /^(.*)\.\.(.*)$/.exec(value);
      if (!scores.has(name) || !range) continue;
      const [low, high] = [range[1], range[2]].map((end, side) =>
        end === "" || Number.isNaN(Number(end)) ? [-Infinity, Infinity][side] : Number(end));
      query.ranges.set(name, [low, high]);
    }
    return query;
  };

  const format = (query) => {
    const told = new URLSearchParams();
    if (query.text) told.set("q", query.text);
    for (const facet of FACETS) for (const value of query[facet]) told.append(facet, value);
    for (const [name, range] of query.ranges) {
      told.set(name, range.map((end) => (Number.isFinite(end) ? end : "")).join(".."));
    }
    if (query.pictured) told.set("pictured", "");
    if (query.sort) told.set("sort", query.sort);
    if (query.page > 1) told.set("page", query.page);
    if (query.sample) told.set("sample", query.sample);
    return `#${told}`;
  };

  // Texts that hold all words, by code; an id is found by its beginning.
  const matching = (text) => {
    const words = text.toLowerCase().split(/\s+/).filter((word) => word);
    if (!words.length) return null;
    const holds = texts.map((one) => {
      const lower = one.toLowerCase();
      return words.every((word) => lower.includes(word));
    });
    return (row) => holds[rows.text[row]] || (words.length === 1 && rows.ids[row].startsWith(words[0]));
  };

  const within = (value, [low, high]) => value >= low && value <= high;

  // The rows that fit, in order, and how many samples each value of a facet would give.
  // Class, relation and scores by class must hold for one and the same class of a sample.
  const answer = (query) => {
    const chosen = (facet) => VALUES[facet].map((value) => !query[facet].size || query[facet].has(value));
    const classes = chosen("class"), relations = chosen("relation"), verdicts = chosen("verdict");
    const rules = about.rules.map((rule) => !query.rule.size || query.rule.has(rule.key));
    const fits = matching(query.text);
    const ranges = [...query.ranges].map(([name, range]) => ({ ...scores.get(name), range }));
    const byClass = ranges.filter((one) => !one.byImage), byImage = ranges.filter((one) => one.byImage);
    const descending = query.sort.startsWith("-");
    const key = scores.get(query.sort.replace(/^-/, ""));
    const keys = key && new Float32Array(maskloom.loaded());

    const counts = Object.fromEntries(FACETS.map((facet) => [facet, VALUES[facet].map(() => 0)]));
    const found = [];
    for (const row of sequence(query.sort)) {
      const verdict = VERDICTS.indexOf(maskloom.verdictOf(row));
      let why = (verdicts[verdict] ? 0 : VERDICT) | (rules[rows.rule[row]] ? 0 : RULE);
      if (fits && !fits(row)) why |= OTHER;
      if (query.pictured && !rows.picture[row]) why |= OTHER;
      if (!byImage.every((one) => within(one.values[row], one.range))) why |= OTHER;

      let fitting = false, seen = 0, best = NaN;
      for (let at = rows.entryAt[row]; at < rows.entryAt[row + 1]; at += 1) {
        const fails = (classes[each.class[at]] ? 0 : CLASS) | (relations[each.relation[at]] ? 0 : RELATION)
          | (byClass.every((one) => within(one.values[at], one.range)) ? 0 : OTHER);
        if (!why && !(fails & ~CLASS)) counts.class[each.class[at]] += 1;
        if (!why && !(fails & ~RELATION)) seen |= 1 << each.relation[at];
        if (fails) continue;
        fitting = true;
        if (key && !key.byImage) {
          const value = key.values[at];
          if (Number.isNaN(best) || (descending ? value > best : value < best)) best = value;
        }
      }
      for (let code = 0; seen >> code; code += 1) counts.relation[code] += (seen >> code) & 1;
      if (!fitting) continue;
      if (!(why & ~VERDICT)) counts.verdict[verdict] += 1;
      if (!(why & ~RULE) && rows.rule[row]) counts.rule[rows.rule[row] - 1] += 1;
      if (why) continue;
      found.push(row);
      if (key) keys[row] = key.byImage ? key.values[row] : best;
    }
    return { rows: keys ? byScore(found, keys, descending) : found, counts };
  };

  // All rows as sampled, or mixed: by id, as ids are hashes; then those with pictures come first.
  let mixed = [];
  const sequence = (sort) => {
    const count = maskloom.loaded();
    if (sort) return Array.from({ length: count }, (_, row) => row);
    if (mixed.length !== count) {
      const ordered = Array.from({ length: count }, (_, row) => row)
        .sort((a, b) => (rows.ids[a] < rows.ids[b] ? -1 : 1));
      mixed = [...ordered.filter((row) => rows.picture[row]), ...ordered.filter((row) => !rows.picture[row])];
    }
    return mixed;
  };

  // Those without the score come last.
  const byScore = (found, keys, descending) => {
    const sign = descending ? -1 : 1;
    return found.sort((a, b) => {
      if (Number.isNaN(keys[a]) || Number.isNaN(keys[b])) {
        return Number.isNaN(keys[a]) - Number.isNaN(keys[b]) || a - b;
      }
      return sign * (keys[a] - keys[b]) || a - b;
    });
  };

  return { FACETS, VALUES, parse, format, answer };
})();
