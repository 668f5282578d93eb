// Pictures on the page: crops of the gallery, fetched when they come into sight, and a person's own files.

import { element } from "./element.js";
import { crop } from "./service.js";

const SMALL = 256; // pixels of height, for a card on a dense screen
const LARGE = 512;

const waiting = new WeakMap();
const sight = new IntersectionObserver(
  (seen) => {
    for (const { target } of seen.filter((one) => one.isIntersecting)) {
      sight.unobserve(target);
      show(target, waiting.get(target)());
    }
  },
  { rootMargin: "300px" },
);

async function show(frame, url) {
  const picture = frame.querySelector("img");
  try {
    picture.src = await url;
    await picture.decode();
    frame.classList.add("shown");
  } catch (error) {
    picture.replaceWith(element("span", { className: "gone", title: error.message }, "no picture"));
  }
}

function frame(alt) {
  return element("span", { className: "frame" }, element("img", { alt, draggable: false }));
}

/** Return a small picture of an entry, without a description: what is around it has its name. */
export function smallCrop(entry) {
  const made = frame("");
  waiting.set(made, () => crop(entry.id, SMALL));
  sight.observe(made);
  return made;
}

export function largeCrop(entry, alt) {
  const made = frame(alt);
  show(made, crop(entry.id, LARGE));
  return made;
}

const urls = new WeakMap();

/** Return a picture of a file; its URL lives as long as the page, which may go back to it. */
export function filePicture(file, alt) {
  const made = frame(alt);
  if (!urls.has(file)) urls.set(file, URL.createObjectURL(file));
  show(made, urls.get(file));
  return made;
}
