// Elements, icons, notices and menus. Nothing here or elsewhere parses HTML: a text is always a text node.

// el("a", {class: "x", href, onclick: f}, "text", child): an attribute that is null, undefined or false is left out.
export function el(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

// Strokes in a box of 20 by 20.
const kIcons = {
  menu: "M3 6h14M3 10h14M3 14h9",
  plus: "M10 4v12M4 10h12",
  search: "M9 4a5 5 0 1 0 0 10a5 5 0 0 0 0-10M12.7 12.7L17 17",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  send: "M10 16V4M5 9l5-5l5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3",
  check: "M4 10.5l4 4l8-9",
  again: "M15.5 7A6.2 6.2 0 1 0 16 11.5M16 3.5V7h-3.5",
  edit: "M4 16l.8-3.4L13.6 3.8l2.6 2.6l-8.8 8.8zM11.8 5.6l2.6 2.6",
  settings: "M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4",
  help: "M7.3 7.4a2.7 2.7 0 1 1 3.8 2.5c-.8.4-1.1.9-1.1 1.9M10 15h.01",
  left: "M12 5l-5 5l5 5",
  right: "M8 5l5 5l-5 5",
  down: "M5 8l5 5l5-5",
  chart: "M3 16h14M4 12l4-4l3 3l5-6",
  close: "M5 5l10 10M15 5L5 15",
  theme: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  key: "M7 7a3 3 0 1 0 0 6a3 3 0 0 0 0-6M10 10h7v3M14 10v2",
  pause: "M7.5 5v10M12.5 5v10",
  play: "M7 5l8 5l-8 5z",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 20 20", class: `icon icon-${name}`, "aria-hidden": "true" }, svg("path", { d: kIcons[name] }));
}

// Puts the icons into a page's own elements that name one: <button data-icon="menu">.
export function fillIcons(root = document) {
  for (const node of root.querySelectorAll("[data-icon]")) node.prepend(icon(node.dataset.icon));
}

export function iconButton(name, label, onclick, attributes = {}) {
  return el("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

// crypto.randomUUID exists on secure origins only, and a server on the local network is none.
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Says a thing once to screen readers.
export function announce(text) {
  byId("status").textContent = text;
}

// A notice at the foot of the page that goes by itself.
export function notice(text) {
  const note = el("p", { class: "notice", role: "alert" }, text);
  byId("notices").append(note);
  setTimeout(() => note.remove(), 8000);
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard off secure origins: the old way, by a selection.
    const area = el("textarea", { class: "hidden-text", "aria-hidden": "true", tabindex: "-1" });
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    focused?.focus();
  }
}

export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    await copyText(text());
    button.replaceChildren(icon("check"));
    announce("Copied");
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A menu below `anchor`: items are [label, action]. Arrow keys move, Escape and Tab close, focus goes back.
export function openMenu(anchor, items) {
  document.querySelector(".menu")?.dispatchEvent(new Event("close"));
  const menu = el("div", { class: "menu", role: "menu" });
  const close = (refocus) => {
    removeEventListener("pointerdown", outside, true);
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (refocus) anchor.focus();
  };
  const outside = (event) => {
    if (!menu.contains(event.target) && !anchor.contains(event.target)) close(false);
  };
  for (const [label, action] of items) {
    const choose = () => {
      close(true);
      action();
    };
    menu.append(el("button", { type: "button", role: "menuitem", tabindex: "-1", onclick: choose }, label));
  }
  menu.addEventListener("close", () => close(false));
  menu.addEventListener("keydown", (event) => {
    const entries = [...menu.children];
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + entries.length, Home: 0, End: entries.length - 1 }[event.key];
    if (to !== undefined) entries[to % entries.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.body.append(menu);
  const box = anchor.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(box.left, innerWidth - menu.offsetWidth - 8))}px`;
  const below = box.bottom + 4;
  menu.style.top = `${below + menu.offsetHeight > innerHeight ? box.top - menu.offsetHeight - 4 : below}px`;
  anchor.setAttribute("aria-expanded", "true");
  addEventListener("pointerdown", outside, true);
  menu.firstChild.focus();
}

// Shows a dialog made for one question, and resolves to the value that it was closed with.
export function askIn(dialog) {
  const focused = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      // The focus went back as the dialog closed, but the caret was still in what is removed: without it keys type nothing.
      focused?.blur();
      focused?.focus();
      resolve(dialog.returnValue);
    });
  });
}

// Asks in a dialog of the page: the text typed, true, or null where it was given up.
export async function ask(question, { text, label, confirm }) {
  const input = text === undefined ? null : el("input", { type: "text", id: "ask-input", autocomplete: "off", autofocus: true });
  if (input) input.value = text;
  const dialog = el(
    "dialog",
    { class: "small", "aria-labelledby": "ask-title" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "ask-title" }, question),
      input && el("label", { for: "ask-input" }, label, input),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", onclick: () => dialog.close("cancel") }, "Cancel"),
        el("button", { value: "yes", class: "primary" }, confirm),
      ),
    ),
  );
  const answered = askIn(dialog);
  input?.select();
  if ((await answered) !== "yes") return null;
  return input ? input.value.trim() || null : true;
}
