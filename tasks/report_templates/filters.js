// The side of the gallery: lists to tick, each with how many samples it gives, and score ranges.
"use strict";

maskloom.filters = (() => {
  const { about, scores, query, element, swatch, number } = maskloom;
  const BINS = 32;
  const LONG = 14; // from so many values on, a list has a search of its own
  const TITLES = { class: "Class", verdict: "Verdict", rule: "Rejected by", relation: "Word" };
  const LABELS = {
    class: (value) => value,
    verdict: (value) => maskloom.VERDICTS[value],
    rule: (value) => about.rules.find((rule) => rule.key === value).text,
    relation: (value) => (value === "plain" ? "the class's name" : `a ${value}`),
  };
  const boxes = []; // { facet, value, input, count, item }
  const ranges = []; // { name, node, show }

  const facetNode = (facet, change) => {
    const values = query.VALUES[facet];
    const list = element("ul", { className: "ticks" });
    values.forEach((value, code) => {
      const input = element("input", { type: "checkbox", value });
      const count = element("output");
      const colour = facet === "class" ? [swatch(about.classes[code].colour)] : [];
      const label = element("span", { className: "swatched" }, ...colour, LABELS[facet](value));
      const item = element("li", {}, element("label", {}, input, label, count));
      input.addEventListener("change", () => change((asked) => {
        asked[facet][input.checked ? "add" : "delete"](value);
      }));
      boxes.push({ facet, value, code, input, count, item });
      list.append(item);
    });
    const node = element("fieldset", { className: "facet" }, element("legend", {}, TITLES[facet]));
    if (values.length >= LONG) {
      const search = element("input", { type: "search", placeholder: `of ${values.length}`, ariaLabel: `Find in: ${TITLES[facet]}` });
      search.addEventListener("input", () => {
        for (const box of boxes.filter((one) => one.facet === facet)) {
          box.item.hidden = !LABELS[facet](box.value).toLowerCase().includes(search.value.toLowerCase());
        }
      });
      node.append(search);
    }
    node.append(list);
    node.hidden = values.length === 0;
    return node;
  };

  const extent = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return [low, high];
  };

  const histogram = (values, low, high) => {
    const bins = new Uint32Array(BINS);
    const scale = BINS / (high - low || 1);
    for (const value of values) {
      if (!Number.isNaN(value)) bins[Math.min(BINS - 1, Math.floor((value - low) * scale))] += 1;
    }
    const most = Math.max(...bins);
    return [...bins].map((count) => (count ? Math.max(0.04, Math.sqrt(count / most)) : 0));
  };

  // Two sliders below a histogram; an end that is not moved bounds nothing.
  const rangeNode = (score, change) => {
    const title = maskloom.scoreLabel(score.name);
    const told = element("output");
    const bars = element("div", { className: "bars", ariaHidden: "true" });
    const [from, to] = ["from", "to"].map((end) =>
      element("input", { type: "range", min: 0, max: 1000, step: 1, ariaLabel: `${title}, ${end}` }));
    const node = element("details", { className: "range", hidden: true },
      element("summary", {}, title, told), bars, element("div", { className: "sliders" }, from, to));
    let low = 0, high = 1;
    const value = (input) => low + (high - low) * input.value / 1000;
    const set = () => change((asked) => {
      const bounds = [from.value > 0 ? Number(value(from).toPrecision(4)) : -Infinity,
        to.value < 1000 ? Number(value(to).toPrecision(4)) : Infinity];
      if (bounds.some(Number.isFinite)) asked.ranges.set(score.name, bounds);
      else asked.ranges.delete(score.name);
    });
    from.addEventListener("input", () => { to.value = Math.max(to.value, from.value); set(); });
    to.addEventListener("input", () => { from.value = Math.min(to.value, from.value); set(); });
    const show = (asked) => {
      const bounds = asked.ranges.get(score.name) ?? [-Infinity, Infinity];
      const ends = [Math.max(bounds[0], low), Math.min(bounds[1], high)];
      [from, to].forEach((input, side) => {
        input.value = Math.round(1000 * (ends[side] - low) / (high - low || 1));
        input.ariaValueText = number(ends[side]);
      });
      told.textContent = bounds.some(Number.isFinite) ? `${number(ends[0])} – ${number(ends[1])}` : "";
      [...bars.children].forEach((bar, at) => {
        const middle = low + (high - low) * (at + 0.5) / BINS;
        bar.className = middle < bounds[0] || middle > bounds[1] ? "out" : "";
      });
      if (told.textContent) node.open = true;
    };
    const measure = () => {
      [low, high] = extent(score.values);
      node.hidden = !(low < high);
      bars.replaceChildren(...histogram(score.values, low, high).map((share) =>
        element("i", { style: `--share:${share}` })));
    };
    return { name: score.name, node, show, measure };
  };

  // Build everything into ``side``; ``change`` takes a function that edits the query.
  const build = (side, change) => {
    side.append(...query.FACETS.map((facet) => facetNode(facet, change)));
    const group = element("fieldset", { className: "facet" }, element("legend", {}, "Scores"));
    for (const score of scores.values()) ranges.push(rangeNode(score, change));
    group.append(...ranges.map((range) => range.node));
    side.append(group);
  };

  const show = (asked, counts) => {
    for (const box of boxes) {
      box.input.checked = asked[box.facet].has(box.value);
      const count = counts[box.facet][box.code];
      box.count.textContent = count.toLocaleString("en");
      box.item.classList.toggle("none", !count && !box.input.checked);
    }
    for (const range of ranges) range.show(asked);
  };

  return { build, show, measure: () => ranges.forEach((range) => range.measure()) };
})();
