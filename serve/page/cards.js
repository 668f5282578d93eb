// Lists of crops: the ranked matches, the gallery's entries, and how the keyboard moves among them.

import { element, symbol } from "./element.js";
import { smallCrop } from "./pictures.js";
import { count, origin, rate, score, verdict } from "./words.js";

const shown = new WeakMap(); // the entry of each item

/** Draw ranked matches, with a line before the first that does not reach the threshold. */
export function drawMatches(list, found, point) {
  const items = found.map((match) => item(match.entry, head(match), match.same));
  const first = found.findIndex((match) => match.same === false);
  if (first >= 0 && point) items.splice(first, 0, line(first, point));
  list.replaceChildren(...items);
}

export function drawEntries(list, entries) {
  list.append(...entries.map((entry) => item(entry, [], null)));
}

function item(entry, lines, same) {
  const frames = (entry.frames ?? 1) > 1 ? element("span", {}, count(entry.frames, "frame")) : null;
  const seen = element("span", { className: "origin" }, origin(entry));
  const name = element("span", { className: "name" }, entry.id);
  const card = element("button", { type: "button", className: "card" }, smallCrop(entry), ...lines, seen, frames, name);
  const made = element("li", { className: same ? "same" : "" }, card, lines.length > 0 ? again(entry) : null);
  shown.set(made, entry);
  return made;
}

/** Return the entry whose item on a list an element is in; undefined for none. */
export const entryAt = (target) => shown.get(target.closest("li"));

function head(match) {
  const ranked = element(
    "span",
    { className: "rank" },
    element("i", {}, String(match.rank)),
    element("b", {}, score(match.score)),
  );
  const decided = verdict(match);
  if (decided === "") return [ranked];
  return [ranked, element("span", { className: "verdict" }, symbol(match.same ? "same" : "other"), decided)];
}

function again(entry) {
  const label = `Search with ${entry.id}`;
  return element(
    "button",
    { type: "button", className: "again", "aria-label": label, title: "Search with this one" },
    symbol("search"),
  );
}

function line(above, point) {
  const none = above === 0 ? "No match is the same vehicle. " : "";
  const words = `${none}Below ${score(point.threshold)}, the threshold for ${rate(point.false_match_rate)}`;
  return element("li", { className: "threshold" }, words);
}

const cardsOf = (list) => [...list.querySelectorAll(".card")];

/** Return the place in its list of the card that has the focus, or that is around what has it; -1 for none. */
export function focused(list) {
  return cardsOf(list).indexOf(document.activeElement.closest("li")?.querySelector(".card"));
}

export function focusCard(list, index) {
  const cards = cardsOf(list);
  cards[Math.min(index, cards.length - 1)]?.focus();
}

/** Move the focus by an arrow key, by Home or by End; return whether it moved. */
export function move(list, key) {
  const cards = cardsOf(list);
  const next = cards[target(cards, focused(list), key)];
  next?.focus();
  return next !== undefined;
}

function target(cards, at, key) {
  if (at < 0) return key === "ArrowRight" ? 0 : -1;
  switch (key) {
    case "ArrowLeft":
      return at - 1;
    case "ArrowRight":
      return at + 1;
    case "Home":
      return 0;
    case "End":
      return cards.length - 1;
    case "ArrowUp":
      return nearest(cards, at, -1);
    default:
      return nearest(cards, at, 1);
  }
}

/** Return the card in the next row up or down that is nearest to the same column. */
function nearest(cards, at, step) {
  const boxes = cards.map((card) => card.getBoundingClientRect());
  let best = -1;
  for (let index = at + step; boxes[index]; index += step) {
    if (Math.abs(boxes[index].top - boxes[at].top) < 1) continue;
    if (best >= 0 && Math.abs(boxes[index].top - boxes[best].top) >= 1) break;
    const nearer =
      best < 0 || Math.abs(boxes[index].left - boxes[at].left) < Math.abs(boxes[best].left - boxes[at].left);
    if (nearer) best = index;
  }
  return best;
}
