// The query and one of its matches, side by side.

import { byId, element, symbol, terms } from "./element.js";
import { filePicture, largeCrop } from "./pictures.js";
import { clock, origin, rate, verdict } from "./words.js";

const dialog = byId("compare");
let shown = null; // {query, matches, point, index, first, picture}

/** Prepare the dialog.
 *
 * `search` and `remove` are called with an entry, `closed` with the place of the match that was looked at last,
 * if it is another than the first.
 */
export function onCompare({ search, remove, closed }) {
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("compare-close").addEventListener("click", () => dialog.close());
  byId("compare-search").addEventListener("click", () => leave(search));
  byId("compare-remove").addEventListener("click", () => leave(remove));
  dialog.addEventListener("close", () => {
    if (shown.index !== shown.first) closed(shown.index); // else the browser puts the focus back by itself
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
}

function leave(action) {
  const { entry } = shown.matches[shown.index];
  dialog.close();
  action(entry);
}

/** Open the dialog for a match, by its place in the answer. */
export function compare(query, matches, index, { operating_point: point, writable }) {
  shown = { query, matches, point, index, first: index, picture: 0 };
  byId("compare-remove").hidden = !writable;
  drawQuery();
  drawMatch();
  dialog.showModal();
  byId("compare-title").scrollIntoView();
}

function step(by) {
  const index = shown.index + by;
  if (index < 0 || index >= shown.matches.length) return;
  shown.index = index;
  drawMatch();
}

function drawQuery() {
  const { query, picture } = shown;
  const files = query.files ?? [];
  const large = query.files
    ? filePicture(files[picture], `query, ${files[picture].name}`)
    : largeCrop(query, `query, ${query.id}`);
  byId("compare-query").replaceChildren(large);
  byId("compare-query-name").textContent = query.files
    ? files[picture].name
    : named(query.entry ?? { ...query, camera: null, time: null });
  const others = files.length > 1 ? files.map(choice) : [];
  byId("compare-pictures").replaceChildren(...others);
}

function choice(file, index) {
  const label = `Show picture ${index + 1} of the query`;
  const button = element(
    "button",
    { type: "button", "aria-label": label, "aria-pressed": String(index === shown.picture) },
    filePicture(file, ""),
  );
  button.addEventListener("click", () => {
    shown.picture = index;
    drawQuery();
    byId("compare-pictures").querySelectorAll("button")[index].focus();
  });
  return element("li", {}, button);
}

function drawMatch() {
  const { matches, index, point } = shown;
  const match = matches[index];
  byId("compare-title").textContent = `Match ${match.rank} of ${matches.length}`;
  byId("compare-match").replaceChildren(largeCrop(match.entry, `match, ${match.entry.id}`));
  byId("compare-match-name").textContent = named(match.entry);
  drawVerdict(match);
  byId("compare-facts").replaceChildren(...terms(facts(match, point)));
  // Not `disabled`, which would take the focus away from who steps with a button.
  byId("previous").setAttribute("aria-disabled", String(index === 0));
  byId("next").setAttribute("aria-disabled", String(index === matches.length - 1));
}

function drawVerdict(match) {
  const place = byId("compare-verdict");
  place.className = `verdict ${match.same ? "same" : ""}`;
  const words = verdict(match);
  const spoken = element(
    "span",
    { className: "unseen" },
    `match ${match.rank}, ${match.entry.id}, score ${match.score.toFixed(3)}`,
  );
  place.replaceChildren(...(words === "" ? [] : [symbol(match.same ? "same" : "other"), words]), spoken);
}

const named = (entry) => [entry.id, origin(entry)].filter((part) => part !== "").join(" · ");

function facts(match, point) {
  return {
    Score: match.score.toFixed(6),
    Threshold: point
      ? `${point.threshold.toFixed(6)}, for ${rate(point.false_match_rate)}`
      : "none: the bundle has no operating point",
    Seen: apart(shown.query.entry?.time ?? null, match.entry.time),
  };
}

/** Return how long before or after the query a match was seen; null where that is not known. */
function apart(query, match) {
  if (query === null || match === null) return null;
  return `${clock(Math.abs(match - query))} ${match < query ? "before" : "after"} the query`;
}
