// A conversation on the page: sends, receives, and keeps it in the store.
import { Answer, paced } from "./answer.js";
import { announce, byId, el, newId, notice } from "./dom.js";
import { AssistantMessage, UserMessage } from "./message.js";
import { Follower } from "./scroll.js";
import { newConversation, newestBelow, pathTo, siblings } from "./store.js";

const kSaveMs = 2000;  // between saves of an answer under way
const kTitleLength = 60;
const kExamples = ["What is a river?", "Why do birds fly south?", "Write a story about a fox and a duck."];

// A conversation that is open here, or has an answer under way.
class Opened {
  constructor(conversation, messages) {
    this.conversation = conversation;
    this.messages = new Map(messages.map((message) => [message.id, message]));
    this.answer = null;  // under way: {answer, message}
    this.busy = false;   // from sending to the end of the answer
  }
}

export class Chat {
  #store;
  #settings;
  #onChange;
  #opened = null;
  #wanted = null;  // the id that was asked for last
  #running = new Map();  // Opened with an answer under way, by id: other conversations go on when one is left
  #views = [];
  #follower = new Follower(byId("scroller"), byId("jump"));
  #list = byId("messages");

  // settings: see settings.js. onChange is called when the conversation, its title or its state has changed.
  constructor(store, settings, onChange) {
    this.#store = store;
    this.#settings = settings;
    this.#onChange = onChange;
    store.onChange((change) => this.#changedElsewhere(change));
  }

  get conversation() {
    return this.#opened?.conversation ?? null;
  }

  get path() {
    return this.#opened ? pathTo(this.#opened.messages, this.conversation.head) : [];
  }

  get isRunning() {
    return Boolean(this.#opened?.busy);
  }

  runs(id) {
    return this.#running.has(id);
  }

  // Leaves for a conversation that begins with the first message sent.
  startNew() {
    this.#wanted = null;
    this.#opened = null;
    this.#render();
  }

  async open(id) {
    this.#wanted = id;
    if (!this.#running.has(id)) {
      const loaded = await this.#store.load(id);
      if (this.#wanted !== id) return;
      if (!loaded) return this.startNew();
      this.#opened = new Opened(loaded.conversation, loaded.messages);
    } else {
      this.#opened = this.#running.get(id);
    }
    this.#render();
    this.#follower.toEnd();
  }

  async rename(id, title) {
    if (this.conversation?.id === id) this.conversation.title = title;
    await this.#keep(this.#store.change(id, { title }));
    this.#onChange();
  }

  async remove(id) {
    this.#running.get(id)?.answer.answer.stop();
    if (this.conversation?.id === id) this.startNew();
    await this.#keep(this.#store.remove(id));
    this.#onChange();
  }

  // The system prompt of this conversation.
  async setSystem(system) {
    if (!this.conversation) return;
    this.conversation.system = system;
    await this.#keep(this.#store.change(this.conversation.id, { system }));
  }

  async send(text) {
    if (this.isRunning) return;
    let opened = this.#opened;
    if (!opened) {
      const conversation = newConversation(this.#settings.system);
      conversation.title = titleOf(text);
      opened = this.#opened = new Opened(conversation, []);
      opened.busy = true;
      await this.#keep(this.#store.add({ ...conversation }));
    }
    await this.#addUser(opened, text, opened.conversation.head);
  }

  stop() {
    this.#opened?.answer?.answer.stop();
  }

  // Answers the last message of the user again.
  again() {
    const last = this.path.findLast((message) => message.role === "user");
    if (last && !this.isRunning) this.#answer(this.#opened, last);
  }

  editLast() {
    if (!this.isRunning) this.#views.findLast((view) => view instanceof UserMessage)?.edit();
  }

  async #addUser(opened, text, parent) {
    opened.busy = true;
    const message = { id: newId(), conversation: opened.conversation.id, parent, role: "user", content: text, created: Date.now() };
    opened.messages.set(message.id, message);
    await this.#put(opened, message);
    await this.#answer(opened, message);
  }

  async #answer(opened, user) {
    opened.busy = true;
    const { settings, model } = this.#settings.forChat();
    const system = opened.conversation.system.trim();
    const past = pathTo(opened.messages, user.id).filter((message) => message.role === "user" || message.content);
    const answer = new Answer("v1/chat/completions", {
      model,
      messages: [
        ...(system ? [{ role: "system", content: system }] : []),
        ...past.map(({ role, content }) => ({ role, content })),
      ],
      ...settings,
    });
    const message = {
      id: newId(),
      conversation: opened.conversation.id,
      parent: user.id,
      role: "assistant",
      model,
      created: Date.now(),
      finish: "open",
    };
    opened.messages.set(message.id, message);
    opened.answer = { answer, message };
    this.#running.set(opened.conversation.id, opened);
    const collect = () => {
      const { content, reasoning, thinkingMs, stats, finish, error } = answer;
      // "open" until the end, so that a page that is closed meanwhile leaves an answer that says so.
      Object.assign(message, { content, reasoning, thinkingMs, stats, error, finish: opened.answer ? "open" : finish });
    };
    collect();
    await this.#put(opened, message);
    if (this.#opened === opened) {
      this.#render();
      this.#follower.toEnd();
      announce("Answering");
    }
    let saved = performance.now();
    const show = paced(() => this.#showAnswer(opened));
    const clock = setInterval(show, 100);  // for the duration of thinking
    await answer.run(() => {
      show();
      if (performance.now() - saved < kSaveMs) return;
      saved = performance.now();
      collect();
      this.#put(opened, message);
    });
    clearInterval(clock);
    opened.answer = null;
    opened.busy = false;
    collect();
    this.#running.delete(opened.conversation.id);
    await this.#put(opened, message);
    if (this.#opened === opened) {
      this.#render();
      this.#follower.keep();
      announce(answer.error ? "The answer failed" : "Answer complete");
    }
    this.#onChange();
  }

  #showAnswer(opened) {
    if (this.#opened !== opened || !opened.answer) return;
    this.#views.at(-1).update(opened.answer.answer, true);
    this.#follower.keep();
  }

  async #put(opened, message) {
    const fields = { head: message.id, updated: Date.now() };
    Object.assign(opened.conversation, fields);
    const there = await this.#keep(this.#store.putMessage({ ...message }, fields));
    if (there === false) notice("This conversation was deleted in another tab.");
    this.#onChange();
  }

  // Waits for the store; where it fails (the disk is full, say) the conversation goes on without it.
  async #keep(writing) {
    try {
      return await writing;
    } catch (error) {
      const full = error?.name === "QuotaExceededError";
      notice(full ? "The browser's storage is full: delete conversations to keep this one." : `Not kept: ${error?.message ?? "storage failed"}`);
      return null;
    }
  }

  async #changedElsewhere({ id, what }) {
    this.#onChange();
    if (this.conversation?.id !== id || this.isRunning) return;
    if (what === "removed") {
      this.startNew();
      return;
    }
    const loaded = await this.#store.load(id);
    // The branch that is shown stays, unless it has grown.
    if (!loaded || this.conversation?.id !== id || this.isRunning) return;
    const { head } = this.conversation;
    const messages = new Map(loaded.messages.map((message) => [message.id, message]));
    const grown = pathTo(messages, loaded.conversation.head).some((message) => message.id === head);
    const busy = this.#list.contains(document.activeElement) && document.activeElement.tagName === "TEXTAREA";
    if (busy) return;
    this.#opened = new Opened({ ...loaded.conversation, head: grown ? loaded.conversation.head : head }, loaded.messages);
    this.#render();
    this.#follower.keep();
  }

