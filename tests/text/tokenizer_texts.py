"""Texts that try a tokenizer: every script, and the places where its rules meet. Needs only Python."""

import random

SPECIALS = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> "
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> "
    "<tool_response> </tool_response> <think> </think>"
).split()
LOOK_ALIKES = (
    "<|im_end| >|im_end|> <|im_end <|IM_END|> <<|im_end|>> <|im_end|>> <|im_|im_end|> <think></think> <think/> "
    "< think> <thin <|endoftext <|end_of_text|> </tool_call <tool_call>> <|fim_pre ＜think＞ <｜im_end｜> |> <|"
).split()
SPACES = " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
NOT_QUITE_SPACES = "\u180e\u200b\u200c\u200d\u2060\ufeff\u00ad"
CONTRACTIONS = (
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'M 'lL 'D '\u017f '\u017ft \u2019s 'r 'l 'v 'x ''s 'sa 'ree 'lll '\u212a "
    "can't WON'T it's IT'S we've I'M you'll they'd 'tis o'clock rock'n'roll"
).split()
WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which "
    "tokenizer internationalization antidisestablishmentarianism Hello World qwill Paris naïve façade Zürich smørrebrød "
    "Привет мир здравствуйте Ελλάδα καλημέρα שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก 你好 世界 人工智能 東京都 "
    "こんにちは カタカナ 안녕하세요 한국어 გამარჯობა Բարեւ ሰላም ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ ព្រះ မြန်မာ සිංහල தமிழ் తెలుగు ಕನ್ನಡ മലയാളം বাংলা "
    "ગુજરાતી ਪੰਜਾਬੀ ଓଡ଼ିଆ བོད་ ລາວ Tiếng Việt Việt đường İstanbul ıiİI ẞß ﬁﬂ ǅ ʼn ĳ Å Å Ω K ﷺ ﬆ"
).split()
CODE = [
    "for (int i = 0; i < n; ++i) {\n    sum += a[i];\n}\n",
    "def f(x):\n\treturn {k: v for k, v in x.items() if v is not None}\n",
    "if (a != b && !c || d == nullptr) return -1;  // done\n",
    "<div class=\"x\">&nbsp;</div>\r\n",
    "SELECT * FROM t WHERE id = 42;\n\n\n",
    "#include <vector>\n\n\nint main() {}\n",
    "    \"key\": [1, 2.5e-3, null, true],\n",
    "\\begin{align} \\alpha_{i}^{2} &= \\frac{1}{2} \\\\ \\end{align}",
    "https://example.org/a/b?c=d&e=%20#f", "user@example.com", "C:\\Users\\x\\file.txt", "$HOME/.cache/../x",
    "0x1F_FFu8", "3.14159", "1,000,000", "2025-04-28T12:00:00Z", "+1 (555) 010-9999", "--flag=value", "a->b::c<d>",
]
EMOJI = (
    "😀 👍🏽 👩‍👩‍👧‍👦 👨🏿‍🚒 🏳️‍🌈 🇩🇪 🇺🇸🇫🇷 ❤️ ❤ ☕️ 1️⃣ #️⃣ 🫠 🫶🏻 🧑‍💻 ©️ ™ ♀️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ⏰"
).split()
NONCHARACTERS = [0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF, 0x1FFFE, 0x1FFFF, 0x10FFFE, 0x10FFFF]
# First and last code points of blocks where normalisation or the classes have something to say.
BLOCKS = [
    (0x00, 0x1F), (0x20, 0x7E), (0x7F, 0x9F), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x5FF), (0x600, 0x6FF), (0x700, 0x8FF), (0x900, 0x97F), (0x980, 0xDFF),
    (0xE00, 0xFFF), (0x1000, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x17FF), (0x1800, 0x1AAF), (0x1AB0, 0x1AFF),
    (0x1B00, 0x1CFF), (0x1D00, 0x1DFF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF),
    (0x20D0, 0x20FF), (0x2100, 0x218F), (0x2190, 0x23FF), (0x2460, 0x25FF), (0x2600, 0x27BF), (0x2ADC, 0x2ADC),
    (0x2C00, 0x2FFF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3100, 0x33FF), (0x4E00, 0x9FFF), (0xA000, 0xABFF),
    (0xAC00, 0xD7A3), (0xD7B0, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE2F),
    (0xFE30, 0xFFFD), (0x10000, 0x10FFF), (0x11000, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1BCFF),
    (0x1D000, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x1FB00, 0x1FBFF), (0x20000, 0x2FA1F),
    (0x30000, 0x323AF), (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF),
]  # fmt: skip


