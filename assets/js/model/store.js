// A store: one state, one function that changes it, and who wants to know.

/**
 * @template S, A
 * @param {(state: S, action: A) => S} reduce
 * @param {S} first
 */
export function createStore(reduce, first) {
  let state = first;
  /** @type {Set<(state: S) => void>} */
  const listeners = new Set();
  return {
    get: () => state,
    /** @param {A} action */
    dispatch(action) {
      const next = reduce(state, action);
      if (next === state) return;
      state = next;
      for (const fn of listeners) fn(state);
    },
    /** @param {(state: S) => void} fn */
    subscribe(fn) {
      listeners.add(fn);
      return () => void listeners.delete(fn);
    },
  };
}
