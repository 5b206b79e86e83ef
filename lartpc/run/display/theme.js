"use strict";
// Dark or light as the reader's system says, until the button is pressed; what is drawn is drawn again.
function followTheme(redraw) {
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (dark) => { root.dataset.theme = dark ? "dark" : "light"; };
  setTheme(prefersDark.matches);
  prefersDark.addEventListener("change", (change) => { setTheme(change.matches); redraw(); });
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(root.dataset.theme !== "dark");
    redraw();
  });
}
