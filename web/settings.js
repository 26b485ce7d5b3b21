// What a request carries beside its text: model, system prompt, thinking and sampling. Kept in the browser; a field that
// is empty is not sent, so the server's default holds.
import { apiKey, keyIsKept, setApiKey } from "./key.js";
import { byId, el } from "./dom.js";

const kName = "qwill.settings";

// What a value may be the server knows, and its error names the field; here only numbers are told from other texts.
const kFields = [
  { name: "temperature", label: "Temperature", hint: "0 takes the likeliest token; higher is freer" },
  { name: "top_p", label: "Top p", hint: "draws from the likeliest tokens that together reach this probability" },
  { name: "top_k", label: "Top k", integer: true, hint: "draws from this many of the likeliest tokens" },
  { name: "min_p", label: "Min p", hint: "leaves out what is less likely than this share of the likeliest" },
  { name: "repetition_penalty", label: "Repetition penalty", hint: "above 1: fewer tokens that were there, prompt included" },
  { name: "presence_penalty", label: "Presence penalty", hint: "above 0: fewer tokens that the answer has" },
  { name: "frequency_penalty", label: "Frequency penalty", hint: "the same, for each time it has them" },
  { name: "max_tokens", label: "Max tokens", integer: true, hint: "where the answer ends at the latest" },
  { name: "seed", label: "Seed", integer: true, hint: "the same seed draws the same answer" },
];

// The number that a field's text stands for, nothing where it is empty, or an error.
function readNumber({ integer }, text) {
  if (text.trim() === "") return {};
  const value = Number(text.trim().replace(",", "."));
  if (!Number.isFinite(value)) return { error: "not a number" };
  if (integer && !Number.isSafeInteger(value)) return { error: "not a whole number from −(2⁵³−1) to 2⁵³−1" };
  return { value };
}

// One stop string a line; \n in it is a newline, \t a tab, \\ a backslash.
function readStops(text) {
  const escapes = { n: "\n", t: "\t", "\\": "\\" };
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/\\([nt\\])/g, (_, mark) => escapes[mark]));
}

export class Settings {
  #values = { sampling: {}, stop: "", system: "", thinking: true, model: null };
  #models = [];

  constructor() {
    try {
      Object.assign(this.#values, JSON.parse(localStorage.getItem(kName) ?? "{}"));
    } catch {
      // Damaged, or no storage: as new.
    }
    // Each tab writes all of it, so it knows of the others' changes.
    addEventListener("storage", (event) => {
      if (event.key === kName && event.newValue) Object.assign(this.#values, JSON.parse(event.newValue));
    });
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values[name] = value;
    try {
      localStorage.setItem(kName, JSON.stringify(this.#values));
    } catch {
      // Full or none: the setting lasts as long as the page.
    }
  }

  get system() {
    return this.#values.system;
  }

  set models(ids) {
    this.#models = ids;
  }

  get model() {
    return this.#models.includes(this.#values.model) ? this.#values.model : this.#models[0];
  }

  // For v1/completions; undefined fields are not sent.
  forCompletion() {
    const settings = {};
    for (const field of kFields) settings[field.name] = readNumber(field, this.#values.sampling[field.name] ?? "").value;
    const stops = readStops(this.#values.stop);
    if (stops.length) settings.stop = stops;
    return { model: this.model, settings };
  }

  forChat() {
    const { model, settings } = this.forCompletion();
    return { model, settings: { ...settings, chat_template_kwargs: { enable_thinking: this.#values.thinking } } };
  }
}

// Fills the form of the settings dialog, which writes each change at once.
export class SettingsForm {
  constructor(settings, { onSystem, onKey }) {
    this.settings = settings;
    this.fields = kFields.map((field) => this.#numberField(field));
    byId("sampling").append(...this.fields.map((field) => field.element), this.#stopField());
    byId("reset-sampling").addEventListener("click", () => this.#reset());
    this.system = byId("system");
    this.system.addEventListener("change", () => {
      settings.set("system", this.system.value);
      onSystem(this.system.value);
    });
    this.key = byId("key");
    this.keep = byId("keep-key");
    const writeKey = () => {
      setApiKey(this.key.value.trim(), this.keep.checked);
      onKey();
    };
    this.key.addEventListener("change", writeKey);
    this.keep.addEventListener("change", writeKey);
  }

  // Shows what holds now. system: that of the open conversation.
  show(system) {
    for (const field of this.fields) field.show();
    this.stop.value = this.settings.get("stop");
    this.system.value = system;
    this.key.value = apiKey();
    this.keep.checked = keyIsKept();
  }

  #numberField(field) {
    const id = `field-${field.name}`;
    const input = el("input", {
      id,
      type: "text",
      inputmode: field.integer ? "numeric" : "decimal",
      placeholder: "default",
      autocomplete: "off",
      "aria-describedby": `${id}-hint`,
    });
    const hint = el("small", { id: `${id}-hint` }, field.hint);
    const check = () => {
      const { error } = readNumber(field, input.value);
      input.setAttribute("aria-invalid", String(Boolean(error)));
      hint.textContent = error ? `${error}: the default is used` : field.hint;
    };
    input.addEventListener("input", () => {
      check();
      this.settings.set("sampling", { ...this.settings.get("sampling"), [field.name]: input.value });
    });
    const show = () => {
      input.value = this.settings.get("sampling")[field.name] ?? "";
      check();
    };
    return { element: el("div", { class: "field" }, el("label", { for: id }, field.label), input, hint), show };
  }

  #stopField() {
    this.stop = el("textarea", { id: "field-stop", rows: 2, spellcheck: "false", "aria-describedby": "field-stop-hint" });
    this.stop.addEventListener("input", () => this.settings.set("stop", this.stop.value));
    return el(
      "div",
      { class: "field wide" },
      el("label", { for: "field-stop" }, "Stop"),
      this.stop,
      el("small", { id: "field-stop-hint" }, "one text a line, \\n for a newline; the answer ends before it"),
    );
  }

  #reset() {
    this.settings.set("sampling", {});
    this.settings.set("stop", "");
    this.show(this.system.value);
  }
}
