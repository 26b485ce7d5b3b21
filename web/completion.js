// The completion tab: a text, and what the model makes of its beginning. For base models, which know no chat.
import { Answer, paced } from "./answer.js";
import { announce, byId, copyText } from "./dom.js";
import { errorBox, statsLine } from "./message.js";
import { Follower } from "./scroll.js";

const kName = "qwill.completion";

export class Completion {
  #settings;
  #answer = null;  // the last one
  #running = false;
  #text = byId("completion-text");
  #output = byId("completion-output");
  #run = byId("completion-run");
  #follower = new Follower(byId("completion-scroller"), byId("completion-jump"));

  constructor(settings) {
    this.#settings = settings;
    try {
      this.#text.value = localStorage.getItem(kName) ?? "";
    } catch {
      // No storage: an empty page.
    }
    this.#text.addEventListener("input", () => this.#keep());
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#start();
    });
    this.#run.addEventListener("click", () => (this.isRunning ? this.stop() : this.#start()));
    byId("completion-take").addEventListener("click", () => this.#take());
    byId("completion-copy").addEventListener("click", async () => {
      await copyText(this.#text.value + this.#answer.content);
      announce("Copied");
    });
    this.#showState();
  }

  get isRunning() {
    return this.#running;
  }

  stop() {
    this.#answer?.stop();
  }

  focus() {
    this.#text.focus();
  }

  #keep() {
    try {
      localStorage.setItem(kName, this.#text.value);
    } catch {
      // Full: the text lasts as long as the page.
    }
  }

  async #start() {
    if (this.isRunning || !this.#text.value) return;
    const { model, settings } = this.#settings.forCompletion();
    const prompt = this.#text.value;
    const answer = new Answer("v1/completions", { model, prompt, ...settings });
    this.#answer = answer;
    this.#running = true;
    byId("completion-given").textContent = prompt;
    byId("completion-new").textContent = "";
    byId("completion-error").replaceChildren();
    this.#output.hidden = false;
    this.#showState();
    this.#follower.toEnd();
    announce("Continuing");
    const show = paced(() => this.#show(answer));
    await answer.run(show);
    this.#running = false;
    this.#show(answer);
    if (answer.error) byId("completion-error").replaceChildren(errorBox(answer.error, () => this.#start()));
    this.#showState();
    announce(answer.error ? "The continuation failed" : "Continuation complete");
  }

  #show(answer) {
    if (this.#answer !== answer) return;
    const shown = byId("completion-new");
    const before = shown.textContent.length;
    if (answer.content.length > before) shown.append(answer.content.slice(before));
    byId("completion-stats").replaceChildren(...statsLine(answer.stats));
    this.#follower.keep();
  }

  // The continuation becomes part of the text, to be changed or gone on with.
  #take() {
    this.#text.value += this.#answer.content;
    this.#keep();
    this.#answer = null;
    this.#output.hidden = true;
    this.#showState();
    this.#text.focus();
    this.#text.setSelectionRange(this.#text.value.length, this.#text.value.length);
    this.#text.scrollTop = this.#text.scrollHeight;
  }

  #showState() {
    this.#run.textContent = this.isRunning ? "Stop" : this.#answer ? "Try again" : "Continue";
    this.#run.classList.toggle("stop", this.isRunning);
    const ready = !this.isRunning && Boolean(this.#answer?.content);
    byId("completion-take").hidden = !ready;
    byId("completion-copy").hidden = !ready;
  }
}
