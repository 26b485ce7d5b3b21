// Conversations in the browser's database. Each message is a record of its own, and a conversation's fields are changed
// one by one inside a transaction: tabs that are open at once add to each other's work and never write over it.
import { newId } from "./dom.js";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

function openDatabase() {
  const request = indexedDB.open("qwill", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("conversations", { keyPath: "id" });
    request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
  };
  return done(request);
}

class DatabaseStore {
  #channel = new BroadcastChannel("qwill.conversations");
  #database;

  constructor(database) {
    this.#database = database;
    // A later version of this page in another tab wants to change the layout.
    database.onversionchange = () => database.close();
  }

  // Calls back with {id, what: "changed" | "removed"} when another tab has written.
  onChange(callback) {
    this.#channel.onmessage = (event) => callback(event.data);
  }

  // Runs `work` with both stores; resolves when what it wrote is kept.
  async #write(id, what, work) {
    const transaction = this.#database.transaction(["conversations", "messages"], "readwrite");
    const kept = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [result] = await Promise.all([
      work(transaction.objectStore("conversations"), transaction.objectStore("messages")),
      kept,
    ]);
    this.#channel.postMessage({ id, what });
    return result;
  }

  async list() {
    const all = await done(this.#database.transaction("conversations").objectStore("conversations").getAll());
    return all.sort((a, b) => b.updated - a.updated);
  }

  async load(id) {
    const transaction = this.#database.transaction(["conversations", "messages"]);
    const conversation = await done(transaction.objectStore("conversations").get(id));
    const messages = await done(transaction.objectStore("messages").index("conversation").getAll(id));
    return conversation ? { conversation, messages } : null;
  }

  add(conversation) {
    return this.#write(conversation.id, "changed", (conversations) => done(conversations.add(conversation)));
  }

  // False if the conversation is gone: another tab has removed it.
  change(id, fields) {
    return this.#write(id, "changed", async (conversations) => {
      const stored = await done(conversations.get(id));
      if (stored) await done(conversations.put({ ...stored, ...fields }));
      return stored !== undefined;
    });
  }

  // Writes a message, and says in its conversation that there was one. False if the conversation is gone.
  putMessage(message, fields) {
    return this.#write(message.conversation, "changed", async (conversations, messages) => {
      const stored = await done(conversations.get(message.conversation));
      if (!stored) return false;
      await done(messages.put(message));
      await done(conversations.put({ ...stored, ...fields }));
      return true;
    });
  }

  remove(id) {
    return this.#write(id, "removed", async (conversations, messages) => {
      for (const key of await done(messages.index("conversation").getAllKeys(id))) messages.delete(key);
      await done(conversations.delete(id));
    });
  }

  // The ids of conversations that have `text` in their title or in a message.
  async search(text) {
    const wanted = text.toLowerCase();
    const has = (value) => value?.toLowerCase().includes(wanted);
    const found = new Set();
    for (const { id, title } of await this.list()) if (has(title)) found.add(id);
    const cursor = this.#database.transaction("messages").objectStore("messages").openCursor();
    await new Promise((resolve, reject) => {
      cursor.onerror = () => reject(cursor.error);
      cursor.onsuccess = () => {
        const at = cursor.result;
        if (!at) return resolve();
        if (has(at.value.content)) found.add(at.value.conversation);
        at.continue();
      };
    });
    return found;
  }
}

// Where the browser keeps nothing (some private windows): the same for as long as the page is open.
class MemoryStore {
  #conversations = new Map();
  #messages = new Map();

  onChange() {}

  async list() {
    return [...this.#conversations.values()].sort((a, b) => b.updated - a.updated);
  }

  async load(id) {
    const conversation = this.#conversations.get(id);
    const messages = [...this.#messages.values()].filter((message) => message.conversation === id);
    return conversation ? { conversation, messages: structuredClone(messages) } : null;
  }

  async add(conversation) {
    this.#conversations.set(conversation.id, conversation);
  }

  async change(id, fields) {
    const stored = this.#conversations.get(id);
    if (stored) this.#conversations.set(id, { ...stored, ...fields });
    return stored !== undefined;
  }

  async putMessage(message, fields) {
    if (!(await this.change(message.conversation, fields))) return false;
    this.#messages.set(message.id, structuredClone(message));
    return true;
  }

  async remove(id) {
    this.#conversations.delete(id);
    for (const message of this.#messages.values()) if (message.conversation === id) this.#messages.delete(message.id);
  }

  async search(text) {
    const has = (value) => value?.toLowerCase().includes(text.toLowerCase());
    const found = new Set();
    for (const { id, title } of this.#conversations.values()) if (has(title)) found.add(id);
    for (const { conversation, content } of this.#messages.values()) if (has(content)) found.add(conversation);
    return found;
  }
}

// {store, lasting}: lasting is false where conversations end with the page.
export async function openStore() {
  try {
    return { store: new DatabaseStore(await openDatabase()), lasting: true };
  } catch {
    return { store: new MemoryStore(), lasting: false };
  }
}

// A conversation is a tree, since a message that is edited or answered again keeps what was there before: each message
// names its parent, and `head` is the last message of the branch that is shown.
export function newConversation(system) {
  const now = Date.now();
  return { id: newId(), title: "", system, head: null, created: now, updated: now };
}

export function pathTo(messages, head) {
  const path = [];
  for (let message = messages.get(head); message; message = messages.get(message.parent)) path.unshift(message);
  return path;
}

// The messages with the same parent, in the order of their making.
export function siblings(messages, message) {
  return [...messages.values()]
    .filter((other) => other.parent === message.parent && other.role === message.role)
    .sort((a, b) => a.created - b.created);
}

// The end of the newest branch below a message.
export function newestBelow(messages, message) {
  for (;;) {
    let newest = null;
    for (const other of messages.values()) {
      if (other.parent === message.id && (!newest || other.created > newest.created)) newest = other;
    }
    if (!newest) return message;
    message = newest;
  }
}
