// The edit distance, and short texts for hints.
#include "engine/config/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "base/utf8.h"

namespace syncnorm::config {

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<int>> cost(a.size() + 1, std::vector<int>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = static_cast<int>(i);
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({replace, cost[i - 1][j] + 1, cost[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t kLongestWord = 64;  // longer words are no misspelling, and would cost time
  if (word.size() > kLongestWord) return "";
  std::string lower(word);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string best;
  int best_distance = static_cast<int>(word.size()) / 3 + 1;
  for (const std::string& candidate : known) {
    const int distance = edit_distance(lower, candidate);
    const bool shares_something = distance < static_cast<int>(candidate.size());
    if (distance <= best_distance && shares_something &&
        (best.empty() || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string either(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::string with_article(const std::string& noun) {
  const bool vowel =
      !noun.empty() && std::string_view("aeio").find(noun[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + noun;
}

std::string colon_hint(std::string_view text) {
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  for (std::size_t colon = text.find(':'); colon != std::string_view::npos;
       colon = text.find(':', colon + 1)) {
    std::size_t begin = colon;
    while (begin > 0 && is_word(text[begin - 1])) --begin;
    std::size_t end = colon + 1;
    while (end < text.size() &&
           std::string_view(" \t\r\n,}]").find(text[end]) == std::string_view::npos) {
      ++end;
    }
    const bool starts_like_a_key =
        begin < colon && std::isdigit(static_cast<unsigned char>(text[begin])) == 0 &&
        (begin == 0 || std::string_view(" \t\n,{").find(text[begin - 1]) != std::string_view::npos);
    const bool is_address = text.substr(colon + 1, 1) == "/";
    if (starts_like_a_key && end > colon + 1 && !is_address) {
      return fmt::format("put a space after the colon: `{}: {}`",
                         shortened(text.substr(begin, colon - begin), 40),
                         shortened(text.substr(colon + 1, end - colon - 1), 40));
    }
  }
  return "";
}

namespace {

struct Range {
  char32_t first, last;
};

/// Invisible characters, and those that look like ASCII: spaces, dashes, quotes, joiners,
/// full-width forms.
constexpr Range kDeceptive[] = {
    {0x80, 0xA0},      {0xAD, 0xAD},     {0x34F, 0x34F},   {0x61C, 0x61C},   {0x115F, 0x1160},
    {0x1680, 0x1680},  {0x180E, 0x180E}, {0x2000, 0x201F}, {0x2024, 0x2024}, {0x2028, 0x202F},
    {0x205F, 0x206F},  {0x2212, 0x2212}, {0x3000, 0x3000}, {0x3164, 0x3164}, {0xFE00, 0xFE0F},
    {0xFE63, 0xFE63},  {0xFEFF, 0xFEFF}, {0xFF01, 0xFF5E}, {0xFFA0, 0xFFA0}, {0xFFF9, 0xFFFB},
    {0xE0000, 0xE007F}};
/// Greek and Cyrillic letters, some of which look like Latin ones.
constexpr Range kLookAlikes = {0x370, 0x52F};

bool within(char32_t code, const Range& range) { return code >= range.first && code <= range.last; }

/// Returns true if the character must be shown as a code point; `latin`: it is among Latin letters.
bool deceives(char32_t code, bool latin) {
  return (latin && within(code, kLookAlikes)) ||
         std::any_of(std::begin(kDeceptive), std::end(kDeceptive),
                     [code](const Range& range) { return within(code, range); });
}

}  // namespace

std::string visible(std::string_view text) {
  const bool latin = std::any_of(text.begin(), text.end(), [](char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
  });
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = first_character(text.substr(at));
    if (length == 0)
      shown += fmt::format("\\x{:02x}", static_cast<unsigned>(code));
    else if (code < 0x20 || code == 0x7F)
      shown += ' ';
    else if (deceives(code, latin))
      shown += fmt::format("<U+{:04X}>", static_cast<unsigned>(code));
    else
      shown += text.substr(at, length);
    at += std::max<std::size_t>(length, 1);
  }
  return shown;
}

std::string shortened(std::string_view text, std::size_t longest) {
  std::string shown = visible(text.substr(0, 4 * longest + 4));
  if (shown.size() <= longest) return shown;
  std::size_t end = longest;
  while (end > 0 && (static_cast<unsigned char>(shown[end]) & 0xC0) == 0x80) --end;
  return shown.substr(0, end) + "...";
}

std::string in_quotes(std::string_view text) { return "'" + shortened(text, 40) + "'"; }

}  // namespace syncnorm::config
