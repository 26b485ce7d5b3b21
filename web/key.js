// The API key: in this tab's session, or kept on the device where the user wants that.
import { askIn, el } from "./dom.js";

const kName = "qwill.api_key";

export function apiKey() {
  try {
    return sessionStorage.getItem(kName) ?? localStorage.getItem(kName) ?? "";
  } catch {
    return memory;
  }
}
let memory = "";

export function keyIsKept() {
  try {
    return localStorage.getItem(kName) !== null;
  } catch {
    return false;
  }
}

export function setApiKey(key, keep) {
  memory = key;
  try {
    sessionStorage.removeItem(kName);
    localStorage.removeItem(kName);
    if (key) (keep ? localStorage : sessionStorage).setItem(kName, key);
  } catch {
    // Without storage the key lasts as long as the page.
  }
}

let asking = null;

// Asks for a key, once for all requests that want one meanwhile. False if the user gives up.
export function askForKey(reason) {
  asking ??= openDialog(reason).finally(() => (asking = null));
  return asking;
}

async function openDialog(reason) {
  const key = el("input", { type: "password", id: "key-input", autocomplete: "off", spellcheck: "false", required: true });
  const keep = el("input", { type: "checkbox", id: "key-keep" });
  key.value = apiKey();
  keep.checked = keyIsKept();
  const dialog = el(
    "dialog",
    { class: "small", id: "key-dialog", "aria-labelledby": "key-title" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "key-title" }, "API key"),
      el("p", {}, reason),
      el("label", { for: "key-input" }, "Key", key),
      el("label", { class: "check", for: "key-keep" }, keep, "Keep on this device"),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", onclick: () => dialog.close("cancel") }, "Cancel"),
        el("button", { value: "yes", class: "primary" }, "Use key"),
      ),
    ),
  );
  const answered = askIn(dialog);
  key.select();
  if ((await answered) !== "yes") return false;
  setApiKey(key.value.trim(), keep.checked);
  return true;
}