  #render() {
    const path = this.path;
    const focused = this.#list.contains(document.activeElement);
    // What was rendered already and has not changed stays: a long answer is not built again for the next one.
    // What is on the page already stays: it keeps its folds, and a long answer is not built again for the next one.
    const before = new Map(this.#views.map((view) => [view.id, view]));
    this.#views = path.map((message) => this.#viewOf(message, before.get(message.id)));
    const elements = this.#views.map((view) => view.element);
    if (elements.length === 0) elements.push(this.#welcome());
    this.#list.replaceChildren(...elements);
    if (focused && document.activeElement === document.body) byId("prompt").focus({ preventScroll: true });
    this.#onChange();
  }

  #viewOf(message, view) {
    const opened = this.#opened;
    const versions = siblings(opened.messages, message);
    const index = versions.findIndex((other) => other.id === message.id);
    const branch = { index, count: versions.length, choose: (to) => this.#show(newestBelow(opened.messages, versions[to])) };
    if (message.role === "user") {
      const actions = { branch, edit: (text) => !opened.busy && this.#addUser(opened, text, message.parent) };
      view ??= new UserMessage(message);
      view.update(actions);
    } else {
      const live = opened.answer?.message === message;
      const again = () => !opened.busy && this.#answer(opened, opened.messages.get(message.parent));
      view ??= new AssistantMessage(message.model ?? "qwill");
      view.update(live ? opened.answer.answer : message, live, { branch, again });
    }
    view.id = message.id;
    return view;
  }

  // Shows the branch that ends with a message.
  async #show(message) {
    if (this.isRunning) return;
    this.conversation.head = message.id;
    this.#render();
    await this.#keep(this.#store.change(this.conversation.id, { head: message.id }));
  }

  #welcome() {
    const example = (text) => el("button", { type: "button", onclick: () => this.send(text) }, text);
    return el(
      "div",
      { class: "welcome" },
      el("h2", {}, "What shall we write?"),
      el("p", {}, "Everything stays between this browser and the server it came from."),
      el("div", { class: "examples" }, ...kExamples.map(example)),
    );
  }
}

export function titleOf(text) {
  const line = text.trim().split("\n")[0].trim();
  return line.length > kTitleLength ? `${line.slice(0, kTitleLength - 1).trimEnd()}…` : line;
}
