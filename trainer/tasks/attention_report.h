// What a model looked at in one text or one pair of texts: its heads' weights with the tokens they are
// between.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/tasks/attention_reader.h"

namespace heddle {

struct AttentionReport {
  std::string checkpoint, family;
  // The tokens as text for people (escape_for_display). With an encoder `text` is what the decoder read: its
  // begin token and the target.
  std::vector<std::string> source, text;
  std::vector<AttentionMap> maps;  // heads of a layer follow one another, layers of a kind in their order

  const std::vector<std::string>& rows_of(AttentionKind kind) const {
    return kind == AttentionKind::encoder ? source : text;
  }
  const std::vector<std::string>& columns_of(AttentionKind kind) const {
    return kind == AttentionKind::decoder ? text : source;
  }
  // Of one kind, by layer.
  std::vector<std::vector<const AttentionMap*>> layers_of(AttentionKind kind) const;
};

// One JSON object:
//   format       "heddle attention"
//   version      1
//   checkpoint   its path
//   family       "gpt", "transformer"
//   tokens       {"text": [...]} or, with an encoder, {"source": [...], "target": [...]}
//   layers       one object for each attention layer:
//     kind       "encoder" (source to source), "decoder" (text to text before), "cross" (target to source)
//     layer      its number, from 0
//     rows       which tokens look: a key of `tokens`; row i of every matrix is token i
//     columns    which tokens are looked at
//     heads      [{"head": 0, "weights": [[...], ...]}, ...]; every row sums to 1
std::string attention_json(const AttentionReport& report);

// Places of `token` among tokens. Blanks around one do not count.
std::vector<std::int64_t> places_of(const std::string& token, const std::vector<std::string>& tokens);

// For each layer and head what `token` looks at most, `count` tokens, as a table; for all of its places.
// Throws UsageError if no row is of that token.
std::string strongest_columns(const AttentionReport& report, const std::string& token,
                              std::int64_t count = 4);

}  // namespace heddle
