// Filters the gallery by verdict and class. Without scripts, everything is shown.
const bar = document.querySelector("#filter");
if (bar) {
  const cards = [...document.querySelectorAll("#gallery > .card")];
  const buttons = [...bar.querySelectorAll("button")];
  const select = bar.querySelector("select");
  const shown = bar.querySelector("output");
  let verdict = "all";
  const apply = () => {
    let count = 0;
    for (const card of cards) {
      const fits = (verdict === "all" || card.dataset.verdict === verdict)
        && (select.value === "" || JSON.parse(card.dataset.names).includes(select.value));
      card.hidden = !fits;
      count += fits;
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.value === verdict));
    }
    shown.textContent = `${count} of ${cards.length} shown`;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => { verdict = button.value; apply(); });
  }
  select.addEventListener("change", apply);
  bar.hidden = false;
  apply();
}
