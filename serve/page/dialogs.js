// What the page asks people: to confirm, to name an entry, to give the token.

import { byId, say } from "./element.js";
import { smallCrop } from "./pictures.js";
import { addEntry, onToken, removeEntry } from "./service.js";
import { count, seconds } from "./words.js";

for (const dialog of document.querySelectorAll("dialog")) {
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
}

/** Show a dialog until its form is sent and `send` succeeds; return what it returned, or undefined if it was closed. */
function ask(name, send) {
  const [dialog, form, error] = [byId(`${name}-dialog`), byId(`${name}-form`), byId(`${name}-error`)];
  say(error, "");
  return new Promise((resolve) => {
    let result;
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        result = await send(form.elements);
        dialog.close();
      } catch (problem) {
        say(error, problem.message);
      }
    };
    const closed = () => {
      if (dialog.open) return; // the event of a closing before, which comes after the dialog was opened again
      dialog.removeEventListener("close", closed);
      resolve(result);
    };
    dialog.addEventListener("close", closed);
    dialog.showModal();
  });
}

/** Add pictures to the gallery, as one entry; return it, or undefined. */
export function askToAdd(files, about) {
  const form = byId("add-form");
  form.reset();
  form.elements.id.value = files[0].name.replace(/\.[^.]*$/, "");
  byId("add-guide").textContent =
    files.length === 1 ? files[0].name : `${count(files.length, "picture")}, together one entry`;
  byId("camera-names").replaceChildren(...about.cameras.map(({ name }) => new Option(name, name)));
  return ask("add", ({ id, camera, time }) =>
    addEntry(files, { id: id.value, camera: camera.value || null, time: seconds(time.value) }),
  );
}

/** Remove an entry if that is confirmed; return whether it was. */
export async function askToRemove(entry) {
  byId("remove-picture").replaceChildren(smallCrop(entry));
  byId("remove-name").textContent = entry.id;
  return (
    (await ask("remove", async () => {
      await removeEntry(entry.id);
      return true;
    })) === true
  );
}

onToken(async (refused) => {
  byId("token-form").reset();
  const answer = ask("token", async ({ token }) => token.value);
  if (refused) say(byId("token-error"), "The service does not take this token; ask whoever runs it");
  const token = await answer;
  if (token === undefined) throw new Error("The service asks for a token; reload this page to give one");
  return token;
});
