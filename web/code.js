// Code blocks: colours by a small tokenizer that knows how families of languages write comments and strings, and a
// button to copy. A line is tokenized once, also while the text is still coming.
import { copyButton, el } from "./dom.js";

const kSlash = { line: /\/\//y, blocks: [["/*", "*/"]], preprocessor: true };
const kHash = { line: /#/y, blocks: [['"""', '"""'], ["'''", "'''"]] };
const kDash = { line: /--/y, blocks: [["/*", "*/"], ["--[[", "]]"]] };
const kMarkup = { blocks: [["<!--", "-->"]], tags: true };
const kStyle = { blocks: [["/*", "*/"]] };
// A language that is not known: a hash begins a comment only before a space, since C has it elsewhere.
const kUnknown = { line: /\/\/|#(?=\s)/y, blocks: [["/*", "*/"], ['"""', '"""']] };

const kFamilies = [
  [kHash, "py python python3 sh bash zsh shell fish ruby rb perl pl r yaml yml toml ini conf make makefile dockerfile cmake julia jl nix elixir ex"],
  [kDash, "sql lua haskell hs ada vhdl elm plsql postgresql sqlite"],
  [kMarkup, "html xml svg xhtml vue"],
  [kStyle, "css"],
  [kSlash, "c h cc cpp c++ cxx hpp cuda cu java js jsx javascript mjs ts tsx typescript go golang rust rs swift kotlin kt scala php dart cs csharp zig glsl hlsl json jsonc json5 scss groovy d proto"],
];
const kPlain = new Set("text txt plain plaintext console output log none markdown md".split(" "));
const kFamilyOf = new Map(kFamilies.flatMap(([family, names]) => names.split(" ").map((name) => [name, family])));

const kKeywords = new Set(
  `abstract and as assert async auto await begin bool break case catch char class const consteval constexpr continue def default
  defer del delete do double elif else elsif end enum except explicit export extends extern final finally float fn for foreach
  from func function global goto if impl implements import in include inline instanceof int interface is lambda let local long
  loop match mod module move mut mutable namespace new noexcept nonlocal not of operator or override package pass private
  protected pub public raise readonly ref register require return short signed sizeof static struct super switch template then
  throw throws trait try type typedef typename typeof union unless unsafe unsigned until use using val var virtual void volatile
  when where while with xor yield SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE JOIN LEFT RIGHT INNER OUTER
  ON GROUP BY ORDER HAVING LIMIT AS AND OR NOT NULL IS IN DISTINCT UNION PRIMARY KEY DROP ALTER INDEX select insert update fi done
  esac echo`.split(/\s+/),
);
const kConstants = new Set("true false null nil none None True False undefined NaN this self Self nullptr".split(" "));

const kString = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`/y;
const kNumber = /(?:0[xX][\da-fA-F_]+|0[bB][01_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)[a-zA-Z]*/y;
const kWord = /[\p{L}_$@][\p{L}\p{N}_$]*/uy;
const kTag = /<\/?[A-Za-z][\w:.-]*|\/?>/y;
const kLongestLine = 5000;  // beyond it plain text, since it is data and no code

function matchAt(regex, line, at) {
  regex.lastIndex = at;
  return regex.exec(line)?.[0];
}

// Appends the tokens of a line to `target`. `until` is the end of a comment or string that began on a line before, or
// null; the same for the next line is returned.
function tokenize(line, family, until, target) {
  if (line.length > kLongestLine) {
    target.append(line);
    return until;
  }
  let plain = "";
  const put = (kind, text) => {
    if (!kind) {
      plain += text;
      return;
    }
    if (plain) target.append(plain);
    plain = "";
    target.append(el("span", { class: `t-${kind}` }, text));
  };
  const kindOf = (end) => (end.startsWith('"') || end.startsWith("'") ? "string" : "comment");
  let at = 0;
  const putBlock = (from, end) => {
    const found = line.indexOf(end, from);
    const stop = found < 0 ? line.length : found + end.length;
    put(kindOf(end), line.slice(at, stop));
    at = stop;
    return found < 0 ? end : null;
  };
  if (until) until = putBlock(0, until);
  if (at === 0 && family.preprocessor && /^\s*#\s*[a-z]/.test(line)) {
    const directive = /^\s*#\s*[a-z]+/.exec(line)[0];
    put("keyword", directive);
    at = directive.length;
  }
  while (at < line.length) {
    const block = family.blocks.find(([begin]) => line.startsWith(begin, at));
    if (block) {
      until = putBlock(at + block[0].length, block[1]);
      continue;
    }
    const character = line[at];
    if (family.line && matchAt(family.line, line, at) && (character !== "#" || at === 0 || /\s/.test(line[at - 1]))) {
      put("comment", line.slice(at));
      break;
    }
    let token;
    if ((token = family.tags && matchAt(kTag, line, at))) put("keyword", token);
    else if ((token = matchAt(kString, line, at))) put("string", token);
    else if (/\d/.test(character) && (token = matchAt(kNumber, line, at))) put("number", token);
    else if ((token = matchAt(kWord, line, at))) {
      const calls = line[at + token.length] === "(";
      const kind = kKeywords.has(token) ? "keyword" : kConstants.has(token) ? "number" : calls ? "name" : null;
      put(kind, token);
    } else put(null, (token = character));
    at += token.length;
  }
  if (plain) target.append(plain);
  return until;
}

export class CodeBlock {
  #code = el("code");
  #lines = [];
  #until = [];  // of each line: what the next one starts in
  #family;
  #language;

  constructor(language) {
    this.#language = language;
    const name = language.toLowerCase();
    this.#family = kPlain.has(name) ? null : (kFamilyOf.get(name) ?? kUnknown);
    this.element = el(
      "div",
      { class: "code" },
      el("div", { class: "code-head" }, el("span", {}, language || "code"), copyButton("Copy code", () => this.#lines.join("\n"))),
      el("pre", { tabindex: "0", role: "group", "aria-label": language ? `Code, ${language}` : "Code" }, this.#code),
    );
  }

  // The lines so far. Those that were given before and have not changed stay as they are.
  update(lines) {
    let same = 0;
    const limit = Math.min(lines.length, this.#lines.length);
    while (same < limit && lines[same] === this.#lines[same]) ++same;
    while (this.#code.childNodes.length > same) this.#code.lastChild.remove();
    for (let i = same; i < lines.length; ++i) {
      const target = el("span", { class: this.#lineClass(lines[i]) });
      const until = i === 0 ? null : this.#until[i - 1];
      if (this.#family) this.#until[i] = tokenize(lines[i], this.#family, until, target);
      else target.append(lines[i]);
      target.append("\n");
      this.#code.append(target);
    }
    this.#lines = lines;
  }

  #lineClass(line) {
    if (this.#language !== "diff" && this.#language !== "patch") return null;
    return line.startsWith("+") ? "t-added" : line.startsWith("-") ? "t-removed" : null;
  }
}
