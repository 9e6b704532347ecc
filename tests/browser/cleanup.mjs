// What a test has begun is ended in the opposite order: the page leaves before its server does.

const steps = new WeakMap();

/** Runs `step` when the test ends, before the steps that were registered earlier. */
export function atEnd(test, step) {
  if (!steps.has(test)) {
    steps.set(test, []);
    test.after(async () => {
      const failures = [];
      for (const one of steps.get(test).reverse()) await Promise.resolve().then(one).catch((error) => failures.push(error));
      if (failures.length > 0) throw failures[0];
    });
  }
  steps.get(test).push(step);
}
