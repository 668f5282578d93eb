// Elements made from values. Text is only ever text: nothing here, or on this page, parses HTML.

export const byId = (id) => document.getElementById(id);

/** Return a new element; names with a dash, and "role", are attributes, all others properties. */
export function element(name, values = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(values)) {
    if (key === "role" || key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Return a drawing: one of the page's symbols. */
export function symbol(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${name}`);
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("class", "symbol");
  drawing.append(use);
  return drawing;
}

/** Return the children of a <dl> for names and values; those without a value are left out. */
export function terms(facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== "");
  return known.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
}

/** Show a line of text in an element that is hidden while it has none. */
export function say(place, text) {
  place.textContent = text;
  place.hidden = text === "";
}
