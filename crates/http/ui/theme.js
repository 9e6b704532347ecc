// Light or dark: the system's choice until the reader makes one. A classic script in the head, so that the first paint has
// the right colours; the button is bound by app.js.

(() => {
  const KEY = 'tokenwire.theme';
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const current = () => root.dataset.theme ?? (dark.matches ? 'dark' : 'light');

  try {
    const chosen = localStorage.getItem(KEY);
    if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;
  } catch {
    // No storage: the system's choice it is.
  }

  globalThis.theme = {
    current,
    /** The other one from now on. What the system wants anyway is not kept as a choice. */
    toggle() {
      const next = current() === 'dark' ? 'light' : 'dark';
      const isSystems = next === (dark.matches ? 'dark' : 'light');
      if (isSystems) delete root.dataset.theme;
      else root.dataset.theme = next;
      try {
        if (isSystems) localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, next);
      } catch {
        // It holds for this page.
      }
    },
    onChange(call) {
      dark.addEventListener('change', call);
    },
  };
})();
