// The charts of the status page, and the links of `storesync login-url`. Everything else of the console works without a script.
"use strict";
(function () {
  // What a link carries stands behind the #, which no browser sends to a server: it is posted as if it was typed.
  const token = document.querySelector("form[action='/login'] input[name='token']");
  const link = location.hash.slice(1);
  if (!token || !link) return;
  history.replaceState(null, "", location.pathname);
  token.value = link;
  token.form.submit();
})();
(function () {
  const charts = document.querySelectorAll("figure[data-chart]");
  const pause = document.querySelector("button[data-pause]");
  if (!charts.length || !pause) return;
  const KEPT = 150;
  const series = {};
  let before = null;
  let paused = false;

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause charts";
  });

  function draw(figure, values) {
    const svg = figure.querySelector("svg");
    const line = figure.querySelector("polyline");
    const most = Math.max(1, ...values);
    const points = values.map((value, at) => {
      const x = (at / (KEPT - 1)) * 300;
      return x.toFixed(1) + "," + (96 - (value / most) * 92).toFixed(1);
    });
    line.setAttribute("points", points.join(" "));
    const now = values[values.length - 1];
    const shown = Number.isInteger(now) ? String(now) : now.toFixed(1);
    figure.querySelector("output").textContent = shown + " " + figure.dataset.unit;
    svg.setAttribute("aria-label", figure.dataset.chart + ": now " + shown + ", at most " + most.toFixed(0));
  }

  async function look() {
    if (paused || document.hidden) return;
    let pulse;
    try {
      const answer = await fetch("/console/pulse", { cache: "no-store" });
      if (!answer.ok) return;
      pulse = await answer.json();
    } catch {
      return;
    }
    const seconds = before ? (pulse.at - before.at) / 1000 : 0;
    const now = {
      lag: pulse.lag_seconds === null ? 0 : pulse.lag_seconds,
      rate: before && seconds > 0 ? Math.max(0, (pulse.rev - before.rev) / seconds) : 0,
      outbox: pulse.outbox,
    };
    before = pulse;
    for (const figure of charts) {
      const name = figure.dataset.name;
      const values = (series[name] = series[name] || []);
      values.push(now[name]);
      if (values.length > KEPT) values.shift();
      draw(figure, values);
    }
    document.body.dataset.pulses = String(Number(document.body.dataset.pulses || 0) + 1);
  }

  look();
  setInterval(look, 2000);
})();
