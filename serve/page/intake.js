// How pictures come in: dropped anywhere, pasted, chosen, or taken with a phone's camera.

import { byId } from "./element.js";

const overlay = byId("drop");
const busy = () => document.querySelector("dialog[open]") !== null;
const holdsFiles = (event) => event.dataTransfer.types.includes("Files");

/** Call functions with files as they come.
 *
 * There is one for each input, by its id, and `page` for what is dropped or pasted. `refuse` is called with a
 * line about what cannot be taken.
 */
export function onPictures({ page: take, ...inputs }, refuse) {
  for (const [id, chosen] of Object.entries(inputs)) {
    const input = byId(id);
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // so that choosing the same file again is a change
      if (files.length > 0) chosen(files);
    });
  }
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length > 0 && !busy()) take(files);
  });
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      overlay.hidden = busy();
    });
  }
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault(); // or the browser leaves the page for the file
    if (busy()) return;
    const folder = [...event.dataTransfer.items]
      .map((item) => item.webkitGetAsEntry())
      .find((entry) => entry?.isDirectory);
    if (folder) refuse(`${folder.name} is a folder; drop the pictures in it`);
    else take([...event.dataTransfer.files]);
  });
}
