// Loads how long the stages took when somebody wants to know: that is no part of the report, which
// is the same whenever it is made.
"use strict";

const timings = document.querySelector("#timings");
const said = timings.querySelector("p");

window.maskloomTimings = (run) => {
  said.textContent = `Run of ${run.started}, on ${run.host}.`;
  const body = timings.querySelector("tbody");
  for (const { stage, outcome, seconds } of run.stages) {
    const cells = [stage, outcome, seconds.toFixed(1)].map((text, column) => {
      const cell = document.createElement(column ? "td" : "th");
      cell.textContent = text;
      if (column === 2) cell.className = "number";
      return cell;
    });
    const line = document.createElement("tr");
    line.append(...cells);
    body.append(line);
  }
  timings.querySelector("table").hidden = false;
};

const load = () => {
  const script = document.createElement("script");
  script.src = "../.maskloom/timings.js";
  script.onerror = () => { said.textContent = "No run of the flow is recorded beside this report."; };
  document.head.append(script);
};

if (timings.open) load();  // by a hand that was faster than this script
else timings.addEventListener("toggle", load, { once: true });