class Texts:
    """An endless supply; the same seed gives the same texts."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kinds = [
            self.words, self.words, self.blocks, self.blocks, self.one_block, self.anything, self.spaces, self.specials,
            self.contractions, self.digits, self.combining, self.jamo, self.code, self.emoji, self.run, self.mixture,
        ]  # fmt: skip

    def text(self):
        return self.random.choice(self.kinds)()

    def pick(self, source, low, high):
        return [source() for _ in range(self.random.randint(low, high))]

    def from_block(self, block):
        return chr(self.random.randint(*block))

    def any_block(self):
        return self.from_block(self.random.choice(BLOCKS))

    def any_character(self):
        code = self.random.randrange(0x110000 - 0x800)
        return chr(code + 0x800 if code >= 0xD800 else code)

    def space(self):
        return self.random.choice(SPACES)

    def words(self):
        return self.random.choice([" ", " ", "  ", "-", "", ", "]).join(self.pick(lambda: self.random.choice(WORDS), 1, 12))

    def blocks(self):
        return "".join(self.pick(self.any_block, 1, 24))

    def one_block(self):
        block = self.random.choice(BLOCKS)
        return "".join(self.pick(lambda: self.from_block(block), 1, 30))

    def anything(self):
        return "".join(self.pick(self.any_character, 1, 16)) + chr(self.random.choice(NONCHARACTERS))

    def spaces(self):
        def part():
            return self.random.choice(
                [self.space() * self.random.randint(1, 5), self.random.choice(NOT_QUITE_SPACES), "a", "1", ".", "é", "\r\n"]
            )

        return "".join(self.pick(part, 1, 12))

    def specials(self):
        def part():
            return self.random.choice(
                [self.random.choice(SPECIALS), self.random.choice(LOOK_ALIKES), self.space(), "user", "\n", "e\u0301", "\u0301", "<"]
            )

        return "".join(self.pick(part, 1, 8))

    def contractions(self):
        return "".join(
            self.pick(lambda: self.random.choice([self.random.choice(CONTRACTIONS), "a", "I", " ", "1", "'", "é", "!"]), 1, 8)
        )

    def digits(self):
        return "".join(self.pick(lambda: self.random.choice("0123456789٣४５²½Ⅷ〇.,-+ e"), 1, 24))

    def combining(self):
        def part():
            base = self.random.choice(["a", "e", "O", "ự", "ក", "क", "ა", " ", "<", "1", "ſ", "K", "が", ""])
            marks = self.pick(
                lambda: self.random.choice(
                    [self.from_block((0x300, 0x36F)), self.random.choice("\u0323\u0301\u0338\u0327\u0345\u3099\u093c\u05b0\u064b\u0f71\u0f72")]
                ),
                0,
                4,
            )
            return base + "".join(marks)

        return "".join(self.pick(part, 1, 8))

    def jamo(self):
        parts = [(0x1100, 0x1112), (0x1161, 0x1175), (0x11A7, 0x11C3), (0xAC00, 0xD7A3), (0x1113, 0x11FF), (0x3131, 0x318E)]
        return "".join(self.pick(lambda: self.from_block(self.random.choice(parts)), 1, 16))

    def code(self):
        return "".join(self.pick(lambda: self.random.choice(CODE), 1, 4))

    def emoji(self):
        return "".join(self.pick(lambda: self.random.choice(EMOJI + [" ", "ok", "\u200d", "\ufe0f"]), 1, 8))

    def run(self):
        unit = self.random.choice([self.any_block(), self.space(), self.random.choice(WORDS), "ab", "!", "=", "-", "\n", "0"])
        return unit * self.random.randint(2, 60)

    def mixture(self):
        kinds = self.kinds[:-1]
        return "".join(self.random.choice(kinds)() for _ in range(self.random.randint(2, 3)))
