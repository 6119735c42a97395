#include "trainer/data/tokenizers/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

std::string pcre2_reason(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

struct FreePcre2 {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct PreTokenizer::Code {
  std::unique_ptr<pcre2_code, FreePcre2> compiled;
};

struct PreTokenizer::Words::MatchData {
  std::unique_ptr<pcre2_match_data, FreePcre2> data;
};

PreTokenizer::PreTokenizer(std::string pattern, const std::string& name)
    : pattern_(std::move(pattern)), code_(std::make_unique<Code>()) {
  int reason = 0;
  PCRE2_SIZE offset = 0;
  code_->compiled.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_.data()), pattern_.size(),
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &reason, &offset,
                                      nullptr));
  if (!code_->compiled) {
    throw error("{}: the pre-tokenizer's expression is not valid at character {}: {}", name, offset,
                pcre2_reason(reason));
  }
  pcre2_jit_compile(code_->compiled.get(),
                    PCRE2_JIT_COMPLETE);  // without it pcre2_match interprets: slower, equal
}

PreTokenizer::~PreTokenizer() = default;

PreTokenizer::Words::Words(const PreTokenizer& pre_tokenizer, std::string_view text)
    : pre_tokenizer_(pre_tokenizer), match_data_(std::make_unique<MatchData>()), text_(text) {
  match_data_->data.reset(pcre2_match_data_create_from_pattern(pre_tokenizer.code_->compiled.get(), nullptr));
  if (!match_data_->data) throw std::bad_alloc();
}

PreTokenizer::Words::~Words() = default;

bool PreTokenizer::Words::match() {
  const auto run = [&](std::uint32_t extra_options) {
    // The segment is known to be well-formed; an empty match would never advance.
    return pcre2_match(pre_tokenizer_.code_->compiled.get(),
                       reinterpret_cast<PCRE2_SPTR>(text_.data() + segment_begin_),
                       segment_end_ - segment_begin_, position_ - segment_begin_,
                       PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | extra_options, match_data_->data.get(), nullptr);
  };
  int result = run(0);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    throw error("the pre-tokenizer's expression fails on the text at byte {}: {}", position_,
                pcre2_reason(result));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_data_->data.get());
  match_begin_ = segment_begin_ + range[0];
  match_end_ = segment_begin_ + range[1];
  // \K in a lookahead can make a match that lies before the start or runs backwards.
  if (match_begin_ < position_ || match_end_ <= match_begin_) {
    throw error("the pre-tokenizer's expression matches backwards at byte {} of the text", position_);
  }
  return true;
}

bool PreTokenizer::Words::next(std::string_view& word) {
  const auto give = [&](std::size_t end) {
    word = text_.substr(position_, end - position_);
    position_ = end;
    return true;
  };
  if (position_ == text_.size()) return false;
  if (match_end_ > position_) return give(match_end_);
  if (position_ == segment_end_) {
    std::size_t end = position_;
    while (end < text_.size() && utf8_length_at(text_, end) == 0) ++end;
    if (end > position_) {
      segment_end_ = end;
      return give(end);
    }
    segment_begin_ = position_;
    segment_end_ = find_invalid_utf8(text_, position_);
  }
  if (!match()) return give(segment_end_);
  return give(match_begin_ > position_ ? match_begin_ : match_end_);
}

}  // namespace heddle
