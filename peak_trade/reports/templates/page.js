// Behaviour of every page: the theme, charts in the colours of the theme, sorted tables, copied text, the switch of the code.
(function () {
  "use strict";
  const root = document.documentElement, charts = [], THEMES = ["auto", "light", "dark"];
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  // The palette of the figures, light and dark; see reports/views/drawing.py and reports/styles/site.css.
  const DARK = {"#1d5b9b": "#6db0f2", "#b54e0a": "#f2944a", "#6b757c": "#9aa6ae", "#9c1420": "#ff8576", "#3c8f87": "#2eeccb", "#162361": "#4d61c5", "#c771e9": "#efde3d", "#76393c": "#7b6f0c", "#434c53": "#b8c2c8", "#e6e9e7": "#262e34", "#ffffff": "#161b1f", "rgba(156,20,32,0.18)": "rgba(255,133,118,0.25)"};

  function chosen() {
    try { const kept = localStorage.getItem("peak_trade-theme"); return THEMES.includes(kept) ? kept : "auto"; } catch { return "auto"; }
  }
  function isDark() { return !printing && (chosen() === "dark" || (chosen() === "auto" && system.matches)); }
  function themed(part) {
    let text = JSON.stringify(part);
    if (isDark()) for (const [light, dark] of Object.entries(DARK)) text = text.replaceAll(light, dark);
    return JSON.parse(text);
  }
  function applyTheme() {
    root.dataset.theme = isDark() ? "dark" : "light";
    for (const chart of charts) Plotly.react(chart.id, themed(chart.data), themed(chart.layout));
    const button = document.querySelector(".pt-theme");
    if (button) button.textContent = "Theme: " + chosen();
  }
  window.peakTrade = {
    draw(id, data, layout) {
      charts.push({id, data, layout});
      Plotly.newPlot(id, themed(data), themed(layout), {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: {filename: id, scale: 2}});
    },
  };

  function amount(text) {
    const plain = text.replace(/\u2212/g, "-").replace(/[,\u00a0 ]/g, "").match(/^[-+]?\d*\.?\d+(?:e[-+]?\d+)?/i);
    return plain ? Number(plain[0]) : null;
  }
  function sortBy(table, column, direction) {
    const body = table.tBodies[0], rows = Array.from(body.rows);
    const key = (row) => row.cells[column].textContent.trim();
    const numeric = table.tHead.rows[0].cells[column].matches(".pt-float, .pt-int");
    const compare = (one, other) => numeric ? (amount(one) ?? -Infinity) - (amount(other) ?? -Infinity) : one.localeCompare(other);
    rows.sort((one, other) => direction * compare(key(one), key(other)));
    body.append(...rows);
  }
  function makeSortable(table) {
    for (const [column, head] of Array.from(table.tHead.rows[0].cells).entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        sortBy(table, column, direction);
      });
    }
  }

  root.dataset.theme = isDark() ? "dark" : "light";
  system.addEventListener("change", applyTheme);
  window.addEventListener("beforeprint", () => { printing = true; applyTheme(); });
  window.addEventListener("afterprint", () => { printing = false; applyTheme(); });
  document.addEventListener("DOMContentLoaded", () => {
    const theme = document.createElement("button");
    theme.type = "button";
    theme.className = "pt-button pt-theme";
    theme.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length];
      try { localStorage.setItem("peak_trade-theme", next); } catch { /* A page that is opened from a file may have no storage. */ }
      applyTheme();
    });
    document.body.append(theme);
    theme.textContent = "Theme: " + chosen();
    document.querySelectorAll(".pt-table table[data-sort]").forEach(makeSortable);
    for (const box of document.querySelectorAll(".pt-table")) if (!box.hasAttribute("tabindex")) box.tabIndex = 0;
    document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
      navigator.clipboard.writeText(button.dataset.copy).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select the text instead"; });
    }));
    const code = document.querySelector("[data-code]");
    if (code) {
      document.body.classList.add("pt-report");
      code.addEventListener("click", () => {
        const shown = document.body.classList.toggle("pt-code");
        code.setAttribute("aria-pressed", String(shown));
        code.textContent = shown ? "Hide code" : "Show code";
      });
    }
  });
})();
