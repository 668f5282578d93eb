// The keys of the page, and the list of them.

import { byId, element } from "./element.js";

const LETTERS = "reid-letters";

const help = byId("help");
const letters = byId("letters");

/** Take keys: a list of [key, what it does, action]; without an action, something else acts on the key.
 *
 * An action returns false where the key has no meaning, so that the browser's own stands.
 */
export function onKeys(keys) {
  const actions = new Map(keys.filter(([, , action]) => action).map(([key, , action]) => [key, action]));
  actions.set("?", openHelp);
  const listed = [...keys.map(([key, words]) => [key, words]), ["?", "Show these keys"], ["Esc", "Close what is open"]];
  byId("keys").replaceChildren(...listed.filter(([, words]) => words).map(([key, words]) => row(key, words)));
  byId("open-help").addEventListener("click", openHelp);
  letters.checked = localStorage.getItem(LETTERS) !== "off";
  letters.addEventListener("change", () => localStorage.setItem(LETTERS, letters.checked ? "on" : "off"));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
    if (event.key.length === 1 && !letters.checked) return;
    const action = actions.get(event.key);
    if (action && action(event.key) !== false) event.preventDefault();
  });
}

function row(key, words) {
  const named = key.split(" ").map((one) => element("kbd", {}, one));
  return element("div", {}, element("dt", {}, ...named), element("dd", {}, words));
}

function openHelp() {
  help.showModal();
}
