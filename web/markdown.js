// Markdown to nodes, block by block: CommonMark's and GitHub's tables, without HTML (it is text), indented code and
// links by reference. A text that grows is rendered again from its last block on.
import { CodeBlock } from "./code.js";
import { el } from "./dom.js";
import { renderInline } from "./inline.js";

const kMaxDepth = 12;  // of lists and quotes in each other: beyond it their marks are text

const kFence = /^( {0,3})(`{3,}|~{3,})[ \t]*(.*)$/;
const kHeading = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const kRule = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const kQuote = /^ {0,3}> ?/;
const kMarker = /^( {0,3})([-*+]|\d{1,9}[.)])(?=[ \t]|$)/;
const kUnderline = /^ {0,3}(=+|-+)[ \t]*$/;

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

// {length, char, language} where a line opens fenced code.
function fenceOf(line) {
  const found = kFence.exec(line);
  if (!found || (found[2][0] === "`" && found[3].includes("`"))) return null;
  return { indent: found[1].length, mark: found[2], language: found[3].trim().split(/\s/)[0] };
}

function markerOf(line) {
  const found = kMarker.exec(line);
  if (!found || kRule.test(line)) return null;
  const rest = line.slice(found[0].length);
  const spaces = indentOf(rest);
  const empty = isBlank(rest);
  const mark = found[2];
  return {
    kind: mark.length === 1 ? mark : mark.at(-1),
    number: mark.length === 1 ? null : parseInt(mark, 10),
    indent: found[1].length,
    content: found[0].length + (empty || spaces > 4 ? 1 : spaces),
    empty,
  };
}

// Whether a line ends the paragraph before it.
function interrupts(line) {
  const marker = markerOf(line);
  return (
    kHeading.test(line) ||
    kRule.test(line) ||
    kQuote.test(line) ||
    fenceOf(line) !== null ||
    (marker !== null && !marker.empty && (marker.number === null || marker.number === 1))
  );
}

// The cells of a table's row: between pipes, but for those that are escaped or inside of code.
function cellsOf(line) {
  const cells = [];
  let cell = "";
  let code = false;
  const row = line.trim();
  for (let i = row[0] === "|" ? 1 : 0; i < row.length; ++i) {
    if (row[i] === "\\" && row[i + 1] === "|") {
      cell += "|";
      ++i;
    } else if (row[i] === "|" && !code) {
      cells.push(cell.trim());
      cell = "";
    } else {
      if (row[i] === "`" && (code || row.indexOf("`", i + 1) >= 0)) code = !code;
      cell += row[i];
    }
  }
  if (cell.trim() || !row.endsWith("|")) cells.push(cell.trim());
  return cells;
}

// The alignments where `line` is the rule below a table's head, as wide as `head`.
function tableRule(head, line) {
  if (line === undefined || !head.includes("|") || !line.includes("-") || !/^[\s|:-]+$/.test(line)) return null;
  const cells = cellsOf(line);
  if (!cells.every((cell) => /^:?-+:?$/.test(cell)) || cells.length !== cellsOf(head).length) return null;
  return cells.map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left"));
}

// The blocks of lines, each with the index of its first line.
class BlockParser {
  constructor(lines, depth) {
    this.lines = lines;
    this.depth = depth;
    this.at = 0;
    this.blocks = [];
  }

  parse() {
    while (this.at < this.lines.length) {
      if (isBlank(this.lines[this.at])) {
        ++this.at;
        continue;
      }
      const line = this.at;
      this.blocks.push({ ...this.#next(), line });
    }
    return this.blocks;
  }

  #next() {
    const line = this.lines[this.at];
    const fence = fenceOf(line);
    if (fence) return this.#code(fence);
    if (kHeading.test(line)) return this.#heading();
    if (kRule.test(line)) {
      ++this.at;
      return { type: "rule" };
    }
    if (this.depth < kMaxDepth) {
      if (kQuote.test(line)) return this.#quote();
      const marker = markerOf(line);
      if (marker) return this.#list(marker);
    }
    const align = tableRule(line, this.lines[this.at + 1]);
    return align ? this.#table(align) : this.#paragraph();
  }

  #code({ indent, mark, language }) {
    const lines = [];
    const isEnd = (line) => {
      const text = line.trim();
      return text.length >= mark.length && text === mark[0].repeat(text.length) && indentOf(line) < 4;
    };
    while (++this.at < this.lines.length && !isEnd(this.lines[this.at])) {
      const line = this.lines[this.at];
      lines.push(line.slice(Math.min(indent, indentOf(line))));
    }
    ++this.at;
    return { type: "code", language, lines };
  }

  #heading() {
    const line = this.lines[this.at++].trim();
    const level = kHeading.exec(line)[1].length;
    let end = line.length;
    while (line[end - 1] === "#") --end;
    const closed = end < line.length && /\s/.test(line[end - 1] ?? " ");
    return { type: "heading", level, text: line.slice(level, closed ? end : line.length).trim() };
  }

  #quote() {
    const inner = [];
    for (; this.at < this.lines.length; ++this.at) {
      const line = this.lines[this.at];
      if (kQuote.test(line)) inner.push(line.replace(kQuote, ""));
      else if (isBlank(line) || isBlank(inner.at(-1)) || interrupts(line)) break;
      else inner.push(line);
    }
    return { type: "quote", blocks: parseBlocks(inner, this.depth + 1) };
  }

  #list(first) {
    const items = [];
    let lines = null;
    let marker = first;
    let loose = false;
    let blanks = 0;
    const finish = () => lines && items.push(parseBlocks(lines, this.depth + 1));
    for (; this.at < this.lines.length; ++this.at) {
      const line = this.lines[this.at].replace(/^ {0,3}\t/, "    ");
      if (isBlank(line)) {
        ++blanks;
        continue;
      }
      const indent = indentOf(line);
      // Models often indent what belongs to "1. " by two columns only.
      const belongs = lines && indent >= Math.min(marker.content, marker.indent + 2);
      const next = belongs ? null : markerOf(line);
      if (next && next.kind === first.kind) {
        loose ||= blanks > 0;
        finish();
        marker = next;
        lines = [line.slice(next.content)];
      } else if (belongs) {
        loose ||= blanks > 0 && !markerOf(line.trimStart());
        for (let i = 0; i < blanks; ++i) lines.push("");
        lines.push(line.slice(Math.min(indent, marker.content)));
      } else if (lines && blanks === 0 && !interrupts(line)) {
        lines.push(line.trimStart());
      } else {
        break;
      }
      blanks = 0;
    }
    finish();
    return { type: "list", start: first.number, loose, items };
  }

  #table(align) {
    const head = cellsOf(this.lines[this.at]);
    const rows = [];
    for (this.at += 2; this.at < this.lines.length; ++this.at) {
      const line = this.lines[this.at];
      if (isBlank(line) || interrupts(line)) break;
      rows.push(cellsOf(line));
    }
    return { type: "table", align, head, rows };
  }

  #paragraph() {
    const lines = [this.lines[this.at++].trim()];
    for (; this.at < this.lines.length; ++this.at) {
      const line = this.lines[this.at];
      if (isBlank(line)) break;
      const underline = kUnderline.exec(line);
      if (underline) {
        ++this.at;
        return { type: "heading", level: underline[1][0] === "=" ? 1 : 2, text: lines.join("\n") };
      }
      if (interrupts(line) || tableRule(line, this.lines[this.at + 1])) break;
      lines.push(line.trim());
    }
    return { type: "paragraph", text: lines.join("\n") };
  }
}

function parseBlocks(lines, depth) {
  return new BlockParser(lines, depth).parse();
}

function renderBlock(block) {
  switch (block.type) {
    case "code": {
      const code = new CodeBlock(block.language);
      code.update(block.lines);
      return code.element;
    }
    case "heading":
      // The page's own headings are the first two levels.
      return el(`h${Math.min(block.level + 2, 6)}`, { class: `level-${block.level}` }, ...renderInline(block.text));
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, ...block.blocks.map(renderBlock));
    case "list":
      return renderList(block);
    case "table":
      return renderTable(block);
    default:
      return el("p", {}, ...renderInline(block.text));
  }
}

function renderItem(blocks, loose) {
  const item = el("li");
  const task = blocks[0]?.type === "paragraph" && /^\[([ xX])\] /.exec(blocks[0].text);
  if (task) {
    item.className = "task";
    item.append(el("input", { type: "checkbox", disabled: true, checked: task[1] !== " ", "aria-label": "Task" }));
    blocks = [{ ...blocks[0], text: blocks[0].text.slice(4) }, ...blocks.slice(1)];
  }
  for (const block of blocks) {
    if (block.type === "paragraph" && !loose) item.append(...renderInline(block.text));
    else item.append(renderBlock(block));
  }
  return item;
}

function renderList({ start, items, loose }) {
  const ordered = start !== null;
  const list = el(ordered ? "ol" : "ul", ordered && start !== 1 ? { start } : {});
  list.append(...items.map((blocks) => renderItem(blocks, loose)));
  return list;
}

function renderTable({ align, head, rows }) {
  const row = (name, cells) =>
    el("tr", {}, ...align.map((side, i) => el(name, { class: `align-${side}` }, ...renderInline(cells[i] ?? ""))));
  return el(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, ...rows.map((cells) => row("td", cells)))),
  );
}

// A text in `container`, which may grow. Blocks before the last one of the complete lines cannot change any more, and
// stay; the rest is rendered again.
export class MarkdownView {
  #text = "";
  #settled = 0;  // characters in the blocks that stay
  #tail = [];    // [{block, code, node}] of the rest

  constructor(container) {
    this.container = container;
  }

  update(text) {
    if (text === this.#text) return;
    if (!text.startsWith(this.#text)) this.#clear();
    this.#text = text;
    const lines = text.slice(this.#settled).replaceAll("\r", "").split("\n");
    const blocks = parseBlocks(lines, 0);
    this.#show(blocks);
    this.#settle(lines, blocks);
  }

  #clear() {
    this.container.replaceChildren();
    this.#settled = 0;
    this.#tail = [];
  }

  #show(blocks) {
    const before = this.#tail;
    this.#tail = blocks.map((block, i) => {
      const old = before[i];
      if (block.type !== "code") return { block, node: renderBlock(block) };
      const same = old?.code && old.block.line === block.line && old.block.language === block.language;
      const code = same ? old.code : new CodeBlock(block.language);
      code.update(block.lines);
      return { block, code, node: code.element };
    });
    const kept = new Set(this.#tail.map((entry) => entry.node));
    for (const { node } of before) if (!kept.has(node)) node.remove();
    this.#tail.forEach(({ node }, i) => {
      const next = i === 0 ? null : this.#tail[i - 1].node.nextSibling;
      if (!node.parentNode || (i > 0 && next !== node)) this.container.insertBefore(node, i === 0 ? this.#firstOfTail() : next);
    });
  }

  // What the first node of the tail goes before: a code block that was kept, or nothing.
  #firstOfTail() {
    return this.#tail.find((entry) => entry.node.parentNode === this.container)?.node ?? null;
  }

  #settle(lines, blocks) {
    const last = blocks.findLastIndex((block) => block.line < lines.length - 1);
    if (last < 1) return;
    // Carriage returns were dropped, so the place is counted in newlines.
    let at = this.#settled;
    for (let i = 0; i < blocks[last].line; ++i) at = this.#text.indexOf("\n", at) + 1;
    this.#settled = at;
    this.#tail = this.#tail.slice(last).map((entry) => {
      return { ...entry, block: { ...entry.block, line: entry.block.line - blocks[last].line } };
    });
  }
}
