// Light, dark, or as the system says. Loaded before the page is drawn, so that it does not flash in the other colours.
(() => {
  const kNext = { system: "light", light: "dark", dark: "system" };
  const kLabel = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };

  const read = () => {
    try {
      return localStorage.getItem("qwill.theme") ?? "system";
    } catch {
      return "system";
    }
  };

  const apply = (theme) => {
    document.documentElement.dataset.theme = theme in kNext ? theme : "system";
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.setAttribute("aria-label", kLabel[document.documentElement.dataset.theme]);
      button.title = kLabel[document.documentElement.dataset.theme];
    }
  };

  apply(read());
  addEventListener("DOMContentLoaded", () => {
    apply(read());
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.addEventListener("click", () => {
        const theme = kNext[document.documentElement.dataset.theme];
        try {
          localStorage.setItem("qwill.theme", theme);
        } catch {
          // Without storage the choice lasts as long as the page.
        }
        apply(theme);
      });
    }
  });
  addEventListener("storage", (event) => event.key === "qwill.theme" && apply(read()));
})();
