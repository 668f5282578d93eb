// Which entries may match, and how many are shown: as a value, in the address, and as a form.

import { byId, element, say } from "./element.js";
import { clock, number, seconds } from "./words.js";

const SHOWN = 20;

export class Filters {
  constructor({ cameras = [], otherCameras = false, after = null, before = null, k = SHOWN } = {}) {
    Object.assign(this, { cameras, otherCameras, after, before, k });
  }

  /** Read what `address` wrote; what is not a number there counts as absent. */
  static read(asked) {
    const value = (name) =>
      asked.get(name) && Number.isFinite(Number(asked.get(name))) ? Number(asked.get(name)) : null;
    return new Filters({
      cameras: asked.getAll("camera"),
      otherCameras: asked.has("other_cameras"),
      after: value("after"),
      before: value("before"),
      k: Math.min(100, Math.max(1, Math.round(value("k") ?? SHOWN))),
    });
  }

  /** Return the part of the page's address that says these filters. */
  address() {
    const said = this.#common();
    if (this.k !== SHOWN) said.set("k", this.k);
    if (this.otherCameras) said.set("other_cameras", "1");
    return said;
  }

  /** Return the parameters with which the service is asked. */
  parameters(query) {
    const said = this.#common();
    said.set("k", this.k);
    const own = query.entry?.camera ?? null;
    if (this.otherCameras && own !== null) said.set("not_camera", own);
    return said;
  }

  #common() {
    const said = new URLSearchParams();
    for (const camera of this.cameras) said.append("camera", camera);
    if (this.after !== null) said.set("after", this.after);
    if (this.before !== null) said.set("before", this.before);
    return said;
  }

  /** The number of filters that leave entries out. */
  get length() {
    return (
      Number(this.cameras.length > 0) + Number(this.otherCameras) + Number(this.after !== null || this.before !== null)
    );
  }
}

const form = byId("filter-form");

/** Call a function with new filters whenever a person changes them. */
export function onFilters(changed) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    try {
      const filters = read();
      say(byId("filter-error"), "");
      changed(filters);
    } catch (error) {
      say(byId("filter-error"), error.message);
    }
  });
  byId("clear-filters").addEventListener("click", () => {
    changed(new Filters({ k: read().k }));
    byId("filters").querySelector("summary").focus();
  });
}

function read() {
  const { own, after, before, k } = form.elements;
  if (!k.checkValidity()) throw new Error(`'${k.value}' is not a number of matches; write one from 1 to 100`);
  const [from, to] = [seconds(after.value), seconds(before.value)];
  if (from !== null && to !== null && from > to)
    throw new Error(`${after.value} is after ${before.value}; exchange the two`);
  const cameras = [...form.querySelectorAll("[name=camera]:checked")].map((box) => box.value);
  return new Filters({ cameras, otherCameras: own.checked, after: from, before: to, k: Number(k.value) });
}

/** Show filters in the form, beside what there is to choose from. */
export function showFilters(filters, about, query) {
  const { own, after, before, k } = form.elements;
  showCameras(filters, about.cameras);
  const camera = query?.entry?.camera ?? null;
  say(byId("own-camera").querySelector("span"), camera === null ? "" : `Leave out ${camera}, where the query is from`);
  byId("own-camera").hidden = camera === null;
  own.checked = filters.otherCameras;
  after.value = filters.after === null ? "" : clock(filters.after);
  before.value = filters.before === null ? "" : clock(filters.before);
  k.value = filters.k;
  byId("time-field").hidden = about.first_time === null;
  if (about.first_time !== null) {
    byId("time-hint").textContent = `There are entries from ${clock(about.first_time)} to ${clock(about.last_time)}`;
  }
  byId("filter-count").textContent = filters.length === 0 ? "" : `${number(filters.length)} in use`;
  byId("clear-filters").hidden = filters.length === 0;
}

function showCameras(filters, cameras) {
  const boxes = cameras.map(({ name, entries }) => {
    const box = element("input", {
      type: "checkbox",
      name: "camera",
      value: name,
      checked: filters.cameras.includes(name),
    });
    return element("label", {}, box, element("span", {}, name, " ", element("i", {}, number(entries))));
  });
  const chosen = document.activeElement.name === "camera" ? document.activeElement.value : null;
  byId("cameras").replaceChildren(...boxes);
  byId("camera-field").hidden = cameras.length === 0;
  if (chosen !== null) boxes.find((box) => box.firstChild.value === chosen)?.firstChild.focus();
}
