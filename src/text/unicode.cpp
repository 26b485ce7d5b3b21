#include "text/unicode.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "base/utf8.h"

namespace qwill {
namespace {

// The properties of a code point beside its class.
constexpr uint8_t kHasCombiningClass = 4;  // is moved by canonical ordering
constexpr uint8_t kNotQuick = 8;           // changes under NFC, alone or with what stands before it
constexpr uint8_t kDecomposes = 16;        // has an entry in kDecompositions (Hangul syllables are computed)

struct CombiningRange {
  char32_t first, last;
  uint8_t rank;  // of the combining class among all classes
};
struct Decomposition {
  char32_t code;
  uint16_t start;  // in kDecomposed
  uint8_t length;
};
struct Composition {
  char32_t first, second, composite;
};

#include "text/unicode_tables.inc"

// Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kL = 0x1100, kV = 0x1161, kT = 0x11a7, kS = 0xac00;
constexpr char32_t kNumL = 19, kNumV = 21, kNumT = 28, kNumS = kNumL * kNumV * kNumT;

using unicode_detail::properties;

int combining_rank(char32_t code) {
  if (!(properties(code) & kHasCombiningClass)) return 0;
  const auto* range = std::lower_bound(std::begin(kCombining), std::end(kCombining), code,
                                       [](const CombiningRange& r, char32_t c) { return r.last < c; });
  return range->rank;
}

// The composite of a pair; 0 if there is none.
char32_t compose(char32_t first, char32_t second) {
  if (first - kL < kNumL && second - kV < kNumV) return kS + ((first - kL) * kNumV + (second - kV)) * kNumT;
  if (first - kS < kNumS && (first - kS) % kNumT == 0 && second - kT - 1 < kNumT - 1) return first + (second - kT);
  const auto less = [](const Composition& a, const Composition& b) {
    return a.first != b.first ? a.first < b.first : a.second < b.second;
  };
  const Composition wanted{first, second, 0};
  const auto* found = std::lower_bound(std::begin(kCompositions), std::end(kCompositions), wanted, less);
  return found != std::end(kCompositions) && !less(wanted, *found) ? found->composite : 0;
}

// One starter with all that may combine with it, on its way to form C.
class Cluster {
 public:
  void add(char32_t code) {
    if (code - kS < kNumS) {
      const char32_t s = code - kS;
      append(kL + s / (kNumV * kNumT));
      append(kV + s / kNumT % kNumV);
      if (s % kNumT) append(kT + s % kNumT);
    } else if (properties(code) & kDecomposes) {
      const auto* d = std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code,
                                       [](const Decomposition& a, char32_t c) { return a.code < c; });
      for (size_t i = 0; i < d->length; ++i) append(kDecomposed[d->start + i]);
    } else {
      append(code);
    }
  }

  // Appends the cluster in form C to out, and empties it.
  void flush(std::string& out) {
    order();
    compose_all();
    for (const Mark& m : marks_) append_utf8(out, m.code);
    marks_.clear();
  }

 private:
  struct Mark {
    char32_t code;
    int rank;
  };

  void append(char32_t code) { marks_.push_back({code, combining_rank(code)}); }

  // Canonical ordering: each run of marks by rank, equal ranks in their order.
  void order() {
    for (auto begin = marks_.begin(); begin != marks_.end();) {
      if (begin->rank == 0) {
        ++begin;
        continue;
      }
      const auto end = std::find_if(begin, marks_.end(), [](const Mark& m) { return m.rank == 0; });
      std::stable_sort(begin, end, [](const Mark& a, const Mark& b) { return a.rank < b.rank; });
      begin = end;
    }
  }

  // Canonical composition: a mark joins the last starter unless one of its own or a higher rank stands between.
  void compose_all() {
    size_t kept = 0, starter = SIZE_MAX;
    int last_rank = 0;  // of what was kept since the starter; 0 if nothing was
    for (const Mark& m : marks_) {
      const bool blocked = kept != starter + 1 && last_rank >= m.rank;
      const char32_t composite = starter == SIZE_MAX || blocked ? 0 : compose(marks_[starter].code, m.code);
      if (composite) {
        marks_[starter].code = composite;
        continue;
      }
      if (m.rank == 0) starter = kept;
      last_rank = m.rank;
      marks_[kept++] = m;
    }
    marks_.resize(kept);
  }

  std::vector<Mark> marks_;
};

}  // namespace

namespace unicode_detail {
const uint8_t* const stage1 = kStage1;
const uint8_t* const stage2 = kStage2;
}  // namespace unicode_detail

size_t nfc_quick_check(std::string_view text) {
  int last_rank = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t start = skip_ascii(text, pos);
    if (start == text.size()) break;
    if (start > pos) last_rank = 0;
    pos = start;
    const char32_t code = next_code_point(text, pos);
    const uint8_t flags = properties(code);
    if (flags & kNotQuick) return start;
    if (!(flags & kHasCombiningClass)) {
      last_rank = 0;
      continue;
    }
    const int rank = combining_rank(code);
    if (rank < last_rank) return start;
    last_rank = rank;
  }
  return std::string_view::npos;
}

std::string nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Cluster cluster;
  // A code point with neither property begins a cluster: nothing before it can change it or be changed by it.
  const auto continues = [](char32_t code) { return (properties(code) & (kNotQuick | kHasCombiningClass)) != 0; };
  for (size_t pos = 0; pos < text.size();) {
    const size_t start = pos;
    bool plain = !continues(next_code_point(text, pos));
    for (size_t next = pos; pos < text.size() && continues(next_code_point(text, next)); pos = next) plain = false;
    if (plain) {
      out += text.substr(start, pos - start);
      continue;
    }
    for (size_t i = start; i < pos;) cluster.add(next_code_point(text, i));
    cluster.flush(out);
  }
  return out;
}

}  // namespace qwill
