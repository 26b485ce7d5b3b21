#include "tensor/block_format.h"

namespace qwill {

std::string_view block_format_name(BlockFormat format) {
  switch (format) {
    case BlockFormat::none: return "none";
    case BlockFormat::q4_0: return "Q4_0";
    case BlockFormat::q4_1: return "Q4_1";
    case BlockFormat::q5_0: return "Q5_0";
    case BlockFormat::q5_1: return "Q5_1";
    case BlockFormat::q8_0: return "Q8_0";
    case BlockFormat::q2_k: return "Q2_K";
    case BlockFormat::q3_k: return "Q3_K";
    case BlockFormat::q4_k: return "Q4_K";
    case BlockFormat::q5_k: return "Q5_K";
    case BlockFormat::q6_k: return "Q6_K";
    case BlockFormat::iq4_nl: return "IQ4_NL";
    case BlockFormat::iq4_xs: return "IQ4_XS";
    case BlockFormat::panels_int8: return "panels of int8";
    case BlockFormat::panels_int6: return "panels of int6";
    case BlockFormat::panels_int4: return "panels of int4";
  }
  return "";
}

}  // namespace qwill
