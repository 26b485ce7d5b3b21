// The dashboard: asks the server for its figures every two seconds, and plots them.
import { request } from "./api.js";
import { announce, byId, el, fillIcons, icon } from "./dom.js";
import { Sample, increase, parseMetrics, quantile, rate, ratesBy } from "./metrics.js";
import { Plot } from "./plot.js";

const kPeriodMs = 2000;
const kKeptSeconds = 3600;
// Latencies and hit rates are of the last half minute: two seconds have too few requests.
const kWindowSeconds = 30;

const kLatencies = [
  { name: "p50", colour: "verdigris" },
  { name: "p95", colour: "ochre", dashed: true },
];

// A plot: `values(now, before, window)` are its series' values of a sample, where `before` is the one before it and
// `window` one of half a minute ago.
const latency = (title, note, name) => ({
  title,
  note,
  unit: "seconds",
  series: kLatencies,
  values: (now, _, window) => kLatencies.map(({ name: p }) => quantile(window, now, name, Number(p.slice(1)) / 100)),
});

const kStatus = ["2xx", "4xx", "5xx"];

const kPlots = [
  {
    title: "Tokens",
    note: "a second",
    unit: "number",
    series: [
      { name: "output", colour: "verdigris" },
      { name: "prompt", colour: "indigo", dashed: true },
    ],
    values: (now, before) => [
      rate(before, now, "qwill_generation_tokens_total"),
      rate(before, now, "qwill_prompt_tokens_total"),
    ],
  },
  {
    title: "Requests",
    note: "at this moment",
    unit: "number",
    least: 4,
    series: [
      { name: "running", colour: "verdigris" },
      { name: "waiting", colour: "ochre", dashed: true },
    ],
    values: (now) => [now.value("qwill_requests_running"), now.value("qwill_requests_waiting")],
  },
  {
    title: "KV pages",
    note: "share of the cache",
    unit: "share",
    least: 1,
    series: [
      { name: "in use", colour: "verdigris" },
      { name: "kept for prefixes", colour: "indigo", dashed: true },
    ],
    values: (now) => {
      const total = now.value("qwill_kv_pages_total");
      const share = (name) => (total && now.value(name) !== null ? now.value(name) / total : null);
      return [share("qwill_kv_pages_used"), share("qwill_kv_pages_cached")];
    },
  },
  latency("Time to first token", "last 30 s", "qwill_time_to_first_token_seconds"),
  latency("Inter-token latency", "last 30 s", "qwill_inter_token_latency_seconds"),
  latency("Step time", "last 30 s", "qwill_step_seconds"),
  {
    title: "Prefix cache hits",
    note: "of prompt tokens, last 30 s",
    unit: "share",
    least: 1,
    series: [{ name: "hit rate", colour: "verdigris" }],
    values: (now, _, window) => {
      const prompt = increase(window, now, "qwill_prompt_tokens_total");
      return [prompt ? Math.min(1, increase(window, now, "qwill_prefix_cache_hit_tokens_total") / prompt) : null];
    },
  },
  {
    title: "Request rate",
    note: "a second, by status",
    unit: "number",
    least: 1,
    series: [
      { name: "2xx", colour: "verdigris" },
      { name: "4xx", colour: "ochre", dashed: true },
      { name: "5xx", colour: "rubric" },
    ],
    values: (now, before) => {
      // Not what this page itself asks for.
      const rates = ratesBy(before, now, "qwill_http_requests_total", ({ path, status }) =>
        path === "/metrics" ? "" : `${status?.[0]}xx`,
      );
      return kStatus.map((status) => rates.get(status) ?? 0);
    },
  },
  {
    title: "Preemptions",
    note: "a minute",
    unit: "number",
    least: 4,
    series: [{ name: "sequences", colour: "rubric" }],
    values: (now, before) => {
      const preemptions = rate(before, now, "qwill_preemptions_total");
      return [preemptions === null ? null : preemptions * 60];
    },
  },
];

class Dashboard {
  #samples = [];  // {time, metrics}
  #paused = false;
  #failed = false;

  constructor() {
    const onCursor = (ago) => this.plots.forEach((plot) => plot.setCursor(ago));
    this.plots = kPlots.map((description) => new Plot(description, onCursor));
    byId("plots").append(...this.plots.map((plot) => plot.element));
    for (const button of byId("spans").children) button.addEventListener("click", () => this.#chooseSpan(button));
    byId("model").addEventListener("change", () => this.#draw());
    byId("pause").addEventListener("click", () => this.#pause());
  }

  async run() {
    for (;;) {
      if (!this.#paused) await this.#poll();
      await new Promise((resolve) => setTimeout(resolve, kPeriodMs));
    }
  }

  async #poll() {
    try {
      const metrics = parseMetrics(await (await request("metrics")).text());
      const time = performance.now() / 1000;
      this.#samples.push({ time, metrics });
      while (this.#samples[0].time < time - kKeptSeconds - kWindowSeconds) this.#samples.shift();
      this.#showModels(metrics);
      this.#say("", true);
      if (!this.#paused) this.#draw();
    } catch (error) {
      this.#say(error.message, false);
      // Who gave no key is not asked for it every two seconds.
      if (error.status === 401) this.#pause();
    }
  }

  #say(text, works) {
    byId("state").textContent = text;
    byId("state").hidden = works;
    byId("live").classList.toggle("off", !works || this.#paused);
    if (this.#failed === works) announce(works ? "The server answers again" : text);
    this.#failed = !works;
  }

  #pause() {
    this.#paused = !this.#paused;
    byId("pause").replaceChildren(icon(this.#paused ? "play" : "pause"));
    byId("pause").setAttribute("aria-label", this.#paused ? "Go on" : "Pause");
    byId("pause").title = this.#paused ? "Go on" : "Pause";
    byId("live").classList.toggle("off", this.#paused || this.#failed);
  }

  #chooseSpan(button) {
    for (const other of byId("spans").children) other.setAttribute("aria-pressed", String(other === button));
    this.#draw();
  }

  #showModels(metrics) {
    const names = new Set();
    for (const series of metrics.values()) for (const { labels } of series) if (labels.model) names.add(labels.model);
    const select = byId("model");
    const known = [...select.options].map(({ value }) => value).filter(Boolean);
    if (known.length === names.size && known.every((name) => names.has(name))) return;
    const chosen = select.value;
    select.replaceChildren(
      el("option", { value: "" }, "All models"),
      ...[...names].sort().map((name) => el("option", { value: name, selected: name === chosen }, name)),
    );
    select.hidden = names.size < 2;
    byId("model-name").textContent = names.size === 1 ? [...names][0] : "";
  }

  #draw() {
    const span = Number(byId("spans").querySelector('[aria-pressed="true"]').dataset.seconds);
    const { value: model } = byId("model");
    const samples = this.#samples.map(({ time, metrics }) => new Sample(time, metrics, model));
    let from = 0;
    const points = kPlots.map(() => []);
    samples.forEach((now, i) => {
      if (i === 0) return;
      while (samples[from].time < now.time - kWindowSeconds && from < i - 1) ++from;
      if (now.time < samples.at(-1).time - span) return;
      kPlots.forEach(({ values }, j) => points[j].push({ time: now.time, values: values(now, samples[i - 1], samples[from]) }));
    });
    this.plots.forEach((plot, j) => plot.show(points[j], span));
  }
}

fillIcons();
new Dashboard().run();
