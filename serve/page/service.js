// Calls to the service: with the token where there is one, and its errors as lines for people.

const TOKEN = "reid-token";
const KEPT = 300; // pictures of entries in memory

let askForToken = null;
let asked = null;

/** Say how a person is asked for the token: a function of whether one was refused, to a promise of a token. */
export function onToken(ask) {
  askForToken = ask;
}

/** Call the service; return its response, or throw an Error with one line. */
export async function call(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const response = await send(path, token, options);
    if (response.ok) return response;
    if (response.status !== 401) throw new Error(await reason(response));
    if (sessionStorage.getItem(TOKEN) !== token) continue; // another call has been given a token meanwhile
    asked ??= askForToken(token !== null).finally(() => (asked = null));
    sessionStorage.setItem(TOKEN, await asked);
  }
}

async function send(path, token, options) {
  try {
    return await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer; see whether it still runs, then try again");
  }
}

async function reason(response) {
  const fallback = `The service answered ${response.status}; its log says more`;
  try {
    return (await response.json()).error ?? fallback;
  } catch {
    return fallback;
  }
}

export const about = async () => (await call("v1/about")).json();

/** Return a part of the gallery's entries: those of a camera ("" for all) with a text in their id. */
export async function entries({ text, camera, offset, limit }, signal) {
  const asked = new URLSearchParams({ offset, limit });
  if (text) asked.set("text", text);
  if (camera) asked.set("camera", camera);
  return (await call(`v1/entries?${asked}`, { signal })).json();
}

/** Return the facts about one entry, or null where it is not among the first that hold its id. */
export async function entry(id) {
  const found = await entries({ text: id, camera: "", offset: 0, limit: 50 });
  return found.entries.find((one) => one.id === id) ?? null;
}

/** Ask with pictures or with an entry. */
export async function matches(query, filters, signal) {
  const asked = filters.parameters(query);
  if (!query.files) {
    asked.set("entry", query.id);
    return (await call(`v1/matches?${asked}`, { signal })).json();
  }
  return (await call(`v1/queries?${asked}`, { method: "POST", body: form(query.files), signal })).json();
}

export async function addEntry(files, fields) {
  const body = form(files);
  for (const [name, value] of Object.entries(fields)) if (value !== null) body.append(name, value);
  return (await call("v1/entries", { method: "POST", body })).json();
}

export async function removeEntry(id) {
  await call(`v1/entries?${new URLSearchParams({ entry: id })}`, { method: "DELETE" });
  for (const key of [...crops.keys()]) if (key.endsWith(` ${id}`)) crops.delete(key);
}

function form(files) {
  const body = new FormData();
  for (const file of files) body.append("pictures", file, file.name);
  return body;
}

const crops = new Map();

/** Return a promise of a URL of an entry's crop; an <img> cannot send the token by itself. */
export function crop(id, height) {
  const key = `${height} ${id}`;
  const url =
    crops.get(key) ??
    call(`v1/picture?${new URLSearchParams({ entry: id, height })}`)
      .then((response) => response.blob())
      .then((blob) => URL.createObjectURL(blob));
  crops.delete(key);
  crops.set(key, url);
  url.catch(() => crops.delete(key));
  if (crops.size > KEPT) forgetOldest();
  return url;
}

function forgetOldest() {
  const [key, url] = crops.entries().next().value;
  crops.delete(key);
  url.then(URL.revokeObjectURL, () => {});
}
