// "Did you mean": finds the nearest known word, and makes hints from it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace syncnorm::config {

/// Returns the number of insertions, deletions, replacements and swaps of neighbours from `a` to
/// `b`.
int edit_distance(std::string_view a, std::string_view b);

/// Returns the known word nearest to `word`, or "" if none is near enough to be a misspelling.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// Returns, for example, "sgd, adam or adamw".
std::string either(const std::vector<std::string>& words);

/// Returns, for example, "a conv" or "an add".
std::string with_article(const std::string& noun);

/// Returns, for "lr:0.1", "put a space after the colon: `lr: 0.1`"; "" if no colon lacks its space.
std::string colon_hint(std::string_view text);

/// Returns `text` on one line, with invisible characters, and those that look like others, as code
/// points: "optimizer<U+00A0>".
std::string visible(std::string_view text);

/// Returns visible(text), cut to at most `longest` characters.
std::string shortened(std::string_view text, std::size_t longest);

/// Returns the shortened text in single quotes, for a value.
std::string in_quotes(std::string_view text);

}  // namespace syncnorm::config
