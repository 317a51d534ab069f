// What the browser keeps for a page. Where it blocks site data, or has no room, it keeps nothing and the page goes on.

/** Something kept, or null; `kind` is "localStorage" or "sessionStorage". */
export function recall(kind, key) {
  try {
    return window[kind].getItem(key);
  } catch {
    return null;
  }
}

/** Keeps a text; null is forgotten. */
export function keep(kind, key, text) {
  try {
    if (text === null) window[kind].removeItem(key);
    else window[kind].setItem(key, text);
  } catch {}  // whoever keeps it knows it anyway, until the page is closed
}

/** The token of this service: `mien serve` prints an address with it behind #, which a browser never sends. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    keep("sessionStorage", "token", given);
    history.replaceState(null, "", location.pathname);
  }
  return given ?? recall("sessionStorage", "token");
}
