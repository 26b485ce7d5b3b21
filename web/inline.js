// Markdown within a line: emphasis, code, links. Every construct becomes a node made here; what is none stays text.
import { el } from "./dom.js";

const kSpecial = /[\\`*_~[\]!<&\n]|https?:\/\//g;
const kPunctuation = /[!-/:-@[-`{-~]/;
const kAnyPunctuation = /[\p{P}\p{S}]/u;
const kAngleLink = /<((?:https?:\/\/|mailto:)[^\s<>]+|[\w.+-]{1,64}@[\w.-]{1,255})>/y;
const kBreakTag = /<br\s{0,8}\/?>/iy;
const kBareUrl = /https?:\/\/[^\s<>"`*|[\]]+/y;
const kEntity = /&(amp|lt|gt|quot|nbsp|#39|apos);/y;
const kEntities = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0", "#39": "'", apos: "'" };
const kMaxOpen = 64;  // constructs that are open at once: beyond it their marks are text

// Only what leads to another page or a letter is a link: no scripts, no files, no data.
export function safeHref(url) {
  try {
    const parsed = new URL(url);
    return ["http:", "https:", "mailto:"].includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}

function link(href, children, title) {
  // A link has no links in it.
  const inner = children.flatMap((child) => (child.nodeName === "A" ? [...child.childNodes] : [child]));
  return el("a", { href, title, rel: "noopener noreferrer", target: "_blank" }, ...inner);
}

// The "(url "title")" that starts at `at`: {url, title, end}, or null.
function linkTarget(text, at) {
  if (text[at] !== "(") return null;
  const space = /[ \n]*/y;
  const skip = () => {
    space.lastIndex = at;
    space.exec(text);
    at = space.lastIndex;
  };
  ++at;
  skip();
  let url;
  if (text[at] === "<") {
    const end = text.indexOf(">", at);
    if (end < 0 || end - at > 4000) return null;
    url = text.slice(at + 1, end);
    at = end + 1;
  } else {
    const from = at;
    for (let depth = 0; at < text.length && at - from < 4000; ++at) {
      const character = text[at];
      if (character === " " || character === "\n" || (character === ")" && depth === 0)) break;
      if (character === "\\") ++at;
      else if (character === "(") ++depth;
      else if (character === ")") --depth;
    }
    url = text.slice(from, at);
  }
  skip();
  let title;
  const quote = text[at];
  if (quote === '"' || quote === "'") {
    const end = text.indexOf(quote, at + 1);
    if (end < 0 || end - at > 1000) return null;
    title = text.slice(at + 1, end);
    at = end + 1;
    skip();
  }
  return text[at] === ")" ? { url: url.replace(/\\([!-/:-@[-`{-~])/g, "$1"), title, end: at + 1 } : null;
}

class Inline {
  // Constructs that are open, the outermost first. The first is the whole text and never closes.
  #stack = [{ mark: "", children: [] }];
  #lastRun = new Map();  // of a length of backquotes: where its last run begins

  constructor(text) {
    this.text = text;
  }

  nodes() {
    const text = this.text;
    const special = new RegExp(kSpecial);
    let at = 0;
    while (at < text.length) {
      special.lastIndex = at;
      const found = special.exec(text);
      const stop = found ? found.index : text.length;
      this.#put(text.slice(at, stop));
      if (!found) break;
      at = this.#construct(stop);
    }
    return this.#flatten(0);
  }

  #put(child) {
    const children = this.#stack.at(-1).children;
    if (typeof child === "string" && typeof children.at(-1) === "string") children[children.length - 1] += child;
    else if (child !== "") children.push(child);
  }

  // What is open above `from`, its marks as text, together with what `from` holds; leaves `from` empty on the stack.
  #flatten(from) {
    const open = this.#stack.splice(from + 1);
    const children = this.#stack[from].children;
    for (const entry of open) children.push(entry.mark.repeat(entry.count ?? 1), ...entry.children);
    this.#stack[from].children = [];
    const merged = [];
    for (const child of children) {
      if (typeof child === "string" && typeof merged.at(-1) === "string") merged[merged.length - 1] += child;
      else merged.push(child);
    }
    return merged.map((child) => (typeof child === "string" ? document.createTextNode(child) : child));
  }

  // Reads what begins at `at`, and says where it ends.
  #construct(at) {
    const text = this.text;
    const match = (regex) => {
      regex.lastIndex = at;
      return regex.exec(text);
    };
    let found;
    switch (text[at]) {
      case "\\":
        if (text[at + 1] === "\n") this.#put(el("br"));
        else if (kPunctuation.test(text[at + 1] ?? "")) this.#put(text[at + 1]);
        else return this.#literal("\\", at);
        return at + 2;
      case "`":
        return this.#code(at);
      case "*":
      case "_":
      case "~":
        return this.#emphasis(at);
      case "!":
        if (text[at + 1] !== "[" || !this.#open("![")) return this.#literal("!", at);
        return at + 2;
      case "[":
        if (!this.#open("[")) this.#put("[");
        return at + 1;
      case "]":
        return this.#closeLink(at);
      case "<":
        if (match(kBreakTag)) {
          this.#put(el("br"));
          return kBreakTag.lastIndex;
        }
        if ((found = match(kAngleLink))) {
          const href = safeHref(found[1].includes(":") ? found[1] : `mailto:${found[1]}`);
          if (href) {
            this.#put(link(href, [document.createTextNode(found[1])]));
            return kAngleLink.lastIndex;
          }
        }
        return this.#literal("<", at);
      case "&":
        if (!(found = match(kEntity))) return this.#literal("&", at);
        this.#put(kEntities[found[1]]);
        return kEntity.lastIndex;
      case "\n":
        this.#put(el("br"));
        return at + 1;
      default:
        return this.#bareUrl(at, match(kBareUrl));
    }
  }

  #literal(mark, at) {
    this.#put(mark);
    return at + mark.length;
  }

  #open(mark) {
    if (this.#stack.length > kMaxOpen) return false;
    this.#stack.push({ mark, children: [] });
    return true;
  }

  #code(at) {
    const text = this.text;
    let end = at;
    while (text[end] === "`") ++end;
    const length = end - at;
    if (!this.#lastRun.size) for (const run of text.matchAll(/`+/g)) this.#lastRun.set(run[0].length, run.index);
    if (this.#lastRun.get(length) <= at) return this.#literal("`".repeat(length), at);
    for (let from = end; ; ) {
      const begin = text.indexOf("`", from);
      if (begin < 0) return this.#literal("`".repeat(length), at);
      from = begin;
      while (text[from] === "`") ++from;
      if (from - begin !== length) continue;
      let code = text.slice(end, begin).replaceAll("\n", " ");
      if (code.startsWith(" ") && code.endsWith(" ") && code.trim()) code = code.slice(1, -1);
      this.#put(el("code", {}, code));
      return from;
    }
  }

  #emphasis(at) {
    const text = this.text;
    const mark = text[at];
    let end = at;
    while (text[end] === mark) ++end;
    let count = end - at;
    if (mark === "~" && count !== 2) return this.#literal(mark.repeat(count), at);
    const before = at === 0 ? " " : text[at - 1];
    const after = end === text.length ? " " : text[end];
    const isSpace = (character) => /\s/.test(character);
    const isMark = (character) => kAnyPunctuation.test(character);
    const left = !isSpace(after) && (!isMark(after) || isSpace(before) || isMark(before));
    const right = !isSpace(before) && (!isMark(before) || isSpace(after) || isMark(after));
    const opens = mark === "_" ? left && (!right || isMark(before)) : left;
    const closes = mark === "_" ? right && (!left || isMark(after)) : right;
    while (closes && count > 0) {
      const opener = this.#stack.findLastIndex(
        (entry) =>
          entry.mark === mark &&
          // CommonMark's rule of three: a run that both opens and closes does not pair up to a multiple of three.
          !((opens || entry.closes) && (entry.size + (end - at)) % 3 === 0 && (entry.size % 3 || (end - at) % 3)),
      );
      if (opener < 0) break;
      const entry = this.#stack[opener];
      const used = mark === "~" ? 2 : Math.min(2, entry.count, count);
      const wrapped = el(mark === "~" ? "del" : used === 2 ? "strong" : "em", {}, ...this.#flatten(opener));
      count -= used;
      entry.count -= used;
      if (entry.count === 0) this.#stack.pop();
      this.#put(wrapped);
    }
    if (count > 0 && opens && this.#stack.length <= kMaxOpen) {
      this.#stack.push({ mark, count, size: end - at, closes, children: [] });
    } else {
      this.#put(mark.repeat(count));
    }
    return end;
  }

  #closeLink(at) {
    const opener = this.#stack.findLastIndex((entry) => entry.mark === "[" || entry.mark === "![");
    if (opener < 0) return this.#literal("]", at);
    const target = linkTarget(this.text, at + 1);
    const href = target && safeHref(target.url);
    const { mark } = this.#stack[opener];
    if (!href) {
      // Brackets and no more. What is open inside them stays open.
      if (opener === this.#stack.length - 1) {
        const [entry] = this.#stack.splice(opener);
        this.#put(mark);
        for (const child of entry.children) this.#put(child);
      } else {
        this.#stack[opener] = { ...this.#stack[opener], mark: "", count: 1 };
        this.#stack[opener].children.unshift(mark);
      }
      return this.#literal("]", at);
    }
    const children = this.#flatten(opener);
    this.#stack.pop();
    // A picture would be a request to elsewhere: it is a link to it.
    if (mark === "![" && children.length === 0) children.push(document.createTextNode("picture"));
    this.#put(link(href, children, target.title ?? null));
    return target.end;
  }

  #bareUrl(at, found) {
    const text = this.text;
    if (!found || /[\p{L}\p{N}]/u.test(text[at - 1] ?? "")) return this.#literal(text[at], at);
    let url = found[0];
    for (;;) {
      const last = url.at(-1);
      const unpaired = last === ")" && url.split(")").length > url.split("(").length;
      if (!/[.,;:!?'_~]/.test(last) && !unpaired) break;
      url = url.slice(0, -1);
    }
    const href = safeHref(url);
    if (!href) return this.#literal(text[at], at);
    this.#put(link(href, [document.createTextNode(url)]));
    return at + url.length;
  }
}

// The nodes of a text.
export function renderInline(text) {
  return new Inline(text).nodes();
}
