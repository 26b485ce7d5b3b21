// Talks to the server that the page came from: requests, errors, and answers as streams of events.
import { apiKey, askForKey } from "./key.js";

export class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

// The text of an API error: {"error": {"message", …}}; anything else as it came.
function readError(text, status) {
  try {
    const error = JSON.parse(text).error;
    if (typeof error === "string") return new ApiError(error, { status });
    if (error?.message) return new ApiError(error.message, { status, code: error.code, param: error.param });
  } catch {
    // Not JSON: a proxy's page, say.
  }
  const plain = text.trim().slice(0, 300);
  return new ApiError(`The server answered with status ${status}${plain ? `: ${plain}` : ""}`, { status });
}

// A response whose status is 200. Asks for an API key where the server wants one, and tries again.
export async function request(path, { body, signal } = {}) {
  for (;;) {
    const key = apiKey();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method: body ? "POST" : "GET",
        headers,
        body: body && JSON.stringify(body),
        signal,
        cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server cannot be reached.");
    }
    if (response.ok) return response;
    const error = readError(await response.text().catch(() => ""), response.status);
    if (response.status !== 401 || !(await askForKey(error.message))) throw error;
  }
}

export async function listModels() {
  const list = await (await request("v1/models")).json();
  return (list.data ?? []).map((model) => model.id);
}

// Server-sent events out of text that is cut anywhere. Only what is used here: the data of each event.
export class EventParser {
  #rest = "";
  #data = [];

  // The data of the events that `text` completes.
  push(text) {
    const events = [];
    this.#rest += text;
    // A carriage return at the end may be half of a line's end.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) events.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return events;
  }
}

// The chunks of a streamed answer. An error in the middle of it is thrown, and so is an end without [DONE].
export async function* stream(path, body, signal) {
  const response = await request(path, { body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError("The connection broke in the middle of the answer.");
      }
      if (piece.done) throw new ApiError("The connection was closed before the answer was complete.");
      for (const data of parser.push(piece.value)) {
        if (data === "[DONE]") return;
        let chunk;
        try {
          chunk = JSON.parse(data);
        } catch {
          throw new ApiError("The server sent an event that is not JSON.");
        }
        if (chunk.error) throw readError(data, response.status);
        yield chunk;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
