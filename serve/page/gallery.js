// The gallery: its entries by text and camera, a part at a time.

import { drawEntries } from "./cards.js";
import { byId, element, say } from "./element.js";
import { entries } from "./service.js";
import { count, number } from "./words.js";

const PART = 48;
const PAUSE = 200; // ms without a key before the gallery is asked

const [form, list, more] = [byId("gallery-form"), byId("entry-list"), byId("more")];
let running = null;

let pause = 0;
form.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(showGallery, PAUSE);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  list.querySelector(".card")?.focus();
});
more.addEventListener("click", async () => {
  const first = list.children.length;
  await load(first);
  list.children[first]?.querySelector(".card").focus();
});

/** Show the first part of what is asked for. */
export async function showGallery() {
  await load(0);
}

async function load(offset) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const { text, camera } = form.elements;
  const asked = { text: text.value.trim(), camera: camera.value, offset, limit: PART };
  try {
    const found = await entries(asked, signal);
    if (signal.aborted) return;
    say(byId("gallery-error"), "");
    if (offset === 0) list.replaceChildren();
    drawEntries(list, found.entries);
    more.hidden = list.children.length >= found.total;
    byId("gallery-status").textContent = status(found.total, asked);
  } catch (error) {
    if (!signal.aborted) say(byId("gallery-error"), error.message);
  }
}

function status(total, { text, camera }) {
  const shown = list.children.length;
  if (total === 0) return text || camera ? "No entry is like that" : "The gallery is empty";
  return shown < total ? `${number(shown)} of ${count(total, "entry", "entries")}` : count(total, "entry", "entries");
}

export function showCameraChoice(cameras) {
  const { camera } = form.elements;
  const chosen = camera.value;
  const names = cameras.map(({ name }) => element("option", { value: name }, name));
  camera.replaceChildren(element("option", { value: "" }, "All cameras"), ...names);
  camera.value = cameras.some(({ name }) => name === chosen) ? chosen : "";
}
