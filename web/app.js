// The page: joins its parts, and holds what belongs to none of them: tabs, the drawer, dialogs, keys.
import { listModels } from "./api.js";
import { Chat } from "./chat.js";
import { Completion } from "./completion.js";
import { ConversationList } from "./conversations.js";
import { announce, byId, copyText, el, fillIcons, icon, notice } from "./dom.js";
import { Settings, SettingsForm } from "./settings.js";
import { openStore } from "./store.js";

const kNarrow = matchMedia("(max-width: 800px)");
const kTouch = matchMedia("(pointer: coarse)");

fillIcons();
const prompt = byId("prompt");
const settings = new Settings();
const { store, lasting } = await openStore();
const chat = new Chat(store, settings, update);
const completion = new Completion(settings);
const list = new ConversationList(store, chat, openConversation);
const form = new SettingsForm(settings, { onSystem: (system) => chat.setSystem(system), onKey: loadModels });

// What depends on the conversation that is open and on whether it is being answered.
function update() {
  list.update();
  const { conversation, isRunning } = chat;
  document.title = conversation?.title ? `${conversation.title} · qwill` : "qwill";
  byId("title").textContent = conversation ? conversation.title || "Untitled" : "New conversation";
  byId("title-menu").hidden = !conversation || shownTab() !== "chat";
  byId("title").hidden = shownTab() !== "chat";
  const send = byId("send");
  send.classList.toggle("stop", isRunning);
  send.setAttribute("aria-label", isRunning ? "Stop" : "Send");
  send.title = isRunning ? "Stop (Escape)" : "Send (Enter)";
  send.disabled = !isRunning && !prompt.value.trim();
  if (send.dataset.shows !== String(isRunning)) send.replaceChildren(icon(isRunning ? "stop" : "send"));
  send.dataset.shows = String(isRunning);
}

// --- the address: #c=ID, #completion, or nothing for a new conversation

async function openConversation(id) {
  history.pushState(null, "", `#c=${id}`);
  await follow();
  closeDrawer();
  prompt.focus();
}

async function follow() {
  const id = /^#c=(\w+)$/.exec(location.hash)?.[1];
  showTab(location.hash === "#completion" ? "completion" : "chat");
  if (id) await chat.open(id);
  else if (location.hash !== "#completion") chat.startNew();
  update();
}

function startNew() {
  history.pushState(null, "", "#");
  showTab("chat");
  chat.startNew();
  closeDrawer();
  prompt.focus();
}

function showTab(name) {
  for (const tab of ["chat", "completion"]) {
    const chosen = tab === name;
    byId(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
    byId(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
    byId(`panel-${tab}`).hidden = !chosen;
  }
  update();
}

const shownTab = () => (byId("panel-chat").hidden ? "completion" : "chat");

function chooseTab(name) {
  const id = chat.conversation?.id;
  history.pushState(null, "", name === "completion" ? "#completion" : id ? `#c=${id}` : "#");
  showTab(name);
  if (kTouch.matches) return;
  if (name === "completion") completion.focus();
  else prompt.focus();
}

for (const name of ["chat", "completion"]) {
  byId(`tab-${name}`).addEventListener("click", () => chooseTab(name));
  byId(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "chat" ? "completion" : "chat";
    showTab(other);
    byId(`tab-${other}`).focus();
    history.pushState(null, "", other === "completion" ? "#completion" : "#");
  });
}

// --- composer

function fit() {
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight, innerHeight * 0.4)}px`;
}

async function send() {
  const text = prompt.value.trim();
  if (!text || chat.isRunning) return;
  prompt.value = "";
  fit();
  const isNew = !chat.conversation;
  const sent = chat.send(text);
  if (isNew && chat.conversation) history.replaceState(null, "", `#c=${chat.conversation.id}`);
  await sent;
}

prompt.addEventListener("input", () => {
  fit();
  byId("send").disabled = !chat.isRunning && !prompt.value.trim();
});
prompt.addEventListener("keydown", (event) => {
  // On a phone Enter is the only way to a new line, and the button is near.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || kTouch.matches) return;
  event.preventDefault();
  send();
});
byId("send").addEventListener("click", () => {
  if (chat.isRunning) chat.stop();
  else send();
  prompt.focus();
});

