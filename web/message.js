// How a message looks: who, text, thinking, figures, errors and what can be done with it.
import { describeStats, describeThinking } from "./answer.js";
import { copyButton, el, icon, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";

const kFinish = {
  length: "Ended at the limit of tokens.",
  stopped: "Stopped.",
  open: "This answer was not finished.",
};

// The figures of an answer.
export function statsLine(stats) {
  return describeStats(stats).map(([text, title]) => el("span", { title }, text));
}

export function errorBox(text, onRetry) {
  return el(
    "div",
    { class: "error", role: "alert" },
    el("p", {}, text),
    onRetry && el("button", { type: "button", onclick: onRetry }, "Try again"),
  );
}

// The choice between a message's siblings.
function branches({ index, count, choose }) {
  if (count < 2) return null;
  const step = (name, label, by) =>
    iconButton(name, label, () => choose(index + by), { disabled: index + by < 0 || index + by >= count });
  return el(
    "span",
    { class: "branches", role: "group", "aria-label": "Versions" },
    step("left", "Version before", -1),
    el("span", {}, `${index + 1}/${count}`),
    step("right", "Next version", 1),
  );
}

function messageElement(role, name, ...children) {
  return el("article", { class: `message ${role}`, "aria-label": name }, el("h3", { class: "who" }, name), ...children);
}

export class UserMessage {
  constructor(message) {
    this.message = message;
    this.body = el("div", { class: "body" });
    this.tools = el("div", { class: "tools" });
    this.element = messageElement("user", "You", this.body, this.tools);
  }

  // actions: {edit(text), branch}. Ends an edit that is open.
  update(actions) {
    this.actions = actions;
    this.#show();
  }

  #show() {
    this.element.classList.remove("editing");
    this.body.replaceChildren(el("div", { class: "typed" }, this.message.content));
    this.tools.replaceChildren(
      ...[
        branches(this.actions.branch),
        iconButton("edit", "Edit and send again", () => this.edit(), { class: "quiet edit" }),
        copyButton("Copy message", () => this.message.content),
      ].filter(Boolean),
    );
  }

  edit() {
    this.element.classList.add("editing");
    const area = el("textarea", { "aria-label": "Edit your message", rows: 3 });
    area.value = this.message.content;
    const send = () => area.value.trim() && this.actions.edit(area.value);
    const cancel = () => {
      this.#show();
      this.tools.querySelector(".edit").focus();
    };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        cancel();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    this.body.replaceChildren(
      area,
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", onclick: cancel }, "Cancel"),
        el("button", { type: "button", class: "primary", onclick: send }, "Send"),
      ),
    );
    this.tools.replaceChildren();
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

export class AssistantMessage {
  #thinking = null;
  #thinkingView = null;
  #drawn = "";  // of what is below the answer

  constructor(name) {
    this.content = el("div", { class: "markdown" });
    this.view = new MarkdownView(this.content);
    this.after = el("div", { class: "after" });
    this.stats = el("div", { class: "stats" });
    this.tools = el("div", { class: "tools" });
    this.body = el("div", { class: "body" }, this.content, this.after);
    this.element = messageElement("assistant", name, this.stats, this.body, this.tools);
  }

  // `answer` is a stored message, or an Answer under way where `live`. actions: {again(), branch}, needed if not live.
  update(answer, live, actions) {
    this.answer = answer;
    this.element.classList.toggle("live", live);
    this.element.classList.toggle("waiting", live && !answer.content && !answer.reasoning);
    if (answer.reasoning?.trim()) this.#showThinking();
    this.view.update(answer.content ?? "");
    this.stats.replaceChildren(...statsLine(answer.stats));
    if (!live) this.#showEnd(actions);
  }

  #showEnd({ again, branch }) {
    const { answer } = this;
    const drawn = [branch.index, branch.count, answer.finish, answer.error].join();
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const ended = kFinish[answer.finish];
    this.after.replaceChildren(
      ...[
        answer.error && errorBox(answer.error, again),
        ended && el("p", { class: "ended" }, ended),
        answer.finish === "stop" && !answer.content && el("p", { class: "ended" }, "An empty answer."),
      ].filter(Boolean),
    );
    this.tools.replaceChildren(
      ...[
        branches(branch),
        iconButton("again", "Answer again", again, { class: "quiet again" }),
        answer.content && copyButton("Copy answer", () => this.answer.content),
      ].filter(Boolean),
    );
  }

  #showThinking() {
    if (!this.#thinking) {
      const text = el("div", { class: "markdown" });
      this.#thinkingView = new MarkdownView(text);
      const label = el("span", { class: "thinking-label" });
      this.#thinking = el("details", { class: "thinking" }, el("summary", {}, icon("down"), label), text);
      this.#thinking.addEventListener("toggle", () => this.#showThinking());
      this.body.prepend(this.#thinking);
    }
    this.#thinking.querySelector(".thinking-label").textContent = describeThinking(this.answer);
    this.#thinking.classList.toggle("live", this.answer.thinkingMs === undefined);
    if (this.#thinking.open) this.#thinkingView.update(this.answer.reasoning.trim());
  }
}
