// One answer on its way: asks for it, collects what comes, and measures it. Used by the chat and by completions.
import { stream } from "./api.js";

const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`);
const grouped = (number) => number.toLocaleString("en");

// What was measured of an answer, as short texts: [text, explanation].
export function describeStats(stats) {
  if (!stats?.tokens) return [];
  const parts = [];
  const span = stats.lastMs - stats.ttftMs;
  if (stats.tokens > 1 && span > 0) {
    const rate = ((stats.tokens - 1) * 1000) / span;
    parts.push([`${rate < 100 ? rate.toFixed(1) : grouped(Math.round(rate))} tok/s`, "Tokens a second after the first one"]);
  }
  const counted = stats.exact ? "Tokens of the answer" : "Pieces of the answer so far";
  parts.push([`${grouped(stats.tokens)} ${stats.tokens === 1 ? "token" : "tokens"}`, counted]);
  parts.push([`first ${seconds(stats.ttftMs)}`, "Time to the first token"]);
  if (stats.promptTokens) {
    const cached = stats.cachedTokens ? `, ${grouped(stats.cachedTokens)} of them from the prefix cache` : "";
    parts.push([`prompt ${grouped(stats.promptTokens)}`, `Tokens of the prompt${cached}`]);
  }
  return parts;
}

export function describeThinking({ thinkingMs, thinkingSince }) {
  if (thinkingMs !== undefined) return `Thought for ${seconds(thinkingMs)}`;
  return `Thinking… ${seconds(performance.now() - thinkingSince)}`;
}

// An answer has {content, reasoning, thinkingMs, stats, finish, error}. `path` and `body` are the request.
export class Answer {
  #abort = new AbortController();
  #path;
  #body;

  constructor(path, body) {
    this.#path = path;
    this.#body = { ...body, stream: true, stream_options: { include_usage: true } };
    this.content = "";
    this.reasoning = "";
    this.stats = { tokens: 0 };
  }

  stop() {
    this.#abort.abort();
  }

  // Resolves when the answer has ended, however it did: `finish` is the server's reason, "stopped" or "error".
  async run(onChange) {
    const begin = performance.now();
    try {
      for await (const chunk of stream(this.#path, this.#body, this.#abort.signal)) {
        this.#take(chunk, performance.now() - begin);
        onChange();
      }
      this.finish ??= "stop";
    } catch (error) {
      if (error.name === "AbortError") {
        this.finish = "stopped";
      } else {
        this.finish = "error";
        this.error = error.message;
      }
    }
    this.#endThinking();
    onChange();
  }

  #take(chunk, ms) {
    const choice = chunk.choices?.[0];
    const reasoning = choice?.delta?.reasoning_content ?? "";
    const text = choice?.delta?.content ?? choice?.text ?? "";
    if (reasoning) {
      this.thinkingSince ??= performance.now();
      this.reasoning += reasoning;
    }
    if (text) {
      this.#endThinking();
      this.content += text;
    }
    const { stats } = this;
    if (reasoning || text) {
      stats.ttftMs ??= ms;
      stats.lastMs = ms;
      ++stats.tokens;
    }
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    if (chunk.usage) {
      if (stats.tokens) stats.tokens = chunk.usage.completion_tokens;
      stats.exact = true;
      stats.promptTokens = chunk.usage.prompt_tokens;
      stats.cachedTokens = chunk.usage.prompt_tokens_details?.cached_tokens;
    }
  }

  #endThinking() {
    if (this.thinkingSince === undefined || this.thinkingMs !== undefined) return;
    this.thinkingMs = performance.now() - this.thinkingSince;
  }
}

// Calls `work` soon after it is asked to, at most once a frame, and seldom where `work` is slow: a text of any length
// leaves the page most of its time.
export function paced(work) {
  let waiting = false;
  let cost = 0;
  const run = () => {
    waiting = false;
    const begin = performance.now();
    work();
    cost = performance.now() - begin;
  };
  return () => {
    if (waiting) return;
    waiting = true;
    // A page that is not seen gets no frames.
    if (cost < 8 && !document.hidden) requestAnimationFrame(run);
    else setTimeout(run, 4 * cost);
  };
}
