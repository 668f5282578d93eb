// The page of reid-serve: what is asked, what was answered, and what happens next.

import { drawMatches, entryAt, focusCard, focused, move } from "./cards.js";
import { compare, onCompare } from "./compare.js";
import { askToAdd, askToRemove } from "./dialogs.js";
import { byId, element, say, terms } from "./element.js";
import { Filters, onFilters, showFilters } from "./filters.js";
import { showCameraChoice, showGallery } from "./gallery.js";
import { onPictures } from "./intake.js";
import { onKeys } from "./keys.js";
import { drawQuery, nameOf, refusal } from "./query.js";
import { about, entry as entryNamed, matches as ask } from "./service.js";
import { count, number, rate, score } from "./words.js";

const UNKNOWN = {
  entries: 0,
  cameras: [],
  first_time: null,
  last_time: null,
  operating_point: null,
  writable: false,
  limits: { pictures: Infinity, bytes: Infinity },
};

const page = { about: UNKNOWN, query: null, filters: new Filters(), answer: null };
const asked = new Map(); // queries with pictures by their number in the history, which cannot hold files
let running = null;

const matchList = byId("match-list");
const entryList = byId("entry-list");

// Where we are

function address() {
  const said = page.filters.address();
  if (page.query?.id) said.set("entry", page.query.id);
  return said.size > 0 ? `?${said}` : location.pathname;
}

function remember() {
  if (!page.query?.files) return null;
  const number = asked.size + 1;
  asked.set(number, page.query);
  return { pictures: number };
}

/** Go to a query, or home with null. */
async function go(query) {
  page.query = query;
  if (query === null) page.filters = new Filters();
  history.pushState(remember(), "", address());
  scrollTo(0, 0);
  await show("query");
}

/** Show what the address says, at the start and after back and forward. */
async function follow() {
  const said = new URLSearchParams(location.search);
  const id = said.get("entry");
  page.filters = Filters.read(said);
  page.query = id === null ? (asked.get(history.state?.pictures) ?? null) : { id, entry: null };
  await show("query");
}

async function show(cause) {
  running?.abort();
  document.body.dataset.view = page.query === null ? "home" : "matches";
  document.title = page.query === null ? "reid" : `${nameOf(page.query)} - reid`;
  for (const place of ["query-error", "filter-error", "left-out"]) say(byId(place), "");
  page.answer = null;
  matchList.replaceChildren(); // they are another query's
  drawPage();
  if (page.about === UNKNOWN && !(await learn())) return;
  if (page.query === null) await showGallery();
  else await search(cause);
}

/** Ask what the service is and holds; return whether it answered. */
async function learn() {
  try {
    page.about = await about();
  } catch (error) {
    say(byId(page.query === null ? "gallery-error" : "query-error"), error.message);
    return false;
  }
  showCameraChoice(page.about.cameras);
  drawFacts(page.about);
  drawPage();
  return true;
}

function drawFacts(facts) {
  const point = facts.operating_point;
  byId("facts").replaceChildren(
    ...terms({
      Gallery: `${count(facts.entries, "entry", "entries")}, ${count(facts.cameras.length, "camera")}`,
      Model: `${facts.model.slice(0, 12)}, ${facts.precision}`,
      Session: facts.session,
      "Same vehicle": point
        ? `from ${score(point.threshold)}: ${rate(point.false_match_rate)}`
        : "not decided: no operating point",
    }),
  );
}

// The query

function drawPage() {
  drawQuery(page.query, page.about.writable, (files) => go({ files }));
  showFilters(page.filters, page.about, page.query);
}

function take(files) {
  const line = refusal(files, page.about.limits);
  if (line) refuse(line);
  else go({ files });
}

function refuse(line) {
  say(byId("query-error"), line);
}

// The answer

/** Ask the service; an error is shown at its cause: the query, or the filters. */
async function search(cause) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const { query, filters } = page;
  byId("matches").setAttribute("aria-busy", "true");
  byId("status").textContent = "Searching";
  try {
    if (query.id && query.entry === null) query.entry = await entryNamed(query.id);
    showFilters(filters, page.about, query);
    const answer = await ask(query, filters, signal);
    if (!signal.aborted) draw(answer);
  } catch (error) {
    if (signal.aborted) return;
    page.answer = null;
    matchList.replaceChildren();
    byId("status").textContent = "";
    say(byId(`${cause}-error`), error.message);
  }
  if (!signal.aborted) byId("matches").removeAttribute("aria-busy");
}

