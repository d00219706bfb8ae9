// Sets the chosen appearance before the first paint, so that nothing flashes.
"use strict";
try {
  const theme = localStorage.getItem("rtap-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
