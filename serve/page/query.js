// What is searched for, as the page shows it. A query is {files} or {id, entry}: pictures of a person's own, or an entry
// of the gallery and what is known of it.

import { byId, element, say } from "./element.js";
import { filePicture, smallCrop } from "./pictures.js";
import { count, number } from "./words.js";

export function nameOf({ id, files }) {
  if (id) return id;
  return files.length === 1 ? files[0].name : `${count(files.length, "picture")} of one vehicle`;
}

/** Return why the service will not take these files; "" where nothing is known against them. */
export function refusal(files, limits) {
  if (files.length > limits.pictures) {
    return `${number(files.length)} pictures are too many; take up to ${number(limits.pictures)} of one vehicle`;
  }
  const large = files.find((file) => file.size > limits.bytes);
  return large ? `${large.name} has ${number(large.size)} bytes; take one of up to ${number(limits.bytes)}` : "";
}

/** Draw a query, or with null the guide to one; `change` is called with the files that stay when one is taken out. */
export function drawQuery(query, writable, change) {
  byId("query-title").textContent = query === null ? "Find a vehicle" : "Query";
  byId("choose").textContent = query === null ? "Choose pictures" : "New pictures";
  byId("pictures").hidden = query === null;
  byId("pictures").replaceChildren(...(query === null ? [] : pictures(query, change)));
  say(byId("query-name"), query === null ? "" : nameOf(query));
  byId("add").hidden = !query?.files || !writable;
  byId("remove-query").hidden = !query?.id || !writable;
  byId("filters").hidden = query === null;
}

function pictures(query, change) {
  if (query.id) return [element("li", {}, smallCrop(query))];
  const own = query.files.map((file) => element("li", {}, filePicture(file, file.name), without(query, file, change)));
  const more = button("more", "Add a picture of the same vehicle", "+");
  more.addEventListener("click", () => byId("joiner").click());
  return [...own, element("li", {}, more)];
}

function without(query, file, change) {
  if (query.files.length === 1) return null;
  const made = button("without", `Take ${file.name} out of the query`, "×");
  made.addEventListener("click", () => change(query.files.filter((other) => other !== file)));
  return made;
}

function button(className, label, sign) {
  return element("button", { type: "button", className, "aria-label": label, title: label }, sign);
}