function draw(answer) {
  page.answer = answer;
  drawMatches(matchList, answer.matches, page.about.operating_point);
  byId("status").textContent = status(answer);
  say(byId("left-out"), "");
  if (answer.left_out.length > 0) {
    const lines = answer.left_out.map(({ picture, reason }) =>
      element("li", {}, element("b", {}, picture), `: ${reason}`),
    );
    byId("left-out").append(
      `${count(answer.left_out.length, "picture was", "pictures were")} left out`,
      element("ul", {}, ...lines),
    );
    byId("left-out").hidden = false;
  }
}

function status({ matches, milliseconds }) {
  if (matches.length === 0)
    return page.filters.length > 0 ? "No entry passes the filters" : "The gallery has nothing to match";
  const same = matches.filter((match) => match.same).length;
  const decided = page.about.operating_point ? `, ${number(same)} of the same vehicle` : "";
  return `${count(matches.length, "match", "matches")}${decided}, in ${number(Math.round(milliseconds * 10) / 10)} ms`;
}

// What people do

const searchWith = async (entry) => {
  await go({ id: entry.id, entry });
  byId("matches-title").focus({ preventScroll: true });
};

/** Call a function with the entry whose crop has the focus; return false where none has. */
function withFocused(action) {
  const entry = entryAt(document.activeElement);
  if (entry === undefined) return false;
  action(entry);
  return true;
}

async function remove(entry) {
  const list = page.query === null ? entryList : matchList;
  const index = Math.max(0, focused(list));
  if (!page.about.writable || !(await askToRemove(entry))) return;
  notify(`${entry.id} was removed from the gallery`);
  await learn();
  if (page.query?.id === entry.id) return void (await go(null));
  await (page.query === null ? showGallery() : search("query"));
  focusCard(list, index);
}

async function add() {
  const { query } = page;
  if (!query?.files || !page.about.writable) return;
  const added = await askToAdd(query.files, page.about);
  if (added === undefined) return;
  notify(`${added.id} was added to the gallery`);
  await learn();
  await search("query");
}

let hush = 0;
function notify(line) {
  clearTimeout(hush);
  byId("notice").textContent = line;
  hush = setTimeout(() => (byId("notice").textContent = ""), 8000);
}

matchList.addEventListener("click", ({ target }) => {
  const entry = entryAt(target);
  if (target.closest(".again")) searchWith(entry);
  else if (target.closest(".card"))
    compare(
      page.query,
      page.answer.matches,
      page.answer.matches.findIndex((match) => match.entry === entry),
      page.about,
    );
});
entryList.addEventListener("click", ({ target }) => {
  if (target.closest(".card")) searchWith(entryAt(target));
});

onCompare({
  search: searchWith,
  remove,
  closed: (index) => focusCard(matchList, index),
});
onPictures(
  {
    chooser: take,
    camera: take,
    joiner: (files) => take([...page.query.files, ...files]),
    page: take,
  },
  refuse,
);
onFilters((filters) => {
  page.filters = filters;
  history.replaceState(history.state, "", address());
  say(byId("query-error"), "");
  search("filter");
});
byId("choose").addEventListener("click", () => byId("chooser").click());
byId("take").addEventListener("click", () => byId("camera").click());
byId("add").addEventListener("click", add);
byId("remove-query").addEventListener("click", () => remove(page.query));
byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  go(null);
});

const moves = (key) => move(page.query === null ? entryList : matchList, key);
onKeys([
  ["o", "Choose pictures", () => byId("chooser").click()],
  ["Ctrl+V", "Paste pictures"],
  [
    "/",
    "Look for an entry of the gallery",
    async () => {
      if (page.query !== null) await go(null);
      byId("gallery-form").elements.text.focus();
    },
  ],
  ["f", "Filter the matches", () => page.query !== null && openFilters()],
  ["← → ↑ ↓", "Move from crop to crop; in the comparison, from match to match"],
  ...["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].map((key) => [key, "", moves]),
  ["Enter", "Compare a match with the query; search with an entry"],
  ["s", "Search with the crop in focus", () => withFocused(searchWith)],
  ["a", "Add the query to the gallery", () => void add()],
  ["Delete", "Remove the crop in focus from the gallery", () => withFocused(remove)],
  ["Alt+←", "Back to the query before"],
]);

function openFilters() {
  byId("filters").open = true;
  byId("filters").querySelector("input").focus();
}

byId("filters").open = matchMedia("(min-width: 800px)").matches;
addEventListener("popstate", follow);
follow();
