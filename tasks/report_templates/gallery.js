// The gallery: the address's hash says what is shown; here it is shown, and the hash changed.
"use strict";

(() => {
  const { about, rows, query, filters, element, marked, VERDICTS } = maskloom;
  const PAGE = 60;
  const VIEWS = ["labels", "image", "attention", "reliability"];
  const at = (id) => document.querySelector(`#${id}`);
  const [gallery, grid, told, text, sort, pictured, loading, side] =
    ["gallery", "grid", "told", "text", "sort", "pictured", "loading", "side"].map(at);
  let view = "labels";
  let asked = query.parse(location.hash);
  let answer = { key: null, rows: [], counts: {} };
  let complete = false;

  // What is asked

  const address = (changes) => query.format({ ...asked, ...changes });
  const change = (edit) => {
    edit(asked);
    asked.page = 1;
    history.replaceState(null, "", address({}));
    draw();
  };
  const go = (hash) => { location.hash = hash; };

  // Cards

  const panes = (row, found) => {
    const alt = `Synthetic image: ${maskloom.textOf(row)}`;
    const over = {
      labels: [found.labels], image: [null], attention: found.heats, reliability: [found.reliability],
    }[view];
    return over.map((layer, number) => {
      const stack = element("span", { className: found.sharp ? "layers sharp" : "layers" },
        element("img", { src: found.image, alt: number ? "" : alt, className: layer ? "base muted" : "base" }));
      if (layer) stack.append(element("img", { src: layer, alt: "", className: "layer" }));
      return stack;
    });
  };

  const fill = async (card) => {
    const row = Number(card.dataset.row);
    const shot = card.querySelector(".shot");
    const found = await maskloom.picturesOf(row);
    shot.classList.toggle("empty", !found);
    shot.replaceChildren(...(found ? panes(row, found) : ["no picture"]));
  };

  const watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      fill(target);
    }
  }, { rootMargin: "400px" });

  const card = (row) => {
    const kind = maskloom.verdictOf(row);
    const id = rows.ids[row];
    const key = maskloom.scores.get(asked.sort.replace(/^-/, ""));
    const entries = maskloom.entriesOf(row);
    const values = key ? (key.byImage ? [key.values[row]] : entries.map((one) => key.values[one.at])) : [];
    const note = kind === "rejected" ? maskloom.reasonOf(row) : VERDICTS[kind];
    const score = values.filter((value) => !Number.isNaN(value)).map(maskloom.number).join(", ");
    return element("li", {},
      element("a", { className: "card", href: address({ sample: id }), "data-row": row },
        element("span", { className: "shot" }),
        element("span", { className: "about" },
          element("span", { className: "prompt" }, ...marked(row)),
          element("span", { className: `verdict ${kind === "rejected" ? "bad" : "quiet"}` }, note),
          score ? element("span", { className: "score" }, `${maskloom.scoreLabel(key.name)} ${score}`) : "")));
  };

  // The page

  const pages = () => Math.max(1, Math.ceil(answer.rows.length / PAGE));

  const drawPager = () => {
    const page = Math.min(asked.page, pages());
    const link = (number, label, name) => element("a", {
      href: number >= 1 && number <= pages() ? address({ page: number }) : null, ariaLabel: name,
      ariaDisabled: number >= 1 && number <= pages() ? null : "true" }, label);
    for (const pager of document.querySelectorAll(".pager")) {
      pager.hidden = pages() === 1;
      pager.replaceChildren(link(page - 1, "‹", "Previous page"),
        element("span", {}, `${page.toLocaleString("en")} / ${pages().toLocaleString("en")}`),
        link(page + 1, "›", "Next page"));
    }
  };

  const update = () => {
    const key = query.format({ ...asked, page: 1, sample: null }) + maskloom.loaded();
    if (key !== answer.key) answer = { key, ...query.answer(asked) };
  };

  const draw = () => {
    update();
    const page = Math.min(asked.page, pages());
    const shown = answer.rows.slice((page - 1) * PAGE, page * PAGE);
    told.textContent = `${answer.rows.length.toLocaleString("en")} of ${about.samples.toLocaleString("en")} samples`;
    loading.hidden = complete;
    if (document.activeElement !== text) text.value = asked.text;
    sort.value = asked.sort;
    pictured.checked = asked.pictured;
    filters.show(asked, answer.counts);
    grid.replaceChildren(...shown.map(card));
    for (const one of grid.querySelectorAll(".card")) watcher.observe(one);
    at("nothing").hidden = answer.rows.length > 0 || !complete;
    at("clear").hidden = query.format({ ...asked, sort: "", page: 1, sample: null }) === "#";
    drawPager();
  };

  const drawSample = async () => {
    const row = rows.ids.indexOf(asked.sample);
    const back = address({ sample: null });
    if (row < 0) {
      if (complete) maskloom.sample.missing(asked.sample, back);
      gallery.hidden = complete;
      return;
    }
    update();
    const place = answer.rows.indexOf(row);
    const beside = (step) => {
      const other = answer.rows[place + step];
      return place < 0 || other === undefined ? null : address({ sample: rows.ids[other] });
    };
    await maskloom.sample.show(row, {
      back, position: place + 1, total: answer.rows.length, previous: beside(-1), next: beside(1),
    });
    gallery.hidden = true;
  };

  let left = null; // where the gallery was, and on which card, when a sample was opened
  const route = () => {
    const before = asked;
    asked = query.parse(location.hash);
    if (asked.sample) {
      if (!before.sample && !gallery.hidden) left = { scroll: scrollY, row: document.activeElement?.dataset?.row };
      if (before.sample !== asked.sample) scrollTo(0, 0);
      drawSample();
      return;
    }
    maskloom.sample.hide();
    gallery.hidden = false;
    draw();
    if (before.sample && left) {
      scrollTo(0, left.scroll);
      grid.querySelector(`[data-row="${left.row}"]`)?.focus({ preventScroll: true });
    } else if (before.page !== asked.page) {
      scrollTo(0, 0);
    }
  };

  const setView = (chosen) => {
    view = chosen;
    for (const button of at("view").children) button.ariaPressed = String(button.value === view);
    for (const one of grid.querySelectorAll(".card")) if (one.querySelector(".layers")) fill(one);
  };

  // Keys and fingers

  const moveFocus = (key) => {
    const cards = [...grid.querySelectorAll(".card")];
    const now = cards.indexOf(document.activeElement);
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key];
    const next = now < 0 ? 0 : now + step;
    cards[next]?.focus();
    return now >= 0 || key === "ArrowRight";
  };

  const follow = (selector) => {
    const link = document.querySelector(selector);
    if (link?.getAttribute("href")) go(link.getAttribute("href"));
  };

  const inSample = {
    ArrowLeft: () => follow('#sample [aria-label="Previous sample"]'),
    ArrowRight: () => follow('#sample [aria-label="Next sample"]'),
    Escape: () => go(address({ sample: null })),
  };
  const inGallery = {
    "/": () => text.focus(),
    f: () => { at("filters").open = !at("filters").open; if (at("filters").open) side.querySelector("input").focus(); },
    v: () => setView(VIEWS[(VIEWS.indexOf(view) + 1) % VIEWS.length]),
    n: () => follow('.pager [aria-label="Next page"]'),
    p: () => follow('.pager [aria-label="Previous page"]'),
  };

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || at("help").open) return;
    const typing = target.matches("input:not([type=checkbox]), select, textarea");
    if (typing) {
      if (key === "Escape") target.blur();
      return;
    }
    if (key === "?") at("help").showModal();
    else if (asked.sample && inSample[key]) inSample[key]();
    else if (asked.sample && /^[1-9]$/.test(key)) maskloom.sample.chooseLayer(Number(key) - 1);
    else if (!asked.sample && inGallery[key]) inGallery[key]();
    else if (asked.sample || !key.startsWith("Arrow") || !moveFocus(key)) return;
    event.preventDefault();
  });

  let touched = null;
  at("sample").addEventListener("touchstart", ({ changedTouches: [finger], target }) => {
    touched = target.closest(".stage") ? [finger.clientX, finger.clientY] : null;
  }, { passive: true });
  at("sample").addEventListener("touchend", ({ changedTouches: [finger] }) => {
    if (!touched) return;
    const [x, y] = [finger.clientX - touched[0], finger.clientY - touched[1]];
    if (Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) inSample[x < 0 ? "ArrowRight" : "ArrowLeft"]();
  }, { passive: true });

  // Begin

  filters.build(side, change);
  for (const score of maskloom.scores.values()) {
    const label = maskloom.scoreLabel(score.name);
    sort.append(element("option", { value: score.name }, `${label}, lowest first`),
      element("option", { value: `-${score.name}` }, `${label}, highest first`));
  }
  text.addEventListener("input", () => change((one) => { one.text = text.value; }));
  sort.addEventListener("change", () => change((one) => { one.sort = sort.value; }));
  pictured.addEventListener("change", () => change((one) => { one.pictured = pictured.checked; }));
  at("clear").addEventListener("click", () => { history.replaceState(null, "", "#"); text.value = ""; route(); });
  for (const button of at("view").children) button.addEventListener("click", () => setView(button.value));
  document.addEventListener("input", ({ target }) => {
    if (!target.matches(".opacity")) return;
    document.documentElement.style.setProperty("--opacity", target.value / 100);
    for (const slider of document.querySelectorAll(".opacity")) slider.value = target.value;
  });
  at("keys").addEventListener("click", () => at("help").showModal());
  at("filters").open = matchMedia("(min-width: 900px)").matches;
  addEventListener("hashchange", route);

  maskloom.loadTable((all) => {
    complete = all;
    if (all) {
      filters.measure();
      for (const option of [...sort.options]) {
        const score = maskloom.scores.get(option.value.replace(/^-/, ""));
        if (score?.values.every(Number.isNaN)) option.remove();
      }
    }
    loading.value = maskloom.loaded() / about.samples;
    if (asked.sample) {
      if (all || at("sample").hidden) drawSample();
    } else if (all || !answer.key) {
      draw();
    }
  }).catch((error) => { told.textContent = error.message; });
})();
