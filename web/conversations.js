// The list of conversations: opens, renames, deletes, searches and exports them.
import { ask, byId, download, el, iconButton, notice, openMenu } from "./dom.js";
import { pathTo } from "./store.js";

const kSearchDelayMs = 150;

const nameOf = (title) => title || "Untitled";
const fileName = (title) => nameOf(title).replace(/[^\p{L}\p{N} _-]+/gu, "").trim().slice(0, 50) || "conversation";

// The branch that is shown, to be read.
function toMarkdown({ conversation, messages }) {
  const path = pathTo(new Map(messages.map((message) => [message.id, message])), conversation.head);
  const parts = [`# ${nameOf(conversation.title)}`];
  if (conversation.system) parts.push(`## System\n\n${conversation.system}`);
  for (const { role, model, content, reasoning } of path) {
    parts.push(`## ${role === "user" ? "You" : (model ?? "Assistant")}`);
    if (reasoning?.trim()) parts.push(`<details><summary>Thinking</summary>\n\n${reasoning.trim()}\n\n</details>`);
    parts.push(content ?? "");
  }
  return `${parts.join("\n\n")}\n`;
}

export class ConversationList {
  #store;
  #chat;
  #onOpen;
  #list = byId("conversations");
  #search = byId("search");
  #found = null;  // ids, while something is searched
  #drawing = null;

  constructor(store, chat, onOpen) {
    this.#store = store;
    this.#chat = chat;
    this.#onOpen = onOpen;
    let timer;
    this.#search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#find(), kSearchDelayMs);
    });
    this.#list.addEventListener("keydown", (event) => this.#move(event));
    byId("export-all").addEventListener("click", () => this.#exportAll());
  }

  // Draws the list as the store has it. Calls that come meanwhile are one.
  update() {
    this.#drawing ??= Promise.resolve().then(async () => {
      try {
        const conversations = await this.#store.list();
        this.#drawing = null;
        this.#draw(conversations);
      } catch (error) {
        this.#drawing = null;
        notice(`The conversations cannot be read: ${error.message}`);
      }
    });
  }

  // The conversation `by` places below the open one.
  async neighbour(by) {
    const ids = (await this.#store.list()).map(({ id }) => id);
    const at = ids.indexOf(this.#chat.conversation?.id);
    return at < 0 ? ids[0] : ids[at + by];
  }

  async #find() {
    const text = this.#search.value.trim();
    this.#found = text ? await this.#store.search(text) : null;
    this.update();
  }

  #draw(conversations) {
    const current = this.#chat.conversation?.id;
    const shown = conversations.filter(({ id }) => !this.#found || this.#found.has(id));
    const focused = document.activeElement?.closest?.("#conversations li")?.dataset.id;
    this.#list.replaceChildren(
      ...shown.map(({ id, title }) => {
        const name = nameOf(title);
        const link = el(
          "button",
          { type: "button", class: "open", "aria-current": id === current ? "true" : null, title: name, onclick: () => this.#onOpen(id) },
          el("span", {}, name),
        );
        const more = iconButton("more", `More for ${name}`, (event) => this.menu(event.currentTarget, id, title), {
          "aria-haspopup": "menu",
          "aria-expanded": "false",
        });
        const item = el("li", { class: this.#chat.runs(id) ? "running" : null }, link, more);
        item.dataset.id = id;
        return item;
      }),
    );
    if (focused) this.#list.querySelector(`[data-id="${focused}"] .open`)?.focus({ preventScroll: true });
    byId("no-conversations").hidden = shown.length > 0;
    byId("no-conversations").textContent = this.#found ? "Nothing found." : "No conversations yet.";
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const links = [...this.#list.querySelectorAll(".open")];
    const at = links.findIndex((link) => link.parentNode.contains(document.activeElement));
    links[at + step]?.focus();
    event.preventDefault();
  }

  menu(anchor, id, title) {
    openMenu(anchor, [
      ["Rename…", () => this.#rename(id, title)],
      ["Export as Markdown", () => this.#export(id, "md")],
      ["Export as JSON", () => this.#export(id, "json")],
      ["Delete…", () => this.#delete(id, title)],
    ]);
  }

  async #rename(id, title) {
    const name = await ask("Rename conversation", { text: title, label: "Title", confirm: "Rename" });
    if (name) await this.#chat.rename(id, name);
  }

  async #delete(id, title) {
    if (await ask(`Delete “${nameOf(title)}”?`, { confirm: "Delete" })) await this.#chat.remove(id);
    byId("prompt").focus();
  }

  async #export(id, kind) {
    const loaded = await this.#store.load(id);
    if (!loaded) return;
    const name = `${fileName(loaded.conversation.title)}.${kind}`;
    if (kind === "md") download(name, "text/markdown", toMarkdown(loaded));
    else download(name, "application/json", JSON.stringify(loaded, null, 2));
  }

  async #exportAll() {
    const all = await Promise.all((await this.#store.list()).map(({ id }) => this.#store.load(id)));
    download("qwill-conversations.json", "application/json", JSON.stringify(all.filter(Boolean), null, 2));
  }
}