function showThinking() {
  byId("think").setAttribute("aria-pressed", String(settings.get("thinking")));
}
function toggleThinking() {
  settings.set("thinking", !settings.get("thinking"));
  showThinking();
}
byId("think").addEventListener("click", toggleThinking);

// --- models

async function loadModels() {
  const select = byId("model");
  try {
    const ids = await listModels();
    settings.models = ids;
    select.replaceChildren(...ids.map((id) => el("option", { value: id, selected: id === settings.model }, id)));
    select.hidden = ids.length < 2;
    byId("model-name").hidden = ids.length > 1;
    byId("model-name").textContent = ids[0] ?? "";
  } catch (error) {
    notice(error.message);
  }
}
byId("model").addEventListener("change", () => settings.set("model", byId("model").value));

// --- drawer, dialogs

function openDrawer() {
  byId("sidebar").classList.add("open");
  byId("drawer-back").hidden = false;
  byId("main").inert = true;
  byId("menu").setAttribute("aria-expanded", "true");
  byId("new").focus();
}

function closeDrawer() {
  if (!byId("sidebar").classList.contains("open")) return;
  byId("sidebar").classList.remove("open");
  byId("drawer-back").hidden = true;
  byId("main").inert = false;
  byId("menu").setAttribute("aria-expanded", "false");
  byId("menu").focus();
}

function openSettings() {
  form.show(chat.conversation ? chat.conversation.system : settings.system);
  byId("settings").showModal();
}

kNarrow.addEventListener("change", closeDrawer);
byId("menu").addEventListener("click", openDrawer);
byId("drawer-back").addEventListener("click", closeDrawer);
byId("new").addEventListener("click", startNew);
for (const button of document.querySelectorAll("[data-opens]")) {
  button.addEventListener("click", () => (button.dataset.opens === "settings" ? openSettings() : byId("help").showModal()));
}
for (const dialog of document.querySelectorAll("dialog")) {
  // A click on the dialog itself is one beside what it holds.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
byId("title-menu").addEventListener("click", (event) => {
  const { id, title } = chat.conversation;
  list.menu(event.currentTarget, id, title);
});

// --- keys

async function neighbour(by) {
  const id = await list.neighbour(by);
  if (id) openConversation(id);
}

async function copyLast() {
  const last = chat.path.findLast((message) => message.role === "assistant");
  if (!last?.content) return;
  await copyText(last.content);
  announce("Copied");
}

function search() {
  if (kNarrow.matches) openDrawer();
  byId("search").focus();
  byId("search").select();
}

const kKeys = {
  "Alt+KeyN": startNew,
  "Alt+KeyS": search,
  "Alt+KeyR": () => chat.again(),
  "Alt+KeyE": () => chat.editLast(),
  "Alt+KeyC": copyLast,
  "Alt+KeyT": toggleThinking,
  "Alt+KeyM": () => chooseTab(shownTab() === "chat" ? "completion" : "chat"),
  "Alt+Comma": openSettings,
  "Alt+ArrowUp": () => neighbour(-1),
  "Alt+ArrowDown": () => neighbour(1),
};

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open], .menu") || event.ctrlKey || event.metaKey) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  const action = event.altKey && !event.shiftKey ? kKeys[`Alt+${event.code}`] : null;
  if (action) {
    event.preventDefault();
    action();
  } else if (event.key === "Escape") {
    if (byId("sidebar").classList.contains("open")) closeDrawer();
    else if (shownTab() === "chat") chat.stop();
    else completion.stop();
  } else if (event.key === "?" && !typing) {
    byId("help").showModal();
  } else if (event.key === "/" && !typing) {
    event.preventDefault();
    prompt.focus();
  }
});

addEventListener("popstate", follow);

if (!lasting) notice("This browser keeps nothing for this page: conversations end with it.");
showThinking();
fit();
await follow();
loadModels();
if (!kTouch.matches) prompt.focus();
