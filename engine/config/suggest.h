// "Did you mean": the nearest of some known words, and the hints made from it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace syncnorm::config {

/// The number of insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
int edit_distance(std::string_view a, std::string_view b);

/// The known word nearest to `word`, or "" when none is near enough to be a slip of the keyboard.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// "sgd, adam or adamw".
std::string either(const std::vector<std::string>& words);

/// "a conv", "an add".
std::string with_article(const std::string& noun);

/// For "lr:0.1": "put a space after the colon: `lr: 0.1`". "" when no colon lacks its space.
std::string colon_hint(std::string_view text);

/// `text` on one line, with characters that cannot be seen, or that look like others, as their code
/// points: "optimizer<U+00A0>".
std::string visible(std::string_view text);

/// The same, cut to a length that fits a message.
std::string shortened(std::string_view text, std::size_t longest);

/// The same in single quotes, for a value.
std::string in_quotes(std::string_view text);

}  // namespace syncnorm::config
