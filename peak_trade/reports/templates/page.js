// Behaviour of every page: the theme, sorted tables, copied text, the switch of the code.
(function () {
  "use strict";
  const root = document.documentElement, THEMES = ["auto", "light", "dark"];
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try { const kept = localStorage.getItem("peak_trade-theme"); return THEMES.includes(kept) ? kept : "auto"; } catch { return "auto"; }
  }
  function isDark() { return chosen() === "dark" || (chosen() === "auto" && system.matches); }
  function applyTheme() {
    root.dataset.theme = isDark() ? "dark" : "light";
    peakTrade.redraw();
    const button = document.querySelector(".pt-theme");
    if (button) button.textContent = "Theme: " + chosen();
  }
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

  function reachByKeyboard() {
    for (const block of document.querySelectorAll("pre, table")) if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  }

  root.dataset.theme = isDark() ? "dark" : "light";
  peakTrade.onTheme(isDark);
  system.addEventListener("change", applyTheme);
  window.addEventListener("beforeprint", () => { root.dataset.theme = "light"; peakTrade.print(true); });
  window.addEventListener("afterprint", () => { root.dataset.theme = isDark() ? "dark" : "light"; peakTrade.print(false); });
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
    for (const image of document.querySelectorAll("figure img:not([alt])")) { // Quarto moves the text below the image.
      image.alt = image.closest("figure").querySelector("figcaption")?.textContent.trim() ?? "";
    }
    reachByKeyboard();
    window.addEventListener("resize", reachByKeyboard);
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
