// One sample: its picture under a layer of choice, its verdict, scores and lineage.
"use strict";

maskloom.sample = (() => {
  const { about, rows, scores, element, marked, swatch, number, scoreLabel, VERDICTS } = maskloom;
  const NAMES = {
    prompt_id: "Prompt id", seed: "Seed", negative_prompt: "Negative prompt", source: "Sentence from",
    template: "Template", caption_id: "Caption", duplicate_of: "Near duplicate of",
    duplicate_distance: "By bits of its hash", hash: "Perceptual hash", batch_size: "Batch size",
  };
  const SOURCES = { templates: "a template", captions: "a caption", classes_appended: "a caption, the classes appended" };
  const place = document.querySelector("#sample");
  let layer = "labels";

  const stack = (found, over, alt) => {
    const node = element("div", { className: found.sharp ? "layers sharp" : "layers", style: `aspect-ratio:${found.size[0]}/${found.size[1]}` },
      element("img", { src: found.image, alt, className: over ? "base muted" : "base" }));
    if (over) node.append(element("img", { src: over, alt: "", className: "layer" }));
    return node;
  };

  // What may lie over the image, by key: its title and its picture.
  const layers = (row, found) => {
    const all = [["none", "Image", null], ["labels", "Labels", found.labels]];
    maskloom.entriesOf(row).forEach((one, at) => {
      if (found.heats[at]) all.push([`heat-${at}`, `Attention: ${one.name}`, found.heats[at]]);
    });
    return [...all, ["reliability", "Reliability", found.reliability]];
  };

  const pictures = (row, found) => {
    const alt = `Synthetic image: ${maskloom.textOf(row)}`;
    if (!found && about.rules[maskloom.rows.rule[row]].key === "finite") {
      return element("p", { className: "panel quiet" },
        `This sample has no picture: ${maskloom.reasonOf(row)}.`);
    }
    if (!found) {
      return element("p", { className: "panel quiet" },
        `This sample has no picture here: ${about.pictured.toLocaleString("en")} of ${about.samples.toLocaleString("en")} have one. `,
        element("code", {}, "write_report.gallery"), " says how many.");
    }
    const all = layers(row, found);
    const stage = element("figure", { className: "stage" });
    const choices = element("div", { className: "choices", role: "group", ariaLabel: "Layer over the image" });
    const show = (key) => {
      const [chosen, title, over] = all.find(([one]) => one === key) ?? all[1];
      layer = chosen;
      stage.replaceChildren(stack(found, over, over ? `${alt}. Over it: ${title}` : alt),
        element("figcaption", { className: "visually-hidden" }, title));
      for (const button of choices.children) button.ariaPressed = String(button.value === chosen);
    };
    for (const [key, title, over] of all) {
      const button = element("button", { type: "button", value: key }, stack(found, over, ""), element("span", {}, title));
      button.addEventListener("click", () => show(key));
      choices.append(button);
    }
    show(layer);
    const opacity = element("input", { type: "range", className: "opacity", min: 0, max: 100,
      value: document.querySelector(".opacity").value });
    return element("div", { className: "pictures" }, stage, choices,
      element("label", { className: "field" }, "Opacity ", opacity));
  };

  const copyable = (text) => {
    const code = element("code", { className: "copy" }, text);
    if (!navigator.clipboard) return code;
    const button = element("button", { type: "button", className: "plain" }, "copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    });
    return element("span", { className: "copying" }, code, button);
  };

  const listing = (pairs) => {
    const list = element("dl");
    for (const [name, value] of pairs) {
      list.append(element("dt", {}, name), element("dd", {}, ...(Array.isArray(value) ? value : [value])));
    }
    return list;
  };

  // Cells are text, nodes or numbers; the columns of numbers are told by any line that has one.
  const table = (head, body) => {
    const numeric = head.map((_, column) => body.some((cells) => typeof cells[column] === "number"));
    const line = (cells, tag, first) => element("tr", {}, ...cells.map((cell, column) => element(
      column ? tag : "th", { scope: column && tag === "td" ? null : first, className: numeric[column] ? "number" : "" },
      typeof cell !== "number" ? cell : Number.isNaN(cell) ? "–" : number(cell))));
    return element("div", { className: "scroll" }, element("table", {},
      element("thead", {}, line(head, "th", "col")),
      element("tbody", {}, ...body.map((cells) => line(cells, "td", "row")))));
  };

  const named = (one) => element("span", { className: "swatched" }, swatch(one.colour), one.name);

  // A score beside what filter_masks asks of it. Of a class: ``at`` is its entry; else the sample's
  // first one, whose class a quantile is of.
  const boundOf = (one, at) => (Array.isArray(one.bounds) ? one.bounds[maskloom.each.class[at]] : one.bounds);
  const asks = (name) => about.asked.filter((one) => one.score === name);
  const breaks = (one, at, value) => {
    const bound = boundOf(one, at);
    return bound !== null && !Number.isNaN(value) && (one.least ? value < bound : value > bound);
  };
  const asked = (name, entries) => asks(name).map((one) => {
    const side = one.least ? "≥" : "≤";
    if (one.quantile === null) return `${side} ${one.bounds}`;
    const bounds = entries.map((at) => boundOf(one, at)).filter((bound) => bound !== null).map(number);
    return `${side} ${bounds.join(", ")} (quantile ${one.quantile})`;
  }).join(", ");

  // Classes that may be absent, as another one of the sample is there.
  const excused = (entries) => {
    const lacks = (at) => asks("area").some((one) => one.least && breaks(one, at, scores.get("area").values[at]));
    const absent = about.absent === "allow" ? entries.filter(lacks) : [];
    return new Set(absent.length < entries.length ? absent : []);
  };

  const judged = (name, at, value) =>
    (asks(name).some((one) => breaks(one, at, value)) ? element("strong", { className: "broken" }, `${number(value)} ✗`) : value);

  const scoreTables = (row) => {
    const entries = maskloom.entriesOf(row);
    const used = (score, at) => at.some((one) => !Number.isNaN(score.values[one]));
    const all = [...scores.values()];
    const byClass = all.filter((score) => !score.byImage && used(score, entries.map((one) => one.at)));
    const byImage = all.filter((score) => score.byImage && used(score, [row]));
    const absent = excused(entries.map((one) => one.at));
    const parts = [table(["score", "asked", ...entries.map(named)],
      byClass.map((score) => [scoreLabel(score.name), asked(score.name, entries.map((one) => one.at)),
        ...entries.map(({ at }) => (absent.has(at) ? score.values[at] : judged(score.name, at, score.values[at])))]))];
    if (byImage.length) {
      const [{ at }] = entries;
      parts.push(table(["of the image", "asked", "score"], byImage.map((score) =>
        [scoreLabel(score.name.slice(6)), asked(score.name, [at]), judged(score.name, at, score.values[row])])));
    }
    return parts;
  };

  const depth = (levels) => (levels ? `, ${levels} level${levels > 1 ? "s" : ""} below it` : "");
  const wordTable = (row, words) => table(["class", "said as", "which is", "synset"],
    maskloom.entriesOf(row).map((one, at) => [
      named(one), `“${one.phrase}”`,
      one.relation === "plain" ? "the class's name" : `a ${one.relation}${depth(words[at][1])}`,
      words[at][0] || "not said"]));

  const digest = (value) => (/^[0-9a-f]{64}$/.test(value) ? element("code", { className: "digest" }, value) : value);

  const crc32 = (one) => (one.crc32 === null ? []
    : [", CRC-32 ", element("code", {}, one.crc32.toString(16).padStart(8, "0"))]);

  const lineage = (row, found) => {
    const columns = found.columns.filter(([, value]) => value !== null && value !== "");
    const facts = columns.map(([name, value]) => [
      NAMES[name] ?? scoreLabel(name),
      name === "source" ? SOURCES[value] ?? value : String(value)]);
    const lying = found.addresses.filter(([, one]) => one);
    const addresses = lying.map(([name, one]) => [
      `Its ${name}`, [element("code", {}, one.shard), ` from byte ${one.offset.toLocaleString("en")}, ${one.size.toLocaleString("en")} bytes`, ...crc32(one)]]);
    const digests = new Map(lying.filter(([, one]) => one.digest).map(([, one]) => [one.shard, one.digest]));
    const shards = [...digests].map(([shard, value]) => ["SHA-256 of", [element("code", {}, shard), " ", digest(value)]]);
    return [
      element("section", { className: "panel" }, element("h3", {}, "Where it comes from"),
        wordTable(row, found.words), listing([...facts, ...about.origin.map(([name, value]) => [name, digest(value)])]),
        element("details", {}, element("summary", {}, "Parameters"), element("pre", {}, about.parameters))),
      element("section", { className: "panel" }, element("h3", {}, "Where it lies"), listing([...addresses, ...shards]),
        element("p", { className: "quiet small" }, "Each file's SHA-256, whether it is whole, the commit and the run of the flow that made it:"),
        element("p", { className: "command" }, copyable(`python -m tasks.lineage explain ${rows.ids[row]}`))),
    ];
  };

  const verdict = (row) => {
    const kind = maskloom.verdictOf(row);
    const badge = element("span", { className: `badge ${kind === "rejected" ? "rejected" : "kept"}` }, VERDICTS[kind]);
    const why = maskloom.reasonOf(row) || "every rule of filter_masks holds";
    return element("p", { className: "verdict" }, badge, " ", why);
  };

  // Show a row. ``around`` has its position, how many there are, and the addresses beside it.
  const show = async (row, around) => {
    const [found, origin] = await Promise.all([maskloom.picturesOf(row), maskloom.lineageOf(row)]);
    const step = (href, text, label) => element("a", { className: "step-to", href, ariaLabel: label,
      ariaDisabled: href ? null : "true" }, text);
    place.replaceChildren(
      element("nav", { className: "steps", ariaLabel: "Samples" },
        element("a", { href: around.back }, "← Gallery"),
        element("span", { className: "quiet" }, around.position
          ? `${around.position.toLocaleString("en")} of ${around.total.toLocaleString("en")}` : "not among those chosen"),
        step(around.previous, "‹", "Previous sample"), step(around.next, "›", "Next sample")),
      element("div", { className: "sample" },
        element("div", {}, pictures(row, found)),
        element("div", { className: "told" },
          element("h1", { className: "prompt", tabIndex: -1 }, ...marked(row)), verdict(row),
          element("p", { className: "id mono quiet" }, rows.ids[row]),
          element("section", { className: "panel" }, element("h3", {}, "Scores"), ...scoreTables(row)),
          ...lineage(row, origin))));
    place.hidden = false;
    place.querySelector("h1").focus({ preventScroll: true });
  };

  const missing = (id, back) => {
    place.replaceChildren(element("p", { className: "panel" },
      "There is no sample ", element("code", {}, id), " in this report. ", element("a", { href: back }, "To the gallery")));
    place.hidden = false;
  };

  const chooseLayer = (number) => place.querySelectorAll(".choices button")[number]?.click();

  return { show, missing, chooseLayer, hide: () => { place.hidden = true; place.replaceChildren(); } };
})();
