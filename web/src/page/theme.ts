/** Light or dark: as the system has it, unless the visitor says otherwise. */
const KEY = "lightmark-theme";

export function followTheme(button: HTMLElement): void {
  const root = document.documentElement;
  const kept = remembered();
  if (kept) root.dataset.theme = kept;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem(KEY, root.dataset.theme);
    } catch {
      // Nothing may be kept, as in private windows of some browsers: then it holds until the page is left.
    }
  });
}

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
